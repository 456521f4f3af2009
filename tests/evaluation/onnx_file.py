"""A small convolutional network as the bytes of an ONNX file, and the same in torch.

The bytes are encoded by hand (ONNX is protocol buffers), so that the tests need no exporter.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import torch

FLOAT, INT, INTS = 1, 2, 7  # TensorProto.FLOAT; AttributeProto.INT and INTS


class Network(torch.nn.Module):
    """N x 3 x H x W to N x 8: convolution, ReLU, global average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        random = np.random.default_rng(0)
        with torch.no_grad():
            for weights in self.convolution.parameters():
                weights.copy_(torch.from_numpy(random.standard_normal(weights.shape)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convolution(images)).mean(dim=(2, 3))


def onnx_bytes(network: Network, sides: Sequence[int | str] = ("N", "H", "W")) -> bytes:
    """Return an ONNX model of `network`; each of `sides` is a number, or a name if free."""
    batch, height, width = sides
    nodes = (
        _node("Conv", "images weight bias", "convolved",
              _ints("strides", 2, 2) + _ints("pads", 1, 1, 1, 1)),
        _node("Relu", "convolved", "rectified"),
        _node("GlobalAveragePool", "rectified", "pooled"),
        _node("Flatten", "pooled", "features", _message(5, _text(1, "axis") + _number(3, 1)
                                                        + _number(20, INT))),
    )  # fmt: skip
    graph = (
        b"".join(_message(1, node) for node in nodes)
        + _text(2, "network")
        + _message(5, _tensor("weight", network.convolution.weight))
        + _message(5, _tensor("bias", network.convolution.bias))
        + _message(11, _value("images", (batch, 3, height, width)))
        + _message(12, _value("features", (batch, 8)))
    )
    return _number(1, 8) + _message(7, graph) + _message(8, _number(2, 13))  # opset 13


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _ints(name: str, *values: int) -> bytes:
    numbers = b"".join(_number(8, value) for value in values)
    return _message(5, _text(1, name) + numbers + _number(20, INTS))


def _node(operator: str, inputs: str, output: str, attributes: bytes = b"") -> bytes:
    names = b"".join(_text(1, name) for name in inputs.split())
    return names + _text(2, output) + _text(4, operator) + attributes


def _tensor(name: str, values: torch.Tensor) -> bytes:
    dimensions = b"".join(_number(1, side) for side in values.shape)
    flat = values.detach().flatten().tolist()
    content = struct.pack(f"<{len(flat)}f", *flat)
    return dimensions + _number(2, FLOAT) + _text(8, name) + _message(9, content)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    sides = b"".join(
        _message(1, _number(1, side) if isinstance(side, int) else _text(2, side)) for side in shape
    )
    return _text(1, name) + _message(2, _message(1, _number(1, FLOAT) + _message(2, sides)))
