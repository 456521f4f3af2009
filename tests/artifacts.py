"""A tiny generator as an artifact, made without torch, and the same in numpy."""

from __future__ import annotations

import copy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from catgan.generation.artifact import seal

SIZE, SIDE = 6, 8
DIRECTIONS = 3

CARD = {
    "format": 2,
    "catgan": "0.1.0",
    "name": "tiny cats",
    "precision": "float32",
    "latents": "philox4x32-10 box-muller",
    "images": 1234,
    "config": {
        "recipe": "tiny",
        "network": {"family": "dcgan", "resolution": SIDE, "latent_size": SIZE},
    },
    "data": {
        "name": "procedural-cats", "images": 60, "license": "MIT", "credit": "Nobody",
        "identity": "0",
    },
    "truncation": {"toward": "the mean style", "seeds": 4096, "mean": [0.0] * SIZE},
    "scores": [],
    "directions": [],
    "parity": {"seeds": 256, "largest": 1, "mean": 0.001},
}  # fmt: skip


def card(**changes):
    """The card with three directions along the first axes, and with `changes`."""
    import base64

    document = copy.deepcopy(CARD)
    document["directions"] = [
        {
            "name": ["darker", "", "rounder"][axis],
            "share": 0.5 / (axis + 1),
            "vector": base64.b64encode(np.eye(SIZE, dtype="<f4")[axis].tobytes()).decode(),
        }
        for axis in range(DIRECTIONS)
    ]
    return document | changes


def weights():
    """The one layer: (SIZE, SIDE * SIDE * 3)."""
    return np.random.default_rng(0).standard_normal((SIZE, SIDE * SIDE * 3)).astype(np.float32)


def images_of(z, truncation=1.0):
    """What the model below draws."""
    pixels = (truncation * z.astype(np.float64)) @ weights() * 30 + 128
    return np.rint(pixels).clip(0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)


def model(side=SIDE, output=TensorProto.UINT8, extra=()):
    """The generator as an ONNX model; `extra`: more nodes."""
    constants = {
        "w": 30 * weights(), "middle": np.float32(128), "low": np.float32(0),
        "high": np.float32(255), "shape": np.array([-1, side, side, 3], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["z", "truncation"], ["style"]),
        helper.make_node("MatMul", ["style", "w"], ["flat"]),
        helper.make_node("Add", ["flat", "middle"], ["lit"]),
        helper.make_node("Round", ["lit"], ["whole"]),
        helper.make_node("Clip", ["whole", "low", "high"], ["kept"]),
        helper.make_node("Reshape", ["kept", "shape"], ["pixels"]),
        helper.make_node("Cast", ["pixels"], ["images"], to=output),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", SIZE]),
            helper.make_tensor_value_info("truncation", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("images", output, ["N", side, side, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="test"
    )


def artifact(**changes):
    """The bytes of a whole artifact; `changes` to its card."""
    return seal(model().SerializeToString(), card(**changes))


def write(path, data=None):
    """An artifact at `path`."""
    path.write_bytes(artifact() if data is None else data)
    return path


def with_metadata(proto, key, value):
    """The bytes of a model with ONNX's own metadata, as other tools write them."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    helper.set_model_props(changed, {key: value})
    return changed.SerializeToString()
