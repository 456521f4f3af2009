"""Hypothesis strategies for valid and invalid requests, and the properties of every response.

The grammar is our own, not /openapi.json: that describes only a small part of possible requests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.parse import quote

from hypothesis import strategies as st

STATUSES = {200, 304, 400, 401, 404, 405, 408, 413, 415, 422, 429, 503}


@dataclass
class RandomRequest:
    """One request; `target` is the percent-encoded path with the query."""

    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


_NUMBERS = st.one_of(
    st.integers(-2, 40).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_subnormal=False).map(str),
    st.sampled_from(["", "007", "+7", " 7", "7 ", "1e3", "0x7", "1_0", "٧", "2**63"]),
    st.just(str(2**63)),
    st.just(str(2**63 - 1)),
)
_SEEDS = st.one_of(
    st.lists(st.integers(0, 99), min_size=1, max_size=5).map(lambda x: ",".join(map(str, x))),
    st.tuples(_NUMBERS, _NUMBERS).map("-".join),
    _NUMBERS,
)
_TEXTS = st.text(max_size=8)
_PARAMETERS = st.lists(
    st.one_of(
        st.tuples(
            st.just("truncation"),
            st.one_of(st.floats(0, 1, allow_subnormal=False).map(str), _NUMBERS),
        ),
        st.tuples(st.just("seeds"), _SEEDS),
        st.tuples(st.sampled_from(["size", "columns", "frames", "fps"]), _NUMBERS),
        st.tuples(st.just("format"), st.sampled_from(["png", "webp", "jpg", "gif", "PNG", ""])),
        st.tuples(st.just("model"), st.one_of(st.just("default"), _TEXTS)),
        st.tuples(_TEXTS, _TEXTS),
    ),
    max_size=4,
)
_KNOWN_PATHS = (
    *("/", "/grid", "/morph", "/models", "/metrics", "/openapi.json", "/v1/models"),
    *("/v2", "/v2/health/ready", "/v2/models/default", "/artifacts/0123456789abcdef/grid"),
    *("/v1/images/generations", "/v2/models/default/infer"),
)
_PATHS = st.one_of(
    st.tuples(_NUMBERS, st.sampled_from(["png", "webp", "jpg", "bmp", ""])).map(
        lambda x: f"/cats/{quote(x[0])}.{x[1]}"
    ),
    st.sampled_from(_KNOWN_PATHS),
    _TEXTS.map(lambda x: "/" + quote(x)),
    _TEXTS.map(lambda x: "/v2/models/" + quote(x)),
)
_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_subnormal=False),
        st.text(max_size=5),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def _objects(**values):
    """Return a strategy of objects with some of these fields, each valid or random JSON."""
    return st.fixed_dictionaries({}, optional={k: st.one_of(v, _JSON) for k, v in values.items()})


_GENERATION = _objects(
    prompt=st.text(max_size=5),
    n=st.integers(-1, 70),
    seed=st.integers(-1, 2**64),
    size=st.sampled_from(["auto", "8x8", "16x16", "8x9", "9999x9999"]),
    truncation=st.floats(allow_subnormal=False),
    output_format=st.sampled_from(["png", "webp", "jpeg", "gif"]),
    response_format=st.sampled_from(["b64_json", "url"]),
)
_TENSOR = _objects(
    name=st.sampled_from(["seed", "z", "truncation"]),
    datatype=st.sampled_from(["INT64", "UINT64", "FP32", "BYTES"]),
    shape=st.lists(st.integers(-1, 7), max_size=3),
    data=st.lists(st.one_of(st.integers(-1, 2**65), st.floats(allow_subnormal=False)), max_size=7),
    parameters=_objects(binary_data_size=st.integers(-1, 70)),
)
_SEED_TENSOR = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3).map(
    lambda seeds: {"name": "seed", "datatype": "INT64", "shape": [len(seeds)], "data": seeds}
)
_INFERENCE = _objects(
    id=st.text(max_size=5),
    inputs=st.lists(st.one_of(_SEED_TENSOR, _TENSOR), max_size=3),
    outputs=st.lists(_objects(name=st.just("images")), max_size=2),
    parameters=_objects(binary_data_output=st.booleans()),
)
_BODIES = st.one_of(
    st.one_of(_GENERATION, _INFERENCE, _JSON).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
)
_LENGTHS = st.one_of(st.integers(-1, 200).map(str), st.sampled_from(["", "x", "9" * 30]))


@st.composite
def requests(draw):
    """Return a strategy of requests to existing and missing paths, valid and invalid."""
    pairs = draw(_PARAMETERS)
    query = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    target = draw(_PATHS) + (f"?{query}" if query else "")
    method = draw(st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE"]))
    body = b""
    if draw(st.booleans()):
        method, body = "POST", draw(_BODIES)
        target = draw(
            st.sampled_from(["/v1/images/generations", "/v2/models/default/infer", target])
        )
    headers = {}
    if draw(st.integers(0, 5)) == 0:
        headers["Inference-Header-Content-Length"] = draw(_LENGTHS)
    if draw(st.integers(0, 5)) == 0:
        headers["If-None-Match"] = draw(st.sampled_from(["*", '"a"', "W/", '"', ","]))
    return RandomRequest(method, target, body, headers)


def check_response(request, status, headers, body):
    """Assert the properties of every response."""
    assert status in STATUSES, (request, status, body[:300])
    assert "x-content-type-options" in headers
    assert "x-request-id" in headers
    if status >= 400 and request.method != "HEAD" and not request.target.endswith("/ready"):
        problem = json.loads(body)
        assert problem["status"] == status
        assert problem["detail"].isprintable()
        assert len(problem["detail"]) <= 300
    if status in (429, 503):
        assert int(headers["retry-after"]) >= 1
