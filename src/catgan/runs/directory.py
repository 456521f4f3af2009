"""The directory of one run: what is written where, and how it is read back."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from catgan.config import Config, check_length, from_toml, to_toml
from catgan.errors import CatganError, shell_words
from catgan.files import flush_directory, make_directory, write_durably
from catgan.generation.card import Ancestor, read_lineage
from catgan.runs.checkpoint import CheckpointStore
from catgan.runs.lock import RunLock
from catgan.runs.log import is_row, read_lines

PARTIAL = ".*.partial-*"  # what `write_durably` calls a file until it is whole

MAX_CONFIG_BYTES = 16 * 2**10  # ten times a real one; dotted keys cost the square of their length


def is_run(path: Path) -> bool:
    """Whether `path` looks like a training run."""
    return (path / "config.toml").is_file()


class RunDirectory:
    """`config.toml`, `run.json`, `log.jsonl`, `samples/`, `checkpoints/`, `report.html`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointStore(path / "checkpoints")
        self.log = path / "log.jsonl"
        self.report = path / "report.html"
        self.lock = RunLock(path)

    @classmethod
    def require_place(cls, path: Path) -> None:
        """Raise `CatganError` unless a run can be created at `path`; nothing is left behind."""
        try:
            if path.exists():
                cls(path)._check_free()
            existing = next(each for each in (path, *path.absolute().parents) if each.exists())
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise _no_place(path, error) from None

    @classmethod
    def create(cls, path: Path, config: Config, facts: Mapping[str, Any]) -> RunDirectory:
        """A new run; `facts` (JSON) say what data and machine it has. The place must be free."""
        run = cls(path)
        try:
            make_directory(path)
            run._check_free()
            run.lock.acquire()
            try:
                run._check_free()  # another process may have been faster
                (path / "samples").mkdir(exist_ok=True)
                (path / "checkpoints").mkdir(exist_ok=True)
                write_durably(path / "run.json", json.dumps(facts, indent=2).encode())
                # Last, because it is what makes a directory a run.
                write_durably(path / "config.toml", to_toml(config).encode())
            finally:
                run.lock.release()
        except OSError as error:
            raise _no_place(path, error) from None
        return run

    def _check_free(self) -> None:
        """`CatganError` when something is there, but for what a killed `create` may leave."""
        if not _is_free(self.path):
            raise CatganError(
                f"{self.path} is not empty: choose another place with --out, "
                f"or go on with what is there: catgan train --resume {shell_words(self.path)}"
            )

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run; `CatganError` when `path` is none."""
        if not is_run(path):
            if path.is_dir() and any(path.iterdir()) and _is_free(path):
                raise CatganError(
                    f"{path} was stopped before its run began: start it again, "
                    f"catgan train ... --out {shell_words(path)}"
                )
            raise CatganError(
                f"{path} is not a run (it has no config.toml): name the directory that "
                "`catgan train` printed"
            )
        return cls(path)

    def config(self) -> Config:
        """The complete configuration."""
        path = self.path / "config.toml"
        try:
            if path.stat().st_size > MAX_CONFIG_BYTES:
                raise CatganError(f"{path} is no configuration, it is far too long: restore it")
            return from_toml(path.read_text("utf-8"), where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise CatganError(f"{path} cannot be read ({error}): restore it") from None

    def update_config(self, config: Config) -> None:
        """Replace the configuration, as a resumed run may in part.

        Raises `CatganError` where the run has seen more images than `config` asks for.
        """
        check_length(self.config(), config, int(self.checkpoints.pointer("latest") or 0))
        self.write(self.path / "config.toml", to_toml(config).encode())

    def write(self, path: Path, data: bytes) -> None:
        """Replace a file of the run, durably; `CatganError` for what the disk rejects."""
        try:
            write_durably(path, data)
        except OSError as error:
            raise self._cannot_write(path, error) from None

    def _cannot_write(self, path: Path, error: OSError) -> CatganError:
        return CatganError(
            f"{path}: cannot be written ({error.strerror or error}): "
            f"make room, then catgan train --resume {shell_words(self.path)}"
        )

    def facts(self) -> dict[str, Any]:
        """What `create` was given."""
        path = self.path / "run.json"
        try:
            facts = json.loads(path.read_bytes())
            if not isinstance(facts["dataset"], dict) or not isinstance(facts["machine"], dict):
                raise TypeError("dataset and machine must be objects")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CatganError(f"{path} cannot be read ({error}): restore it") from None
        return facts

    def lineage(self) -> list[Ancestor]:
        """Return what the run was started from, the nearest first; [] where it began anew."""
        path = self.path / "run.json"
        try:
            return read_lineage(self.facts().get("lineage"))
        except (KeyError, TypeError, ValueError) as error:
            raise CatganError(f"{path}: its lineage cannot be read ({error}): restore it") from None

    def grid_path(self, images: int) -> Path:
        """Where the sample sheet after `images` images lies."""
        return self.path / "samples" / f"{images:09d}.png"

    def save_grid(self, images: int, picture: np.ndarray) -> None:
        """Write the sample sheet after `images` images, (H, W, 3) uint8."""
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        self.write(self.grid_path(images), png.getvalue())

    def grids(self) -> dict[int, Path]:
        """Sample sheets by images seen, in order."""
        found = {
            int(path.stem): path
            for path in (self.path / "samples").glob("*.png")
            if re.fullmatch(r"\d+", path.stem, re.ASCII)
        }
        return dict(sorted(found.items()))

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Add one row to the log; it is on the disk when this returns."""
        try:
            new = not self.log.exists()
            with self.log.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                flush_directory(self.path)
        except OSError as error:
            raise self._cannot_write(self.log, error) from None

    def rows(self) -> list[dict[str, Any]]:
        """The log's rows; a half-written last line is no row, nor one that was damaged."""
        return [row for row in read_lines(self.log) if is_row(row)]

    def rewind(self, images: int) -> None:
        """Forget what was logged and drawn after `images`: the resumed run does it again."""
        rows = [row for row in read_lines(self.log) if row["images"] <= images]
        self.write(self.log, "".join(json.dumps(row) + "\n" for row in rows).encode())
        try:
            for seen, path in self.grids().items():
                if seen > images:
                    path.unlink()
        except OSError as error:
            raise self._cannot_write(self.path / "samples", error) from None

    def clean(self) -> None:
        """Remove what a killed process left half written; only for who holds the lock."""
        self.checkpoints.clean()
        for directory in (self.path, self.path / "samples"):
            for leftover in directory.glob(PARTIAL):
                leftover.unlink(missing_ok=True)


def _no_place(path: Path, error: OSError) -> CatganError:
    return CatganError(
        f"{path}: cannot be written ({error.strerror or error}): choose another place with --out"
    )


def _is_free(path: Path) -> bool:
    """Whether a directory without `config.toml` holds nothing, or what a killed `create` left."""
    return all(
        entry.name in ("run.json", ".lock", ".lock.held", ".lock.json")
        or entry.match(PARTIAL)
        or (
            entry.name in ("samples", "checkpoints") and entry.is_dir() and not any(entry.iterdir())
        )
        for entry in path.iterdir()
    )
