"""The Open Inference Protocol: tensors in JSON and in binary, and Triton's own client."""

from __future__ import annotations

import json

import numpy as np
import pytest
from artifacts import SIDE, SIZE
from serving import serving

URL = "/v2/models/default/infer"


def tensor(name, datatype, data, shape=None):
    return {
        "name": name,
        "datatype": datatype,
        "shape": shape or list(np.shape(data)),
        "data": data,
    }


SEEDS = tensor("seed", "INT64", [7, 8])


def images_of(response):
    """Return the images of a JSON response."""
    (output,) = response.json()["outputs"]
    assert (output["name"], output["datatype"]) == ("images", "UINT8")
    return np.array(output["data"], np.uint8).reshape(output["shape"])


def test_seeds_and_latents_give_same_images_as_python(client, cats):
    z = cats.latents([7, 8])
    for inputs, expected in (
        ([SEEDS], cats.sample([7, 8])),
        ([tensor("seed", "UINT64", [2**63 - 1])], cats.sample([2**63 - 1])),
        ([tensor("z", "FP32", z.tolist())], cats.sample([7, 8])),
        ([tensor("z", "FP32", z.ravel().tolist(), [2, SIZE])], cats.sample([7, 8])),
        ([SEEDS, tensor("truncation", "FP32", [0.5])], cats.sample([7, 8], 0.5)),
    ):
        response = client.post(URL, json={"id": "one", "inputs": inputs})
        assert response.status_code == 200
        assert response.json()["id"] == "one"
        assert (images_of(response) == expected).all()


def test_binary_input_and_output(client, cats):
    z = cats.latents([7, 8])
    document = {
        "inputs": [
            {
                "name": "z",
                "datatype": "FP32",
                "shape": [2, SIZE],
                "parameters": {"binary_data_size": z.nbytes},
            }
        ],
        "outputs": [{"name": "images", "parameters": {"binary_data": True}}],
    }
    json_part = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(json_part))}
    response = client.post(URL, content=json_part + z.astype("<f4").tobytes(), headers=headers)
    length = int(response.headers["inference-header-content-length"])
    (output,) = json.loads(response.content[:length])["outputs"]
    images = np.frombuffer(response.content[length:], np.uint8).reshape(output["shape"])
    assert output["parameters"]["binary_data_size"] == images.nbytes
    assert (images == cats.sample([7, 8])).all()


def test_server_and_model_metadata(client):
    assert client.get("/v2").json()["name"] == "catgan"
    metadata = client.get("/v2/models/default").json()
    assert metadata["outputs"][0]["shape"] == [-1, SIDE, SIDE, 3]
    assert {each["name"] for each in metadata["inputs"]} == {"z", "seed", "truncation"}
    (version,) = metadata["versions"]
    path = f"/v2/models/default/versions/{version}"
    assert client.get(path).json() == metadata
    assert client.get(f"{path}/ready").json() == {"name": "default", "ready": True}
    assert client.post(f"{path}/infer", json={"inputs": [SEEDS]}).status_code == 200


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({}, 400),
        ({"inputs": []}, 400),
        ({"inputs": [7]}, 400),
        ({"inputs": "z"}, 400),
        ({"inputs": [SEEDS], "id": 7}, 400),
        ({"inputs": [SEEDS], "id": "7" * 257}, 400),
        ({"inputs": [SEEDS, SEEDS]}, 400),
        ({"inputs": [tensor("other", "FP32", [1])]}, 400),
        ({"inputs": [{"name": ["z"], "datatype": "FP32", "shape": [1], "data": [1]}]}, 400),
        ({"inputs": [tensor("seed", "FP32", [7.0])]}, 400),
        ({"inputs": [{"name": "seed", "datatype": [], "shape": [1], "data": [1]}]}, 400),
        ({"inputs": [tensor("seed", "INT64", [7.5])]}, 400),
        ({"inputs": [tensor("seed", "INT64", [True])]}, 400),
        ({"inputs": [tensor("seed", "INT64", [-1])]}, 400),
        ({"inputs": [tensor("seed", "INT64", [2**63])]}, 400),
        ({"inputs": [tensor("seed", "UINT64", [2**63])]}, 400),
        ({"inputs": [tensor("seed", "UINT64", [2**64])]}, 400),
        ({"inputs": [tensor("seed", "INT64", [7], [2])]}, 400),
        ({"inputs": [tensor("seed", "INT64", [7], [-1])]}, 400),
        ({"inputs": [tensor("seed", "INT64", [7], [10**30])]}, 400),
        ({"inputs": [tensor("seed", "INT64", [], [0])]}, 413),
        ({"inputs": [tensor("seed", "INT64", list(range(65)))]}, 413),
        ({"inputs": [tensor("z", "FP32", [[0.0] * (SIZE + 1)])]}, 400),
        ({"inputs": [tensor("z", "FP32", [[10.0**39] * SIZE])]}, 400),
        ({"inputs": [tensor("z", "FP32", [[10**400] * SIZE])]}, 400),
        ({"inputs": [tensor("z", "FP32", [[0.0] * SIZE] * 65)]}, 413),
        ({"inputs": [SEEDS, tensor("z", "FP32", [[0.0] * SIZE])]}, 400),
        ({"inputs": [SEEDS, tensor("truncation", "FP32", [1.5])]}, 400),
        ({"inputs": [SEEDS, tensor("truncation", "FP32", [0.5, 0.5])]}, 400),
        ({"inputs": [SEEDS], "outputs": [{"name": "other"}]}, 400),
        ({"inputs": [SEEDS | {"parameters": {"binary_data_size": 16}}]}, 400),
        ({"inputs": [SEEDS | {"parameters": []}]}, 400),
        ({"inputs": [SEEDS], "parameters": "binary_data_output"}, 400),
        ({"inputs": [SEEDS], "outputs": [{"name": "images", "parameters": 1}]}, 400),
    ],
)
def test_errors_have_protocol_s_format(client, document, status):
    response = client.post(URL, json=document)
    assert response.status_code == status
    assert status == 200 or response.json()["error"] == response.json()["detail"]


@pytest.mark.parametrize("length", ["-1", "x", "99999999999", "3", "100"])
def test_invalid_header_length_is_rejected(client, length):
    headers = {"Inference-Header-Content-Length": length}
    response = client.post(URL, content=json.dumps({"inputs": [SEEDS]}), headers=headers)
    assert response.status_code == 400


def test_nan_in_binary_input_is_rejected(client):
    for name, values in (("z", [np.nan] * SIZE), ("truncation", [np.nan])):
        data = np.array(values, "<f4").tobytes()
        inputs = [
            {
                "name": name,
                "datatype": "FP32",
                "shape": [1, len(values)] if name == "z" else [1],
                "parameters": {"binary_data_size": len(data)},
            }
        ]
        inputs += [SEEDS] if name == "truncation" else []
        json_part = json.dumps({"inputs": inputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(json_part))}
        assert client.post(URL, content=json_part + data, headers=headers).status_code == 400


def test_large_output_requires_binary(make_client, monkeypatch):
    monkeypatch.setattr("catgan.serve.inference_protocol.MAX_JSON_PIXELS", 2 * SIDE**2 - 1)
    client = make_client()
    assert client.post(URL, json={"inputs": [SEEDS]}).status_code == 413
    document = {"inputs": [SEEDS], "parameters": {"binary_data_output": True}}
    assert client.post(URL, json=document).status_code == 200


def test_triton_client(tiny_path, cats):
    triton = pytest.importorskip(
        "tritonclient.http", reason="no tritonclient[http]: Triton's client is NOT tested"
    )
    with serving(tiny_path) as server:
        client = triton.InferenceServerClient(server.url.removeprefix("http://"))
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert client.get_model_metadata("tiny")["name"] == "tiny"
        for binary in (True, False):
            seeds = triton.InferInput("seed", [2], "INT64")
            seeds.set_data_from_numpy(np.array([7, 8]), binary_data=binary)
            truncation = triton.InferInput("truncation", [1], "FP32")
            truncation.set_data_from_numpy(np.array([0.5], np.float32), binary_data=binary)
            outputs = [triton.InferRequestedOutput("images", binary_data=binary)]
            for requested in (outputs, None):
                result = client.infer("tiny", [seeds, truncation], outputs=requested)
                assert (result.as_numpy("images") == cats.sample([7, 8], 0.5)).all()
        with pytest.raises(triton.InferenceServerException, match="unknown model 'other'"):
            client.infer("other", [seeds])
        client.close()
