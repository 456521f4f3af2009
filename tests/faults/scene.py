"""A run small enough to be hurt a hundred times, by the real command, and compared to the bit."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from catgan.cli.app import main
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.runs import report
from catgan.runs.checkpoint import PARTS, read_checkpoint
from catgan.runs.directory import RunDirectory

SETTINGS = {
    "network.resolution": 32,
    "network.channels": 8,
    "network.maximum_channels": 16,
    "network.latent_size": 8,
    "training.batch_size": 8,
    "training.precision": "float32",
    "output.log_images": 8,
    "output.grid_images": 16,
    "output.checkpoint_images": 16,
    "output.grid_seeds": 4,
}
BEGUN, WHOLE = 32, 64  # images: what the run has seen when it is hurt, and in the end


@dataclass(frozen=True)
class Ended:
    """How the command ended: its code, what it said, and the line it failed with."""

    code: int
    said: list[str]
    error: str


def command(*words: object) -> Ended:
    """Run `catgan` in this process; its reports lack the figures, nine tenths of the time."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["catgan", *map(str, words)]),
        mock.patch.object(report, "figure_svg", return_value=""),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue().splitlines(), err.getvalue().strip())


def settings(**changes: object) -> list[str]:
    """`--set` for every setting; changes are written `section__key`."""
    changed = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    return [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]


def begin(data: Path, run: Path, images: int) -> Ended:
    """Train the small run from its beginning."""
    words = settings(training__images=images)
    return command("train", data, "--recipe", "quick-64", "--out", run, *words)


@dataclass(frozen=True)
class Scene:
    """A copy of a run that was stopped half way, and of its data; and the straight run."""

    run: Path
    data: Path
    straight: Path

    def resume(self, *words: object) -> Ended:
        """Go on to the end."""
        images = ("--set", f"training.images={WHOLE}")
        return command("train", self.data, "--resume", self.run, *images, *words)

    @property
    def newest(self) -> Path:
        """The checkpoint that the run would go on from."""
        return self.run / "checkpoints" / f"{BEGUN:09d}"


class Stage:
    """Makes scenes: the data and the two runs once, copies of them as often as asked."""

    def __init__(self, place: Path) -> None:
        self.place, self.count = place, 0
        self.data, self.begun, self.straight = (place / n for n in ("cats", "begun", "straight"))
        write_procedural_cats(self.data, 60, 32)
        for run, images in ((self.begun, BEGUN), (self.straight, WHOLE)):
            ended = begin(self.data, run, images)
            if ended.code:
                raise RuntimeError(ended.error)

    def scene(self) -> Scene:
        """A fresh copy."""
        self.count += 1
        here = self.place / f"scene-{self.count}"
        shutil.copytree(self.begun, here / "run")
        shutil.copytree(self.data, here / "cats")
        return Scene(here / "run", here / "cats", self.straight)


def differences(one: Path, other: Path) -> list[str]:
    """What two finished runs differ in: weights, averages, optimizers, log rows, last sheet."""
    runs = [RunDirectory.open(path) for path in (one, other)]
    names = [run.checkpoints.pointer("latest") for run in runs]
    if names[0] is None or names[0] != names[1]:
        return [f"latest is {names[0]} and {names[1]}"]
    a, b = (read_checkpoint(run.checkpoints.directory / names[0]) for run in runs)
    found = ["window of the log"] if a.window != b.window else []
    for part in PARTS:
        same = a.tensors[part].keys() == b.tensors[part].keys() and all(
            torch.equal(tensor, b.tensors[part][name]) for name, tensor in a.tensors[part].items()
        )
        found += [] if same and a.tensors[part] else [part]
    rows = [[{k: v for k, v in row.items() if k != "machine"} for row in r.rows()] for r in runs]
    found += ["log rows"] if rows[0] != rows[1] or not rows[0] else []
    grids = [run.grid_path(int(names[0])).read_bytes() for run in runs]
    return found + (["grid"] if grids[0] != grids[1] else [])


def leftovers(run: Path) -> list[str]:
    """Half-written files and directories."""
    return sorted(path.name for path in run.rglob("*partial-*"))
