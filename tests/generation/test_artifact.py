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


def test_an_artifact_is_an_onnx_model_with_its_card_as_metadata():
    data = artifact()
    read = onnx.load_from_string(data)
    onnx.checker.check_model(read)
    (entry,) = read.metadata_props
    assert entry.key == "catgan"
    assert json.loads(entry.value)["name"] == CARD["name"]
    assert check_artifact(data, "cats.onnx") == json.loads(entry.value)


def test_every_truncation_is_noticed():
    data = artifact()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        rejection(data[:length])


def test_any_changed_byte_is_noticed_or_harmless():
    """Random damage ends in the one error, or in an artifact that draws: never in anything else."""
    data, random = artifact(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(random.integers(1, 4)):
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        with contextlib.suppress(CatganError):
            document = check_artifact(bytes(damaged), "cats.onnx")
            generator = Generator(bytes(damaged), parse_card(document, "cats.onnx"), "cats.onnx")
            generator.sample([1])


def test_damage_that_a_card_was_made_for_still_ends_in_one_line():
    """Models that are broken, but whose sum is right, reach ONNX Runtime."""
    sound, random = model().SerializeToString(), np.random.default_rng(1)
    for _ in range(100):
        broken = bytearray(sound)
        broken[random.integers(len(broken) // 8)] ^= 1 << random.integers(8)
        data = seal(bytes(broken), card())
        with contextlib.suppress(CatganError):
            document = check_artifact(data, "cats.onnx")
            Generator(data, parse_card(document, "cats.onnx"), "cats.onnx").sample([1])


@pytest.mark.parametrize("data", [b"", b"PNG", b"\x00" * 100, b"\xff" * 1000, b"\x80" * 30])
def test_what_is_no_onnx_file_is_one_line(data):
    rejection(data)


def test_a_model_without_catgan_s_card_is_named_as_such():
    assert "card" in rejection(model().SerializeToString())
    assert "card" in rejection(with_metadata(model(), "author", "someone"))


def test_a_card_moved_to_another_model_is_noticed():
    value = json.dumps(check_artifact(artifact(), "a"))
    other = model()
    other.producer_name = "other"
    assert "sum" in rejection(with_metadata(other, "catgan", value))


@pytest.mark.parametrize("value", ["", "[1]", "{", "NaN", '{"a": Infinity}', "[" * 100_000])
def test_a_card_that_is_no_table_is_one_line(value):
    rejection(with_metadata(model(), "catgan", value))


def test_a_model_that_would_read_another_file_is_refused():
    proto = model()
    tensor = proto.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    assert "another file" in rejection(seal(proto.SerializeToString(), card()))
    hidden = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    hidden.external_data.add(key="location", value="../secret")
    proto = model(extra=[helper.make_node("Constant", [], ["c"], value=hidden)])
    assert "another file" in rejection(seal(proto.SerializeToString(), card()))


def test_code_of_its_own_is_refused():
    foreign = helper.make_node("Evil", ["z"], ["e"], domain="com.evil")
    assert "operators" in rejection(seal(model(extra=[foreign]).SerializeToString(), card()))
    branch = helper.make_graph([], "branch", [], [])
    loop = helper.make_node("If", ["z"], ["e"], then_branch=branch, else_branch=branch)
    assert "loops" in rejection(seal(model(extra=[loop]).SerializeToString(), card()))
    proto = model()
    proto.functions.add(name="f", domain="com.evil")
    assert "functions" in rejection(seal(proto.SerializeToString(), card()))


def test_files_that_cannot_be_read_are_one_line(tmp_path, monkeypatch):
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
        {"format": "1"},
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
def test_cards_that_make_no_sense_are_one_line(changes):
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
def test_a_card_tells_how_long_it_took_if_it_knows(training, expected):
    changes = {"training": training} if training else {}
    assert parse_card(card(**changes), "cats.onnx").trained == expected


def test_a_card_cannot_write_to_the_terminal():
    read = parse_card(card(name="\x1b[31mred\n\x07cats"), "cats.onnx")
    assert all(text.isprintable() for _, text in read.lines())
    assert "red" in read.name


def test_a_field_that_other_readers_would_number_otherwise_is_refused():
    """With bit 32 set, a tag of this reader is another one to readers that keep 32 bits."""
    tag, value = (13 << 3 | 2) | 1 << 32, b"weights.bin"
    varint = bytearray()
    while tag > 127:
        varint.append(tag & 127 | 128)
        tag >>= 7
    hidden = bytes([*varint, tag, len(value)]) + value
    with pytest.raises(ValueError, match="too large"):
        list(Message(memoryview(hidden)).fields())


def test_a_file_of_countless_fields_is_refused_before_they_are_read():
    """Two bytes make a field, so 512 MiB could hold 268 million."""
    assert "fields" in rejection(b"\x08\x00" * (MAX_FIELDS + 1))
    # Neither can they hide in parts that are small each: all parts draw on one allowance.
    node = encode_field(1, b"\x08\x00" * 9_000)
    data = seal(encode_field(7, node * (MAX_FIELDS // 9_000 + 1)), card())
    assert "fields" in rejection(data)


def test_a_generator_costs_a_small_part_of_the_fields():
    message = Message(memoryview(artifact()))
    list(message.fields())
    assert 0 < MAX_FIELDS - message.allowance.left < 100


def test_sparse_values_are_refused():
    dense = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(dense, places, [4])
    bad = model()
    bad.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], sparse_value=sparse))
    assert "sparse" in rejection(seal(bad.SerializeToString(), CARD))


def test_a_model_in_the_runtime_s_own_format_is_not_taken_for_the_one_that_was_checked(monkeypatch):
    """Bytes can be both; only what was checked may be run."""
    import onnxruntime

    asked = []
    real = onnxruntime.SessionOptions.add_session_config_entry

    class Options(onnxruntime.SessionOptions):
        def add_session_config_entry(self, key, value):
            asked.append((key, value))
            real(self, key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    data = artifact()
    document = check_artifact(data, "cats.onnx")
    Generator(data, parse_card(document, "cats.onnx"), "cats.onnx").sample([1])
    assert ("session.load_model_format", "ONNX") in asked
