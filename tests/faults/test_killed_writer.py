"""SIGKILL at every step of the checkpoint writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.killed_writer import save

from catgan.runs.checkpoint import PARTS, CheckpointStore

TESTS = Path(__file__).parents[1]


def contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("again", [False, True], ids=["a new checkpoint", "one written again"])
def test_no_step_is_one_at_which_a_kill_costs_a_checkpoint(tmp_path, again):
    """The last one and the best one are there and sound, whatever the step; saving goes on."""
    before = CheckpointStore(tmp_path / "before")
    save(before, 10, score=3.0, keep=9)  # the best so far
    save(before, 20, score=5.0, keep=9)  # the last
    if again:  # left by a run that was killed before `latest` moved
        save(before, 30, keep=9)
        (before.directory / "latest").write_text("000000020")
    environment = os.environ | {"PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
    words = [sys.executable, "-m", "faults.killed_writer", str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    names = json.loads(ended.stdout)
    for step in (
        *(f"half of {part}.safetensors" for part in PARTS),
        "half of manifest.json",
        "fsync",
    ):
        assert step in names
    assert len([name for name in names if name.startswith("os.rename")]) == 5 + again
    whole = contents(tmp_path / str(len(names)))
    assert {name.partition("/")[0] for name in whole} == {"000000030", "latest", "best"}
    for step, name in enumerate(names):
        store, notes = CheckpointStore(tmp_path / str(step)), []
        loaded = store.load("latest", notes.append)
        assert loaded.images in (20, 30), name
        assert loaded.config == {"seen": loaded.images}, name
        assert notes == [], name
        best = store.load("best", notes.append)
        assert best.images in (10, 30), name
        assert notes == [], name
        store.clean()
        assert not list(store.directory.glob(".*")), name
        save(store, 30, score=1.0)
        assert contents(store.directory) == whole, name
