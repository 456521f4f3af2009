from __future__ import annotations

import pytest
from command_line import catgan

from catgan.errors import CatganError
from catgan.training import tensorboard
from catgan.training.tensorboard import TensorBoard

pytest.importorskip("tensorboard")


def test_a_failed_write_is_one_line_with_a_remedy(tmp_path, monkeypatch):
    events = TensorBoard(tmp_path / "run", 0)

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(events.writer, "flush", full)
    with pytest.raises(CatganError, match=r"No space left on device.*--tensorboard") as error:
        events.row({"images": 8, "generator_loss": 0.5})
    assert "\n" not in str(error.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(CatganError, match="cannot be written"):
        TensorBoard(tmp_path / "file", 0)


def test_a_missing_package_is_reported_first(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    said = catgan("train", tmp_path / "nowhere", "--tensorboard", "-o", tmp_path / "run", code=2)
    assert "pip install 'catgan[tensorboard]'" in said
    assert not (tmp_path / "run").exists()


def test_overfitting_is_among_the_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = TensorBoard(tmp_path, 0)
    for images, overfitting in ((8, 0.25), (16, 0.0)):
        events.row({"images": images, "diversity": 1.5, "overfitting": overfitting, "machine": {}})
    events.row({"images": 24, "diversity": 1.5, "machine": {}})  # r_v is not always defined
    events.writer.close()
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in read.Scalars("overfitting")] == [(8, 0.25), (16, 0.0)]
    assert len(read.Scalars("diversity")) == 3
