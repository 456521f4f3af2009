"""Write and read artifacts: a generator and its model card in one ONNX file.

The file is an ONNX model followed by one more metadata property with the key `catgan`; its value is
the card as JSON. The card holds the sha256 of all bytes before it, so damage is detected before
anything in the file is used. `docs/formats.md` describes the format.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catgan.errors import CatganError
from catgan.files import read_bounded
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
    """Return the artifact: a serialized ONNX model without metadata, and a card (JSON)."""
    content = {**card, CHECKSUM: hashlib.sha256(model).hexdigest()}
    value = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return model + encode_field(_METADATA, encode_field(1, KEY.encode()) + encode_field(2, value))


def read_artifact(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of an artifact and its card, after every check that needs no ONNX Runtime.

    Raises:
        CatganError: the path is not a file, not an ONNX model, damaged or without a card, or the
            model would read other files or run custom code.
    """
    where, remedy = os.fspath(path), "name a .onnx file that `catgan export` wrote"
    data = read_bounded(where, MAX_ARTIFACT_BYTES, remedy)
    if len(data) > MAX_ARTIFACT_BYTES:
        raise CatganError(
            f"{where}: is larger than {MAX_ARTIFACT_BYTES // 2**20} MiB, the limit for a "
            f"generator: {remedy}"
        )
    return data, check_artifact(data, str(Path(where)))


def check_artifact(data: bytes, where: str) -> dict[str, Any]:
    """Return the card in an artifact's bytes; errors name the file `where`.

    Raises `CatganError` as `read_artifact` does.
    """
    model = Message(memoryview(data))
    try:
        numbers = {number for number, _ in model.fields()}
        entries = {entry.text(1): entry for entry in model.parts(_METADATA)}
        graphs = list(model.parts(_GRAPH))
    except ValueError as error:
        raise CatganError(
            f"{where}: is damaged or not an ONNX file ({error}): name one that `catgan export` "
            "wrote, or export the run again"
        ) from None
    if len(graphs) != 1:
        raise CatganError(f"{where}: is not an ONNX file: name one that `catgan export` wrote")
    if KEY not in entries:
        raise CatganError(
            f"{where}: is an ONNX file without a catgan card, so its latents and license are "
            "unknown: name one that `catgan export` wrote"
        )
    try:
        _check_graph(graphs[0])
        if numbers & {_TRAINING, _FUNCTIONS}:
            raise ValueError("it has custom functions")
        card = parse_json_object(entries[KEY].text(2).encode())
    except ValueError as error:
        raise CatganError(f"{where}: is rejected ({error}): export the run again") from None
    sealed = len(data) - len(encode_field(_METADATA, bytes(entries[KEY].data)))
    if hashlib.sha256(model.data[:sealed]).hexdigest() != card.get(CHECKSUM):
        raise CatganError(
            f"{where}: is damaged (its checksum does not match): download or export it again"
        )
    return card


def parse_json_object(value: bytes) -> dict[str, Any]:
    """Return the JSON object in untrusted bytes; ValueError for anything else."""
    if len(value) > MAX_CARD_BYTES:
        raise ValueError("its card is too long")
    try:
        card = json.loads(value.decode("utf-8"), parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("its card is nested too deeply") from None
    if not isinstance(card, dict):
        raise ValueError("its card is not a JSON object")
    return card


def _reject_constant(name: str) -> None:
    raise ValueError(f"its card has the number {name}")


def _check_graph(graph: Message) -> None:
    """Raise ValueError for external data, custom operators, control flow and sparse tensors."""
    for tensor in graph.parts(_TENSOR):
        _check_tensor(tensor)
    if any(True for _ in graph.parts(_SPARSE)):
        raise ValueError("it has sparse tensors")
    for node in graph.parts(_NODE):
        if node.text(_DOMAIN) not in ("", "ai.onnx"):
            raise ValueError("it has operators outside the ONNX standard")
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
