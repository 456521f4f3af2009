from __future__ import annotations

import contextlib
import json

import numpy as np
import onnx
import pytest
from artifacts import CARD, artifact, card, model, with_metadata, write
from onnx import TensorProto, helper

from catgan.errors import CatganError
from catgan.generation.artifact import check_artifact, read_artifact, seal
from catgan.generation.card import parse_card
from catgan.generation.generator import Generator
from catgan.generation.protobuf import MAX_FIELDS, Message, encode_field


def rejection(data):
    with pytest.raises(CatganError) as error:
        check_artifact(data, "cats.onnx")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("cats.onnx: ")
    return str(error.value)


def test_artifact_is_an_onnx_model_with_the_card_as_metadata():
    data = artifact()
    read = onnx.load_from_string(data)
    onnx.checker.check_model(read)
    (entry,) = read.metadata_props
    assert entry.key == "catgan"
    assert json.loads(entry.value)["name"] == CARD["name"]
    assert check_artifact(data, "cats.onnx") == json.loads(entry.value)


def test_truncated_files_are_rejected():
    data = artifact()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        rejection(data[:length])


def test_flipped_bits_are_rejected_or_harmless():
    """Random damage raises `CatganError` or leaves a working artifact, and nothing else."""
    data, random = artifact(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        with contextlib.suppress(CatganError):
            document = check_artifact(bytes(damaged), "cats.onnx")
            generator = Generator(bytes(damaged), parse_card(document, "cats.onnx"), "cats.onnx")
            generator.sample([1])


def test_damaged_model_with_a_matching_checksum_raises_catgan_error():
    """Such models reach ONNX Runtime."""
    intact, random = model().SerializeToString(), np.random.default_rng(1)
    for _ in range(100):
        broken = bytearray(intact)
        broken[random.integers(len(broken) // 8)] ^= 1 << random.integers(8)
        data = seal(bytes(broken), card())
        with contextlib.suppress(CatganError):
            document = check_artifact(data, "cats.onnx")
            Generator(data, parse_card(document, "cats.onnx"), "cats.onnx").sample([1])


@pytest.mark.parametrize("data", [b"", b"PNG", b"\x00" * 100, b"\xff" * 1000, b"\x80" * 30])
def test_files_other_than_onnx_are_rejected_in_one_line(data):
    rejection(data)


def test_model_without_a_card_is_rejected():
    assert "card" in rejection(model().SerializeToString())
    assert "card" in rejection(with_metadata(model(), "author", "someone"))


def test_card_copied_to_another_model_is_rejected():
    value = json.dumps(check_artifact(artifact(), "a"))
    other = model()
    other.producer_name = "other"
    assert "checksum" in rejection(with_metadata(other, "catgan", value))


@pytest.mark.parametrize("value", ["", "[1]", "{", "NaN", '{"a": Infinity}', "[" * 100_000])
def test_card_other_than_a_json_object_is_rejected_in_one_line(value):
    rejection(with_metadata(model(), "catgan", value))


def test_external_data_is_rejected():
    proto = model()
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    assert "another file" in rejection(seal(proto.SerializeToString(), card()))
    hidden = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    hidden.external_data.add(key="location", value="../secret")
    proto = model(extra=[helper.make_node("Constant", [], ["c"], value=hidden)])
    assert "another file" in rejection(seal(proto.SerializeToString(), card()))


def test_custom_operators_functions_and_control_flow_are_rejected():
    foreign = helper.make_node("Evil", ["z"], ["e"], domain="com.evil")
    assert "operators" in rejection(seal(model(extra=[foreign]).SerializeToString(), card()))
    branch = helper.make_graph([], "branch", [], [])
    loop = helper.make_node("If", ["z"], ["e"], then_branch=branch, else_branch=branch)
    assert "loops" in rejection(seal(model(extra=[loop]).SerializeToString(), card()))
    proto = model()
    proto.functions.add(name="f", domain="com.evil")
    assert "functions" in rejection(seal(proto.SerializeToString(), card()))


def test_unreadable_and_oversized_files_are_rejected(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path / "missing.onnx"):
        with pytest.raises(CatganError, match="cannot be read"):
            read_artifact(path)
    path = write(tmp_path / "cats.onnx")
    assert read_artifact(path)[0] == path.read_bytes()
    monkeypatch.setattr("catgan.generation.artifact.MAX_ARTIFACT_BYTES", 100)
    with pytest.raises(CatganError, match="larger"):
        read_artifact(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"format": "2"},
        {"name": 7},
        {"latents": "mersenne"},
        {"images": -1},
        {"images": True},
        {"data": None},
        {"data": {"name": "x"}},
        {"config": {}},
        {"config": {"recipe": "r", "network": {"resolution": 10**9, "latent_size": 6}}},
        {"config": {"recipe": "r", "network": {"resolution": 8, "latent_size": "6"}}},
        {"scores": [{"line": "FID 0"}]},
        {"scores": "none"},
        {"directions": [{"name": "x", "share": 0.1, "vector": "AAAA"}]},
        {"directions": [{"name": "x", "share": 0.1, "vector": "A" * 32}]},
        {"directions": [{"name": "x", "share": 0.1, "vector": 5}]},
        {"directions": [3]},
        {"training": "long"},
        {"training": {"hours": 1}},
        {"training": {"hours": "1", "machine": "cpu"}},
        {"parity": {}},
        {"parity": {"seeds": 256, "largest": 1000, "mean": 0.1}},
        {"parity": {"seeds": 256, "largest": 1, "mean": 10**400}},
    ],
)
def test_invalid_cards_are_rejected_in_one_line(changes):
    with pytest.raises(CatganError) as error:
        parse_card(card(**changes), "cats.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, "tiny, 1,234 images seen"),
        ({"hours": 1.02, "machine": "cpu"}, "tiny, 1,234 images seen in 61 minutes on cpu"),
        ({"hours": 30, "machine": "cuda"}, "tiny, 1,234 images seen in 30.0 hours on cuda"),
    ],
)
def test_card_shows_the_training_time_if_known(training, expected):
    changes = {"training": training} if training else {}
    assert parse_card(card(**changes), "cats.onnx").trained == expected


def test_card_texts_are_printable():
    read = parse_card(card(name="\x1b[31mred\n\x07cats"), "cats.onnx")
    assert all(text.isprintable() for _, text in read.lines())
    assert "red" in read.name


def test_field_numbers_beyond_32_bits_are_rejected():
    """With bit 32 set, readers that keep 32 bits would see another field."""
    tag, value = (13 << 3 | 2) | 1 << 32, b"weights.bin"
    varint = bytearray()
    while tag > 127:
        varint.append(tag & 127 | 128)
        tag >>= 7
    hidden = bytes([*varint, tag, len(value)]) + value
    with pytest.raises(ValueError, match="too large"):
        list(Message(memoryview(hidden)).fields())


def test_too_many_fields_are_rejected():
    """A field takes two bytes, so 512 MiB could hold 268 million."""
    assert "fields" in rejection(b"\x08\x00" * (MAX_FIELDS + 1))
    # Nested messages share one allowance, so many small ones are rejected, too.
    node = encode_field(1, b"\x08\x00" * 9_000)
    data = seal(encode_field(7, node * (MAX_FIELDS // 9_000 + 1)), card())
    assert "fields" in rejection(data)


def test_generator_has_few_fields():
    message = Message(memoryview(artifact()))
    list(message.fields())
    assert 0 < MAX_FIELDS - message.allowance.left < 100


def test_sparse_tensors_are_rejected():
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(values, indices, [4])
    bad = model()
    bad.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], sparse_value=sparse))
    assert "sparse" in rejection(seal(bad.SerializeToString(), CARD))


def test_onnx_runtime_reads_the_model_as_onnx_only(monkeypatch):
    """The same bytes could be a model in the ORT format, which is not checked."""
    import onnxruntime

    entries = []
    real = onnxruntime.SessionOptions.add_session_config_entry

    class Options(onnxruntime.SessionOptions):
        def add_session_config_entry(self, key, value):
            entries.append((key, value))
            real(self, key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    data = artifact()
    document = check_artifact(data, "cats.onnx")
    Generator(data, parse_card(document, "cats.onnx"), "cats.onnx").sample([1])
    assert ("session.load_model_format", "ONNX") in entries
