"""The Open Inference Protocol: tensors in JSON and in binary, and Triton's own client."""

from __future__ import annotations

import json

import numpy as np
import pytest
from artifacts import SIDE, SIZE
from serving import serving

ADDRESS = "/v2/models/default/infer"


def tensor(name, datatype, data, shape=None):
    return {
        "name": name,
        "datatype": datatype,
        "shape": shape or list(np.shape(data)),
        "data": data,
    }


SEEDS = tensor("seed", "INT64", [7, 8])


def images_of(answer):
    """The images of an answer in JSON."""
    (output,) = answer.json()["outputs"]
    assert (output["name"], output["datatype"]) == ("images", "UINT8")
    return np.array(output["data"], np.uint8).reshape(output["shape"])


def test_seeds_and_latents_are_the_cats_that_python_draws(client, cats):
    z = cats.latents([7, 8])
    for inputs, expected in (
        ([SEEDS], cats.sample([7, 8])),
        ([tensor("seed", "UINT64", [2**63 - 1])], cats.sample([2**63 - 1])),
        ([tensor("z", "FP32", z.tolist())], cats.sample([7, 8])),
        ([tensor("z", "FP32", z.ravel().tolist(), [2, SIZE])], cats.sample([7, 8])),
        ([SEEDS, tensor("truncation", "FP32", [0.5])], cats.sample([7, 8], 0.5)),
    ):
        answer = client.post(ADDRESS, json={"id": "one", "inputs": inputs})
        assert answer.status_code == 200
        assert answer.json()["id"] == "one"
        assert (images_of(answer) == expected).all()


def test_tensors_in_binary_go_in_and_come_out(client, cats):
    z = cats.latents([7, 8])
    head = {
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
    start = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(start))}
    answer = client.post(ADDRESS, content=start + z.astype("<f4").tobytes(), headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    images = np.frombuffer(answer.content[length:], np.uint8).reshape(output["shape"])
    assert output["parameters"]["binary_data_size"] == images.nbytes
    assert (images == cats.sample([7, 8])).all()


def test_what_it_says_of_itself(client):
    assert client.get("/v2").json()["name"] == "catgan"
    about = client.get("/v2/models/default").json()
    assert about["outputs"][0]["shape"] == [-1, SIDE, SIDE, 3]
    assert {each["name"] for each in about["inputs"]} == {"z", "seed", "truncation"}
    (version,) = about["versions"]
    path = f"/v2/models/default/versions/{version}"
    assert client.get(path).json() == about
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
        ({"inputs": [SEEDS | {"parameters": []}]}, 200),
    ],
)
def test_what_is_wrong_is_said_where_its_clients_look(client, document, status):
    answer = client.post(ADDRESS, json=document)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"] == answer.json()["detail"]


@pytest.mark.parametrize("length", ["-1", "x", "99999999999", "3", "100"])
def test_a_wrong_length_of_the_header_is_said(client, length):
    headers = {"Inference-Header-Content-Length": length}
    answer = client.post(ADDRESS, content=json.dumps({"inputs": [SEEDS]}), headers=headers)
    assert answer.status_code == 400


def test_infinite_numbers_in_binary_are_refused(client):
    for name, values in (("z", [np.nan] * SIZE), ("truncation", [np.nan])):
        part = np.array(values, "<f4").tobytes()
        inputs = [
            {
                "name": name,
                "datatype": "FP32",
                "shape": [1, len(values)] if name == "z" else [1],
                "parameters": {"binary_data_size": len(part)},
            }
        ]
        inputs += [SEEDS] if name == "truncation" else []
        start = json.dumps({"inputs": inputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(start))}
        assert client.post(ADDRESS, content=start + part, headers=headers).status_code == 400


def test_many_pixels_are_given_in_binary_only(make_client, monkeypatch):
    monkeypatch.setattr("catgan.serve.inference_protocol.MAX_JSON_PIXELS", 2 * SIDE**2 - 1)
    client = make_client()
    assert client.post(ADDRESS, json={"inputs": [SEEDS]}).status_code == 413
    asked = {"inputs": [SEEDS], "parameters": {"binary_data_output": True}}
    assert client.post(ADDRESS, json=asked).status_code == 200


def test_the_client_of_triton_draws_seed_7(tiny_path, cats):
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
            for asked in (outputs, None):
                result = client.infer("tiny", [seeds, truncation], outputs=asked)
                assert (result.as_numpy("images") == cats.sample([7, 8], 0.5)).all()
        with pytest.raises(triton.InferenceServerException, match="no model 'other' here"):
            client.infer("other", [seeds])
        client.close()
