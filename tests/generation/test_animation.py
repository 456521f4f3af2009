from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from catgan.errors import CatganError
from catgan.generation.animation import check_animation, frame_durations, save_animation

FRAMES = np.linspace(0, 250, 5).astype(np.uint8)[:, None, None, None] * np.ones(
    (1, 32, 32, 3), np.uint8
)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "deep/a.webp"])
def test_gif_and_webp_loop_endlessly(tmp_path, name):
    path = tmp_path / name
    save_animation(FRAMES, path, 20, 32)
    with Image.open(path) as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        image.load()
        assert image.info["duration"] == 50
        for number, frame in enumerate(FRAMES):
            image.seek(number)
            assert abs(np.asarray(image.convert("RGB")).astype(int) - frame).max() <= 3
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_mp4_holds_every_frame(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    save_animation(FRAMES, path, 20, 32)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 20
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5
    for decoded, frame in zip(frames, FRAMES, strict=True):
        assert abs(decoded.astype(int) - frame).max() <= 6


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.mp4"])
def test_frames_are_enlarged(tmp_path, name):
    path = tmp_path / name
    if name == "a.mp4":
        av = pytest.importorskip("av")
        save_animation(FRAMES, path, 20, 48)
        with av.open(str(path)) as container:
            assert container.streams.video[0].width == container.streams.video[0].height == 48
        return
    save_animation(FRAMES, path, 20, 48)
    with Image.open(path) as image:
        assert (image.size, image.n_frames) == ((48, 48), 5)


@pytest.mark.parametrize("fps", [1, 15, 24, 30, 33, 40, 50])
def test_frame_durations_add_up_to_the_frame_rate(fps):
    for unit in (1, 10):
        durations = frame_durations(fps * 3, fps, unit)
        assert sum(durations) == 3_000
        assert max(durations) - min(durations) <= unit
        assert all(duration and duration % unit == 0 for duration in durations)


def test_gif_duration_is_exact_although_it_counts_hundredths_of_a_second(tmp_path):
    """At 40 fps, frames last 20 and 30 ms in turn, not always 20."""
    path = tmp_path / "a.gif"
    save_animation(np.concatenate([FRAMES] * 8), path, 40, 32)
    with Image.open(path) as image:
        durations = []
        for number in range(image.n_frames):
            image.seek(number)
            durations.append(image.info["duration"])
    assert sum(durations) == 1_000


def test_animations_too_large_for_memory_or_format_are_rejected(tmp_path):
    check_animation(tmp_path / "a.gif", 20, 10_000, 128, 128)
    with pytest.raises(CatganError, match=r"smaller --size, or write an \.mp4"):
        check_animation(tmp_path / "a.gif", 20, 10_000, 128, 2048)
    check_animation(tmp_path / "a.mp4", 20, 10_000, 128, 2048)
    with pytest.raises(CatganError, match="fewer --frames"):
        check_animation(tmp_path / "a.mp4", 20, 10_000, 1024, 1024)
    with pytest.raises(CatganError, match="use --size 258"):
        check_animation(tmp_path / "a.mp4", 20, 60, 128, 257)


def test_invalid_arguments_raise_catgan_error(tmp_path, monkeypatch):
    for name, fps in (("a.png", 20), ("a", 20), ("a.gif", 0), ("a.gif", 51)):
        with pytest.raises(CatganError):
            save_animation(FRAMES, tmp_path / name, fps, 32)
    (tmp_path / "file").write_text("")
    with pytest.raises(CatganError, match="cannot be written"):
        save_animation(FRAMES, tmp_path / "file" / "a.gif", 20, 32)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("catgan.generation.animation.find_spec", lambda name: None)
    with pytest.raises(CatganError, match=r"catgan\[video\]"):
        save_animation(FRAMES, tmp_path / "a.mp4", 20, 32)
