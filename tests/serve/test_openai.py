"""OpenAI's image API: responses, and OpenAI's own client against a real server."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from serving import serving

from catgan.generation.grid import encode_image, enlarge

URL = "/v1/images/generations"


def test_seed_gives_same_images_as_python(client, cats):
    response = client.post(URL, json={"prompt": "a cat", "seed": 7, "n": 3, "size": "16x16"})
    assert response.status_code == 200
    document = response.json()
    assert [each["seed"] for each in document["data"]] == [7, 8, 9]
    assert document["size"] == "16x16"
    for each, image in zip(document["data"], cats.sample([7, 8, 9]), strict=True):
        assert base64.b64decode(each["b64_json"]) == encode_image(enlarge(image, 16), "PNG")


def test_random_seeds_are_returned(client, cats):
    images = [client.post(URL, json={"output_format": "webp"}).json()["data"][0] for _ in range(3)]
    assert len({each["seed"] for each in images}) == 3
    for each in images:
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
        (b'{"output_format": ""}', 422),
        (b'{"stream": true}', 422),
        (b'{"stream": ""}', 422),
        (b'{"model": "dall-e-3"}', 404),
        (b" " * 1_048_577, 413),
    ],
)
def test_errors_have_openai_s_format(client, body, status):
    response = client.post(URL, content=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["message"] == response.json()["detail"]
    assert error["type"] == "invalid_request_error"


def test_largest_seed_is_accepted(client):
    assert client.post(URL, json={"seed": 2**63 - 1}).status_code == 200


def test_compressed_body_is_rejected(client):
    response = client.post(URL, content=b"{}", headers={"Content-Encoding": "gzip"})
    assert response.status_code == 415


def test_openai_client(tiny_path, cats):
    openai = pytest.importorskip("openai", reason="no openai package: its client is NOT tested")
    with serving(tiny_path) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        generated = client.images.generate(
            model="tiny", prompt="a cat", n=2, response_format="b64_json", extra_body={"seed": 7}
        )
        assert [each.id for each in client.models.list()] == ["tiny"]
        with pytest.raises(openai.NotFoundError, match="unknown model 'dall-e-3'"):
            client.images.generate(model="dall-e-3", prompt="a cat")
        with pytest.raises(openai.UnprocessableEntityError, match="expected a whole number"):
            client.images.generate(model="tiny", prompt="a cat", n=65)
    for each, image in zip(generated.data, cats.sample([7, 8]), strict=True):
        opened = Image.open(io.BytesIO(base64.b64decode(each.b64_json)))
        assert (np.asarray(opened) == image).all()
