"""OpenAI's shape: the answers, and its own client against a real server."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from serving import serving

from catgan.generation.grid import encode_image, enlarge

ADDRESS = "/v1/images/generations"


def test_a_seed_is_the_cat_that_python_draws(client, cats):
    answer = client.post(ADDRESS, json={"prompt": "a cat", "seed": 7, "n": 3, "size": "16x16"})
    assert answer.status_code == 200
    procedural = answer.json()
    assert [each["seed"] for each in procedural["data"]] == [7, 8, 9]
    assert procedural["size"] == "16x16"
    for each, image in zip(procedural["data"], cats.sample([7, 8, 9]), strict=True):
        assert base64.b64decode(each["b64_json"]) == encode_image(enlarge(image, 16), "PNG")


def test_without_a_seed_it_is_another_each_time_and_is_named(client, cats):
    seeds = [
        client.post(ADDRESS, json={"output_format": "webp"}).json()["data"][0] for _ in range(3)
    ]
    assert len({each["seed"] for each in seeds}) == 3
    for each in seeds:
        expected = encode_image(cats.sample([each["seed"]])[0], "WEBP")
        assert base64.b64decode(each["b64_json"]) == expected


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"seed": NaN}', 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": 7}', 422),
        (b'{"n": 0}', 422),
        (b'{"n": 65}', 422),
        (b'{"n": true}', 422),
        (b'{"n": 1.0}', 422),
        (b'{"seed": -1}', 422),
        (b'{"seed": 9223372036854775808}', 422),
        (b'{"seed": 9223372036854775807, "n": 2}', 422),
        (b'{"seed": "7"}', 422),
        (b'{"truncation": 1.5}', 422),
        (b'{"truncation": 1e999}', 422),
        (b'{"size": "16x17"}', 422),
        (b'{"size": "1792x1024"}', 422),
        (b'{"size": 16}', 422),
        (b'{"n": 64, "size": "1024x1024"}', 413),
        (b'{"response_format": "url"}', 422),
        (b'{"output_format": "tiff"}', 422),
        (b'{"stream": true}', 422),
        (b'{"model": "dall-e-3"}', 404),
        (b" " * 1_048_577, 413),
    ],
)
def test_what_is_wrong_is_said_where_its_client_looks(client, body, status):
    answer = client.post(ADDRESS, content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"] == answer.json()["detail"]
    assert error["type"] == "invalid_request_error"


def test_the_largest_seed_is_drawn(client):
    assert client.post(ADDRESS, json={"seed": 2**63 - 1}).status_code == 200


def test_a_compressed_body_is_not_unpacked(client):
    answer = client.post(ADDRESS, content=b"{}", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_the_client_of_openai_draws_seed_7(tiny_path, cats):
    openai = pytest.importorskip("openai", reason="no openai package: its client is NOT tested")
    with serving(tiny_path) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        procedural = client.images.generate(
            model="tiny", prompt="a cat", n=2, response_format="b64_json", extra_body={"seed": 7}
        )
        assert [each.id for each in client.models.list()] == ["tiny"]
        with pytest.raises(openai.NotFoundError, match="no model 'dall-e-3' here"):
            client.images.generate(model="dall-e-3", prompt="a cat")
        with pytest.raises(openai.UnprocessableEntityError, match="expected a whole number"):
            client.images.generate(model="tiny", prompt="a cat", n=65)
    for each, image in zip(procedural.data, cats.sample([7, 8]), strict=True):
        opened = Image.open(io.BytesIO(base64.b64decode(each.b64_json)))
        assert (np.asarray(opened) == image).all()
