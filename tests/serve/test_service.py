"""The service in this process: images, HTTP caching, errors, limits, metrics."""

from __future__ import annotations

import asyncio
import io
import json

import numpy as np
import pytest
from artifacts import artifact, write
from command_line import catgan as catgan_command
from PIL import Image

import catgan
from catgan.errors import CatganError

pytest.importorskip("starlette", reason="the extra serve is not installed: NOT tested")

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from catgan.generation.grid import encode_image, enlarge, make_grid
from catgan.serve import app, edge, require_serve_extra
from catgan.serve.models import Models
from catgan.serve.page import Page

LARGEST = 2**63 - 1
BEARER = "0123456789abcdef"


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("seed", [0, 7, LARGEST])
@pytest.mark.parametrize("truncation", [1, 0.5, 0])
def test_image_equals_python_s(client, cats, seed, truncation):
    response = client.get(f"/cats/{seed}.png?truncation={truncation}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert (pixels(response.content) == cats.sample([seed], truncation)[0]).all()


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("jpg", "JPEG")])
def test_file_equals_catgan_sample_s(client, cats, tiny_path, tmp_path, suffix, kind):
    name = tmp_path / f"cat.{suffix}"
    catgan_command("sample", tiny_path, "--seeds", 7, "--size", 20, "-o", name)
    assert client.get(f"/cats/7.{suffix}?size=20").content == name.read_bytes()
    assert name.read_bytes() == encode_image(enlarge(cats.sample([7])[0], 20), kind)


def test_grid_equals_catgan_sample_s(client, cats, tiny_path, tmp_path):
    catgan_command("sample", tiny_path, "--seeds", "0-6", "--grid", "7x1", "-o", tmp_path / "a.png")
    response = client.get("/grid?seeds=0-6&columns=7")
    assert response.content == (tmp_path / "a.png").read_bytes()
    assert (pixels(client.get("/grid?seeds=0-6").content) == make_grid(cats.sample(range(7)))).all()


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_morph_equals_catgan_morph_s(client, tiny_path, tmp_path, kind):
    name = tmp_path / f"morph.{kind}"
    catgan_command("morph", tiny_path, "--seeds", "3,9,27", "--frames", 9, "-o", name)
    response = client.get(f"/morph?seeds=3,9,27&frames=9&format={kind}")
    assert response.headers["content-type"] == f"image/{kind}"
    assert response.content == name.read_bytes()


def test_url_with_checksum_is_immutable(client):
    (model,) = client.get("/models").json()["models"]
    kept = client.get(f"/{model['address']}/cats/7.png")
    asked = client.get("/cats/7.png")
    assert kept.content == asked.content
    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert asked.headers["cache-control"] == "public, no-cache"
    assert kept.headers["etag"] == asked.headers["etag"]


def test_known_entity_tag_gets_304_without_generation(client):
    tag = client.get("/cats/7.png").headers["etag"]
    count = client.service.metrics.images.labels("default")._value.get()
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        response = client.get("/cats/7.png", headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    assert client.service.metrics.images.labels("default")._value.get() == count
    assert client.get("/cats/8.png", headers={"If-None-Match": tag}).status_code == 200


def test_entity_tags_differ_where_content_may_differ(client):
    addresses = [
        *("/cats/7.png", "/cats/8.png", "/cats/7.jpg", "/cats/7.png?truncation=0.5"),
        *("/cats/7.png?size=20", "/grid?seeds=7", "/grid?seeds=7,8", "/grid?seeds=7,8&columns=1"),
        *("/morph?seeds=7,8&frames=4", "/morph?seeds=7,8&frames=4&fps=5"),
    ]
    tags = {client.get(each).headers["etag"] for each in addresses}
    assert len(tags) == len(addresses)
    same = ["/cats/7.png?truncation=1", "/cats/007.png?truncation=1.0&size=8"]
    assert {client.get(each).headers["etag"] for each in same} <= tags


def test_head_request_generates_nothing(client):
    head = client.head("/cats/7.png")
    assert (head.status_code, head.content) == (200, b"")
    assert "content-length" not in head.headers
    assert len(client.service.cache) == 0
    full = client.get("/cats/7.png")
    head = client.head("/cats/7.png")
    assert head.headers["content-length"] == str(len(full.content))
    assert head.headers["etag"] == full.headers["etag"]


def test_repeated_request_is_served_from_cache(client):
    first = client.get("/cats/7.png").content
    client.service.close()  # nothing can be generated from now on
    assert client.get("/cats/7.png").content == first


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/cats/7.bmp", 404),
        ("/cats/seven.png", 400),
        ("/cats/-1.png", 400),
        ("/cats/9223372036854775808.png", 400),  # 2^63
        ("/cats/99999999999999999999999999.png", 400),
        ("/cats/%D9%A7.png", 400),  # a seven in Arabic digits
        ("/cats/7.png?truncation=nan", 400),
        ("/cats/7.png?truncation=inf", 400),
        ("/cats/7.png?truncation=1e999", 400),
        ("/cats/7.png?truncation=1.0001", 400),
        ("/cats/7.png?truncation=", 400),
        ("/cats/7.png?size=7", 400),
        ("/cats/7.png?size=1025", 400),
        ("/cats/7.png?size=8.0", 400),
        ("/cats/7.png?sise=8", 400),
        ("/cats/7.png?size=8&size=8", 400),
        ("/cats/7.png?model=other", 404),
        ("/artifacts/0123456789abcdef/cats/7.png", 404),
        ("/grid", 400),
        ("/grid?seeds=", 400),
        ("/grid?seeds=9-2", 400),
        ("/grid?seeds=0-64", 400),
        ("/grid?seeds=0-9223372036854775807", 400),
        ("/grid?seeds=0-3&columns=5", 400),
        ("/grid?seeds=0-63&size=1024", 413),
        ("/morph?seeds=3", 400),
        ("/morph?seeds=3,9&frames=121", 400),
        ("/morph?seeds=3,9,27&frames=2", 400),
        ("/morph?seeds=3,9&fps=51", 400),
        ("/morph?seeds=3,9&frames=120&size=512", 413),
        ("/morph?seeds=3,9&format=png", 400),
        ("/v2/models/other", 404),
        ("/v2/models/default/versions/1", 404),
        ("/nothing", 404),
        ("/../../etc/passwd", 404),
        ("/%00", 404),
        ("/cats/7.png/", 404),
    ],
)
def test_invalid_requests_get_one_line_problem(client, cats, path, status):
    response = client.get(path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem = response.json()
    assert problem["status"] == status
    assert problem["detail"].isprintable()
    assert cats.where not in response.text
    assert catgan.__version__ not in response.text


def test_wrong_method_gets_405_with_allowed_methods(client):
    response = client.post("/cats/7.png")
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert response.json()["status"] == 405
    assert client.get("/v1/images/generations").status_code == 405


def test_every_response_has_security_headers(client):
    for path in ("/cats/7.png", "/nothing", "/", "/metrics", "/models"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
        assert len(headers["x-request-id"]) == 16


def test_valid_request_id_is_kept(client):
    for given, kept in (("abc-1", True), ("a" * 65, False), ("a b", False), ('"}', False)):
        response = client.get("/models", headers={"X-Request-ID": given})
        assert (response.headers["x-request-id"] == given) == kept


def test_token_is_required_except_for_health_probes(make_client):
    client = make_client(token=BEARER)
    right = {"Authorization": f"Bearer {BEARER}"}
    for path in ("/cats/7.png", "/", "/metrics", "/models", "/v2", "/nothing"):
        wrong = ("Bearer wrong", b"Bearer \xff", "Bearer", BEARER, f"Basic {BEARER}")
        for headers in ({}, *({"Authorization": each} for each in wrong)):
            response = client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get(path, headers=right).status_code in (200, 404)
    for probe in ("live", "ready"):
        assert client.get(f"/v2/health/{probe}").status_code == 200
    (model,) = client.get("/models", headers=right).json()["models"]
    for path in (f"/{model['address']}/cats/7.png", "/cats/7.png"):
        kept = client.get(path, headers=right).headers["cache-control"]
        assert kept.startswith("private")  # a shared cache does not check tokens


def test_only_configured_origins_get_cors_headers(make_client):
    client = make_client(cors_origins=("https://cats.example",))
    for path, status in (("/cats/7.png", 200), ("/nothing", 404)):
        response = client.get(path, headers={"Origin": "https://cats.example"})
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == "https://cats.example"
    other = client.get("/cats/7.png", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_rate_limit_gets_429_with_retry_after(make_client):
    client = make_client(rate=1)
    codes = [client.get("/models").status_code for _ in range(4)]
    assert codes[:2] == [200, 200]
    response = client.get("/models")
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert client.get("/v2/health/live").status_code == 200


def test_bearer_scheme_is_case_insensitive(make_client):
    client = make_client(token=BEARER)
    assert client.get("/models", headers={"Authorization": f"bearer {BEARER}"}).status_code == 200


def test_wrong_tokens_count_toward_rate_limit(make_client):
    client = make_client(rate=1, token=BEARER)
    codes = [client.get("/models").status_code for _ in range(4)]
    assert codes == [401, 401, 429, 429]


def test_full_queue_gets_503_immediately(make_client):
    client = make_client(queue=120)
    client.service.engine.pending = 120
    response = client.get("/cats/7.png")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert "queue is full" in response.json()["detail"]


def test_concurrent_morphs_are_limited(make_client):
    client = make_client(max_morphs=0)
    response = client.get("/morph?seeds=3,9&frames=4")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


def test_unexpected_error_is_logged_and_not_revealed(client, monkeypatch, caplog):
    def fail(*arguments):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(client.service.cache, "get", fail)
    response = client.get("/cats/7.png")
    assert response.status_code == 500
    assert "secret" not in response.text
    (record,) = [each for each in caplog.records if each.name == "catgan.serve.error"]
    line = json.loads(record.getMessage())
    assert "ZeroDivisionError" in line["error"]
    assert line["id"] == response.headers["x-request-id"]


class Connection:
    """One ASGI GET request whose client reads the response only while `may_send` is set."""

    def __init__(self, service, path):
        self.sent, self.may_send = [], asyncio.Event()
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
        self.task = asyncio.ensure_future(service(scope, self.receive, self.send))

    async def receive(self):
        await asyncio.Event().wait()

    async def send(self, message):
        self.sent.append(message)
        if message["type"] == "http.response.body":
            await self.may_send.wait()


async def until(condition):
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the condition did not become true")


LONG_PATH = "/generator.onnx"


def test_long_response_is_sent_in_chunks_as_client_reads(client, monkeypatch):
    monkeypatch.setattr(edge, "CHUNK_SIZE", 1_000)

    async def send():
        connection = Connection(client.service, LONG_PATH)
        await until(lambda: len(connection.sent) == 2)
        assert len(connection.sent[1]["body"]) == 1_000
        connection.may_send.set()
        await connection.task
        return connection.sent[1:]

    expected = client.get(LONG_PATH).content
    chunks = asyncio.run(send())
    assert b"".join(chunk["body"] for chunk in chunks) == expected
    assert [chunk["more_body"] for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert max(len(chunk["body"]) for chunk in chunks) <= 1_000


def test_total_bytes_of_responses_in_transit_are_bounded(client, monkeypatch):
    monkeypatch.setattr(edge, "CHUNK_SIZE", 1_000)
    length = len(client.get(LONG_PATH).content)
    client.service.buffers.limit = 2 * length

    async def send():
        slow = [Connection(client.service, LONG_PATH) for _ in range(2)]
        await until(lambda: all(len(each.sent) == 2 for each in slow))
        late = Connection(client.service, LONG_PATH)
        late.may_send.set()
        await late.task
        for each in slow:
            each.may_send.set()
            await each.task
        after = Connection(client.service, LONG_PATH)
        after.may_send.set()
        await after.task
        return [each.sent[0] for each in (*slow, late, after)]

    starts = asyncio.run(send())
    assert [start["status"] for start in starts] == [200, 200, 503, 200]
    assert (b"retry-after", b"1") in starts[2]["headers"]
    assert 'catgan_rejected_total{reason="memory"} 1.0' in client.get("/metrics").text


def test_unread_response_times_out(make_client, monkeypatch):
    monkeypatch.setattr(edge, "CHUNK_SIZE", 1_000)
    client = make_client(send_timeout=0.1)

    async def send():
        connection = Connection(client.service, LONG_PATH)
        await asyncio.wait_for(connection.task, 10)
        return len(connection.sent)

    assert asyncio.run(send()) == 2  # the headers and one chunk
    assert 'status="499"' in client.get("/metrics").text


def test_metrics_count_requests_and_images(client):
    client.get("/cats/7.png")
    client.get("/cats/7.png")
    client.get("/cats/x.png")
    text = client.get("/metrics").text
    assert 'catgan_requests_total{route="image",status="200"} 2.0' in text
    assert 'catgan_requests_total{route="image",status="400"} 1.0' in text
    assert 'catgan_cache_total{result="hit"} 1.0' in text
    assert 'catgan_images_total{model="default"} 1.0' in text
    assert "catgan_queue_images 0.0" in text


def test_page_is_served_and_names_the_server(client, cats):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    facts = client.get("/generator.json").json()
    assert client.get(f"/{facts['server']}").json()["name"] == "default"
    assert client.get("/generator.onnx").content == cats.model
    tag = client.get("/worker.js?version").headers["etag"]
    assert client.get("/worker.js", headers={"If-None-Match": tag}).status_code == 304


def test_no_page_does_not_expose_artifact(make_client):
    client = make_client(page=False)
    for path in ("/", "/generator.onnx", "/app.js"):
        assert client.get(path).status_code == 404
    assert "/" not in client.get("/openapi.json").json()["paths"]
    assert client.get("/cats/7.png").status_code == 200


def test_service_can_be_mounted(cats):
    service = app(cats)
    with TestClient(Starlette(routes=[Mount("/art", service)])) as client:
        assert (pixels(client.get("/art/cats/7.png").content) == cats.sample([7])[0]).all()
        assert client.get("/art/nothing").json()["status"] == 404
        assert client.get("/art/").status_code == 200
    service.close()


def test_openapi_document_has_every_route(client):
    described = set(client.get("/openapi.json").json()["paths"])
    routed = {route.path for route in client.service._app.app.app.routes}
    versions = {path for path in routed if "{version}" in path}  # optional in the protocol
    files = {f"/{name}" for name in client.service.page.files}
    assert described == routed - versions - files


def test_replaced_models_stay_available_by_checksum_until_next_reload(client, tmp_path):
    service = client.service
    old = service.models.default
    other = catgan.load(write(tmp_path / "other.onnx", artifact(name="other cats")))
    models = Models.create([("default", other)], service.models)
    service.replace_models(models, Page(models.default))
    assert client.get(f"/artifacts/{old.checksum}/cats/7.png").status_code == 200
    assert client.get("/models").json()["models"][0]["checksum"] != old.checksum
    again = Models.create([("default", other)], models)
    assert again.default is models.default  # the same file is not loaded twice
    assert old.checksum not in again.by_checksum


def test_draining_service_is_not_ready_and_closes_connections(client):
    assert client.get("/v2/health/ready").status_code == 200
    client.service.draining = True
    for path in ("/v2/health/ready", "/v2/models/default/ready"):
        assert client.get(path).status_code == 503
    assert client.get("/v2/health/live").status_code == 200
    response = client.get("/cats/7.png")
    assert (response.status_code, response.headers["connection"]) == (200, "close")


def test_missing_extra_names_what_to_install(monkeypatch):
    monkeypatch.setattr("catgan.serve.find_spec", lambda name: None)
    with pytest.raises(CatganError, match=r"pip install 'catgan\[serve\]'"):
        require_serve_extra()
    assert "catgan[serve]" in catgan_command("serve", code=2)
