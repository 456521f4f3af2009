from __future__ import annotations

import errno
import json
import os

import pytest
import torch
from torch import nn

from catgan.errors import CatganError
from catgan.runs import checkpoint as checkpoint_module
from catgan.runs.checkpoint import (
    FORMAT,
    PARTS,
    CheckpointStore,
    CorruptCheckpointError,
    MetricState,
    Score,
    optimizer_tensors,
    read_checkpoint,
)

WINDOW = MetricState([0.1, 1 / 3], 7)


def tensors(value=1.0):
    return {part: {"weight": torch.full((3, 2), value)} for part in PARTS}


def save(store, images, value=1.0, **options):
    return store.save(images, {"a": {"b": 1}}, WINDOW, tensors(value), **{"keep": 2} | options)


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def load(store, which="latest"):
    notes = []
    return store.load(which, notes.append), notes


def test_save_and_load_round_trip(store):
    save(store, 64, 1.25)
    checkpoint, notes = load(store)
    assert (checkpoint.images, checkpoint.config, checkpoint.window) == (
        64,
        {"a": {"b": 1}},
        WINDOW,
    )
    assert all(
        torch.equal(checkpoint.tensors[p]["weight"], tensors(1.25)[p]["weight"]) for p in PARTS
    )
    assert notes == []
    assert sorted(p.name for p in store.directory.iterdir()) == ["000000064", "latest"]


def test_pruning_keeps_the_best(store):
    for images, score in ((10, 5.0), (20, 3.0), (30, 4.0), (40, None), (50, 3.5)):
        save(store, images, score=score and Score(score, {"samples": 1000}))
    assert store.names() == ["000000020", "000000040", "000000050"]
    assert store.pointer("best") == "000000020"
    assert load(store, "best")[0].images == 20
    assert load(store, "latest")[0].images == 50
    assert load(store, "40")[0].images == 40


def test_damage_is_detected_and_the_newest_valid_checkpoint_used(store):
    save(store, 10)
    for part in (*(f"{p}.safetensors" for p in PARTS), "manifest.json"):
        path = save(store, 20)
        data = bytearray((path / part).read_bytes())
        for damaged in (data[:-1], b"", data[:40] + bytes([data[40] ^ 4]) + data[41:]):
            (path / part).write_bytes(damaged)
            if part == "manifest.json" and damaged and len(damaged) == len(data):
                continue  # a flipped bit in the manifest's white space may mean nothing
            checkpoint, notes = load(store)
            assert checkpoint.images == 10
            assert part.split(".")[0] in notes[0]
        (path / part).unlink()
        assert load(store)[0].images == 10


def test_load_reads_only_the_requested_parts(store):
    path = save(store, 10)
    for part in ("generator", "discriminator", "optimizer"):
        (path / f"{part}.safetensors").unlink()
    loaded = store.load("latest", pytest.fail, ["ema"])
    assert list(loaded.tensors) == ["ema"]
    with pytest.raises(CatganError, match="no valid checkpoint"):
        store.load("latest", lambda _: None)


@pytest.mark.parametrize(
    "change",
    [
        {"format": FORMAT + 1},
        {"images": "10"},
        {"images": True},
        {"config": []},
        {"window": {"sums": [1.0]}},
        {"window": {"sums": ["x"], "steps": 1}},
        {"window": {"sums": [1.0], "steps": 1, "more": 2}},
        {"files": {}},
        {"score": "best"},
    ],
)
def test_invalid_manifest_is_corrupt(store, change):
    path = save(store, 10)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest = manifest | change
    manifest["checksum"] = checkpoint_module._manifest_checksum(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptCheckpointError):
        read_checkpoint(path)
    (path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(CorruptCheckpointError):
        read_checkpoint(path)


def test_flipped_bits_of_a_manifest_are_detected(store):
    """Each is detected, or turns one white space into another."""
    path = save(store, 10, score=Score(2.5, {})) / "manifest.json"
    data, expected = bytearray(path.read_bytes()), json.loads(path.read_bytes())
    harmless = 0
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            path.write_bytes(data)
            data[position] ^= 1 << bit
            try:
                assert checkpoint_module._read_manifest(path.parent) == expected
                harmless += 1
            except CorruptCheckpointError:
                pass
    assert harmless < 8 * sum(chr(byte).isspace() for byte in data)


def test_renamed_checkpoint_is_corrupt(store):
    path = save(store, 10)
    with pytest.raises(CorruptCheckpointError, match="incomplete"):
        read_checkpoint(path.rename(store.directory / "000000020"))


def test_older_format_is_named(store):
    path = save(store, 10) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(CorruptCheckpointError, match="has format 2, this catgan reads 3"):
        read_checkpoint(path.parent)


def test_continue_from_updates_latest(store):
    save(store, 10)
    path = save(store, 20)
    (path / "ema.safetensors").write_bytes(b"")
    checkpoint, _ = load(store)
    store.continue_from(checkpoint)
    assert load(store)[1] == []
    assert store.pointer("latest") == "000000010"


def test_invalid_pointers_fall_back_with_a_note(store):
    save(store, 10)
    for text in ("000000099", "../../etc", "", "000000010/../000000010"):
        (store.directory / "latest").write_text(text)
        checkpoint, notes = load(store)
        assert checkpoint.images == 10
        assert "names no checkpoint" in notes[0]


def test_names_sort_numerically(store):
    for images in (999_999_992, 1_000_000_000, 1_000_000_008):
        save(store, images, keep=1)
    assert store.names() == ["1000000008"]


def test_no_valid_checkpoint_is_a_one_line_error(store):
    with pytest.raises(CatganError, match="no checkpoint yet"):
        load(store)
    path = save(store, 10)
    (path / "ema.safetensors").write_bytes(b"")
    with pytest.raises(CatganError, match="no valid checkpoint"):
        load(store)
    for which in ("30", "bset", "-1", "../10"):
        with pytest.raises(CatganError, match="no checkpoint"):
            load(store, which)


def test_failing_disk_raises_and_keeps_the_last_checkpoint(store, monkeypatch):
    save(store, 10)
    real = checkpoint_module.write_and_flush
    for failing in (*(f"{part}.safetensors" for part in PARTS), "manifest.json"):

        def fail(path, data, failing=failing):
            if path.name == failing:
                raise OSError(28, "No space left on device")
            real(path, data)

        monkeypatch.setattr(checkpoint_module, "write_and_flush", fail)
        with pytest.raises(CatganError, match="No space left"):
            save(store, 20)
        assert store.names() == ["000000010"]
        assert load(store)[0].images == 10
        assert not list(store.directory.glob(".partial-*"))


def test_leftovers_of_a_killed_writer_are_ignored_and_removed(store):
    save(store, 10)
    leftover = store.directory / ".partial-000000020-1234"
    leftover.mkdir()
    (leftover / "manifest.json").write_text("{")
    assert store.names() == ["000000010"]
    pointer = store.directory / ".latest.partial-1234"
    pointer.write_text("00000")
    store.clean()
    assert not leftover.exists()
    assert not pointer.exists()
    assert load(store)[1] == []


def test_restored_adam_continues_bit_exactly(store):
    def fresh():
        torch.manual_seed(0)
        module = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        return module, torch.optim.Adam(module.parameters(), 0.1, fused=True)

    def steps(module, optimizer, start, count):
        for step in range(start, start + count):
            optimizer.zero_grad()
            image = torch.linspace(-1, step + 1, 50).view(1, 2, 5, 5)
            module(image).square().sum().backward()
            optimizer.step()

    straight = fresh()
    steps(*straight, 0, 6)
    first = fresh()
    steps(*first, 0, 4)
    saved = {part: first[0].state_dict() for part in PARTS}
    saved["optimizer"] = optimizer_tensors({"player": first})
    store.save(4, {}, WINDOW, saved, keep=1)
    second = fresh()
    checkpoint, _ = load(store)
    checkpoint.restore({"generator": second[0]}, {"player": second})
    steps(*second, 4, 2)
    for a, b in zip(straight[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CatganError, match="does not fit"):
        checkpoint.restore({"generator": nn.Conv2d(2, 4, 3)}, {})
    with pytest.raises(CatganError, match="does not fit"):
        checkpoint.restore({}, {"stranger": second})


def test_scores_with_other_fingerprints_are_not_compared(store):
    """The Frechet distance falls with the number of samples, whatever the generator does."""
    save(store, 10, score=Score(3.0, {"samples": 1000}), keep=9)
    save(store, 20, score=Score(5.0, {"samples": 100}), keep=9)
    assert store.pointer("best") == "000000020"  # the best of its kind, which the first is not of
    save(store, 30, score=Score(4.0, {"samples": 100}), keep=9)
    assert store.pointer("best") == "000000030"
    save(store, 40, score=Score(4.5, {"samples": 100}), keep=9)
    assert store.pointer("best") == "000000030"


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried to allocate 2 GiB", "a bug"])
def test_other_errors_while_restoring_pass_through(store, monkeypatch, message):
    module = nn.Linear(2, 3, bias=False)
    parts = {part: module.state_dict() for part in PARTS}
    store.save(0, {}, WINDOW, parts, keep=1)

    def fail(*_, **__):
        raise RuntimeError(message)

    monkeypatch.setattr(nn.Module, "load_state_dict", fail)
    with pytest.raises(RuntimeError, match=message):
        load(store)[0].restore({"generator": module}, {})


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("player/weight/exp_avg"),
        lambda tensors: tensors.update({"player/weight/step": torch.zeros(2)}),
        lambda tensors: tensors.update({"player/weight/exp_avg_sq": torch.zeros(3, 1)}),
    ],
)
def test_restore_of_other_shapes_changes_nothing(store, change):
    module = nn.Linear(2, 3, bias=False)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    parts = {part: {"weight": torch.zeros(3, 2)} for part in PARTS}
    parts["optimizer"] = optimizer_tensors({"player": (module, optimizer)})
    change(parts["optimizer"])
    store.save(4, {}, WINDOW, parts, keep=1)
    before = module.weight.clone()
    with pytest.raises(CatganError, match="does not fit"):
        load(store)[0].restore({"generator": module}, {"player": (module, optimizer)})
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
@pytest.mark.parametrize("name", ["ema.safetensors", "manifest.json"])
def test_unreadable_checkpoint_is_not_skipped(store, monkeypatch, number, name):
    """Resuming from the earlier one would repeat and discard finished training."""
    save(store, 10)
    save(store, 20)
    real = type(store.directory).read_bytes

    def fail(path):
        if path.name == name and path.parent.name == "000000020":
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    monkeypatch.setattr(type(store.directory), "read_bytes", fail)
    with pytest.raises(CatganError, match=rf"000000020/{name}: cannot be read \(.*ulimit"):
        load(store)


def test_resume_command_is_quoted_for_the_shell(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path / "my run" / "checkpoints")
    with pytest.raises(CatganError, match=r"--resume '[^']*/my run'$"):
        load(store)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_and_flush", fail)
    with pytest.raises(CatganError, match=r"--resume '[^']*/my run'$"):
        save(store, 10)
