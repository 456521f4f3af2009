"""The artifact: a generator in one ONNX file, and what it says of itself.

The file is an ONNX model followed by one more field, which ONNX calls a metadata property: the key
`catgan`, and as its value the card as JSON. The card holds the sha256 of all that stands before it,
so that a damaged file is known before anything in it is used. `docs/reference/formats.md` is the
description.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catgan.errors import CatganError
from catgan.generation.protobuf import Message, encode_field

KEY = "catgan"
CHECKSUM = "model_sha256"
MAX_ARTIFACT_BYTES = 512 * 2**20
MAX_CARD_BYTES = 4 * 2**20

# Field numbers of onnx.proto.
_GRAPH, _METADATA, _TRAINING, _FUNCTIONS = 7, 14, 20, 25  # of a model
_NODE, _TENSOR, _SPARSE = 1, 5, 15  # of a graph
_ATTRIBUTE, _DOMAIN = 5, 7  # of a node
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE = {22, 23}
_EXTERNAL, _LOCATION = 13, 14  # of a tensor


def seal(model: bytes, card: Mapping[str, Any]) -> bytes:
    """The artifact of a serialized ONNX model without metadata and a card (JSON)."""
    content = {**card, CHECKSUM: hashlib.sha256(model).hexdigest()}
    value = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return model + encode_field(_METADATA, encode_field(1, KEY.encode()) + encode_field(2, value))


def read_artifact(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, Any]]:
    """The bytes of an artifact and its card, after every check that needs no ONNX Runtime.

    Raises `CatganError` for what is no file, no ONNX model, damaged, without a card, or a model
    that would read other files or run code of its own.
    """
    name = os.fspath(path)
    try:
        path = Path(name)
        if path.exists() and not path.is_file():  # a pipe nobody writes to would be waited for
            raise OSError(errno.EINVAL, "is no file")
        with path.open("rb") as file:
            data = file.read(MAX_ARTIFACT_BYTES + 1)
    except (OSError, TypeError, ValueError) as error:  # ValueError: a name that no file can have
        raise CatganError(
            f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}): name a .onnx "
            "file that `catgan export` wrote"
        ) from None
    if len(data) > MAX_ARTIFACT_BYTES:
        raise CatganError(
            f"{path}: is larger than {MAX_ARTIFACT_BYTES // 2**20} MiB, which no generator "
            "of catgan is: name a .onnx file that `catgan export` wrote"
        )
    return data, check_artifact(data, str(path))


def check_artifact(data: bytes, where: str) -> dict[str, Any]:
    """The card of an artifact's bytes; `CatganError` as for `read_artifact`."""
    model = Message(memoryview(data))
    try:
        numbers = {number for number, _ in model.fields()}
        entries = {entry.text(1): entry for entry in model.parts(_METADATA)}
        graphs = list(model.parts(_GRAPH))
    except ValueError as error:
        raise CatganError(
            f"{where}: is damaged or no ONNX file ({error}): name one that `catgan export` wrote, "
            "or export the run again"
        ) from None
    if len(graphs) != 1:
        raise CatganError(f"{where}: is no ONNX file: name one that `catgan export` wrote")
    if KEY not in entries:
        raise CatganError(
            f"{where}: is an ONNX file without catgan's card, so its latents and license are not "
            "known: name one that `catgan export` wrote"
        )
    try:
        _check_graph(graphs[0])
        if numbers & {_TRAINING, _FUNCTIONS}:
            raise ValueError("it brings functions of its own")
        card = parse_json_table(entries[KEY].text(2).encode())
    except ValueError as error:
        raise CatganError(f"{where}: is rejected ({error}): export the run again") from None
    sealed = len(data) - len(encode_field(_METADATA, bytes(entries[KEY].data)))
    if hashlib.sha256(model.data[:sealed]).hexdigest() != card.get(CHECKSUM):
        raise CatganError(
            f"{where}: is damaged (it does not have the checksum it was written with): "
            "fetch or export it again"
        )
    return card


def parse_json_table(value: bytes) -> dict[str, Any]:
    """The JSON object that a card is, of anyone's bytes; ValueError for what is none."""
    if len(value) > MAX_CARD_BYTES:
        raise ValueError("its card is too long")
    try:
        card = json.loads(value.decode("utf-8"), parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("its card is nested too deep") from None
    if not isinstance(card, dict):
        raise ValueError("its card is no table")
    return card


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _check_graph(graph: Message) -> None:
    """ValueError for what no generator needs: other files, other operators' code, inner graphs."""
    for tensor in graph.parts(_TENSOR):
        _check_tensor(tensor)
    if any(True for _ in graph.parts(_SPARSE)):
        raise ValueError("it has sparse tensors")
    for node in graph.parts(_NODE):
        if node.text(_DOMAIN) not in ("", "ai.onnx"):
            raise ValueError("it has operators that are not ONNX's own")
        for attribute in node.parts(_ATTRIBUTE):
            _check_attribute(attribute)


def _check_attribute(attribute: Message) -> None:
    numbers = {number for number, _ in attribute.fields()}
    if numbers & {_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS}:
        raise ValueError("it has loops or branches")
    if numbers & _ATTRIBUTE_SPARSE:
        raise ValueError("it has sparse tensors")
    for number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
        for tensor in attribute.parts(number):
            _check_tensor(tensor)


def _check_tensor(tensor: Message) -> None:
    if tensor.integer(_LOCATION) or any(True for _ in tensor.parts(_EXTERNAL)):
        raise ValueError("it would read another file")
