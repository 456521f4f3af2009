from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from catgan.errors import CatganError
from catgan.generation.animation import save_animation

FRAMES = np.linspace(0, 250, 5).astype(np.uint8)[:, None, None, None] * np.ones(
    (1, 32, 32, 3), np.uint8
)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "deep/a.webp"])
def test_pictures_that_move_round_and_round(tmp_path, name):
    path = tmp_path / name
    save_animation(FRAMES, path, 20)
    with Image.open(path) as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        image.load()
        assert image.info["duration"] == 50
        for number, frame in enumerate(FRAMES):
            image.seek(number)
            assert abs(np.asarray(image.convert("RGB")).astype(int) - frame).max() <= 3
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_films(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    save_animation(FRAMES, path, 20)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 20
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5
    for made, frame in zip(frames, FRAMES, strict=True):
        assert abs(made.astype(int) - frame).max() <= 6


def test_mistakes_are_one_line(tmp_path, monkeypatch):
    for name, rate in (("a.png", 20), ("a", 20), ("a.gif", 0), ("a.gif", 51)):
        with pytest.raises(CatganError):
            save_animation(FRAMES, tmp_path / name, rate)
    (tmp_path / "file").write_text("")
    with pytest.raises(CatganError, match="cannot be written"):
        save_animation(FRAMES, tmp_path / "file" / "a.gif", 20)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("catgan.generation.animation.find_spec", lambda name: None)
    with pytest.raises(CatganError, match=r"catgan\[video\]"):
        save_animation(FRAMES, tmp_path / "a.mp4", 20)
