"""The directory of one run: its files, and reading them back."""

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
from catgan.runs.log import is_valid_row, read_lines

PARTIAL = ".*.partial-*"  # temporary files of `write_durably`

MAX_CONFIG_BYTES = 16 * 2**10  # ten times a real one; TOML parsing is quadratic in dotted keys


def is_run(path: Path) -> bool:
    """Return whether `path` is the directory of a training run."""
    return (path / "config.toml").is_file()


class RunDirectory:
    """A run: `config.toml`, `run.json`, `log.jsonl`, `samples/`, `checkpoints/`, `report.html`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointStore(path / "checkpoints")
        self.log = path / "log.jsonl"
        self.report = path / "report.html"
        self.lock = RunLock(path)

    @classmethod
    def check_can_create(cls, path: Path) -> None:
        """Raise `CatganError` unless a run can be created at `path`; nothing is left behind."""
        try:
            if path.exists():
                cls(path)._check_free()
            candidates = (path, *path.absolute().parents)
            existing = next(candidate for candidate in candidates if candidate.exists())
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise _cannot_create(path, error) from None

    @classmethod
    def create(cls, path: Path, config: Config, facts: Mapping[str, Any]) -> RunDirectory:
        """Return a new run at `path`; `facts` (JSON) describe its data and machine.

        Raises:
            CatganError: `path` is not empty, or cannot be written.
        """
        run = cls(path)
        try:
            make_directory(path)
            run._check_free()
            run.lock.acquire()
            try:
                run._check_free()  # another process may have created a run meanwhile
                (path / "samples").mkdir(exist_ok=True)
                (path / "checkpoints").mkdir(exist_ok=True)
                write_durably(path / "run.json", json.dumps(facts, indent=2).encode())
                # Written last, because this file makes the directory a run.
                write_durably(path / "config.toml", to_toml(config).encode())
            finally:
                run.lock.release()
        except OSError as error:
            raise _cannot_create(path, error) from None
        return run

    def _check_free(self) -> None:
        """Raise `CatganError` unless the directory is free: see `_is_free`."""
        if not _is_free(self.path):
            raise CatganError(
                f"{self.path} is not empty: choose another path with --out, "
                f"or resume the run in it: catgan train --resume {shell_words(self.path)}"
            )

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return the run at `path`; raises `CatganError` if there is none."""
        if not is_run(path):
            if path.is_dir() and any(path.iterdir()) and _is_free(path):
                raise CatganError(
                    f"{path}: the run was stopped before it began: start it again, "
                    f"catgan train ... --out {shell_words(path)}"
                )
            raise CatganError(
                f"{path} is not a run (it has no config.toml): pass the directory that "
                "`catgan train` printed"
            )
        return cls(path)

    def config(self) -> Config:
        """Return the complete configuration."""
        path = self.path / "config.toml"
        try:
            if path.stat().st_size > MAX_CONFIG_BYTES:
                raise CatganError(f"{path}: too large for a configuration: restore it")
            return from_toml(path.read_text("utf-8"), where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise CatganError(f"{path} cannot be read ({error}): restore it") from None

    def update_config(self, config: Config) -> None:
        """Replace the configuration, some settings of which may change on resume.

        Raises:
            CatganError: the run has already seen more images than `config` asks for.
        """
        check_length(self.config(), config, int(self.checkpoints.pointer("latest") or 0))
        self.write(self.path / "config.toml", to_toml(config).encode())

    def write(self, path: Path, data: bytes) -> None:
        """Replace a file of the run durably; raises `CatganError` if it cannot be written."""
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
        """Return the facts that `create` was given."""
        path = self.path / "run.json"
        try:
            facts = json.loads(path.read_bytes())
            if not isinstance(facts["dataset"], dict) or not isinstance(facts["machine"], dict):
                raise TypeError("dataset and machine must be objects")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CatganError(f"{path} cannot be read ({error}): restore it") from None
        return facts

    def lineage(self) -> list[Ancestor]:
        """Return what the run was started from, nearest first; [] if from scratch."""
        path = self.path / "run.json"
        try:
            return read_lineage(self.facts().get("lineage"))
        except (KeyError, TypeError, ValueError) as error:
            raise CatganError(f"{path}: its lineage cannot be read ({error}): restore it") from None

    def grid_path(self, images: int) -> Path:
        """Return the path of the sample grid after `images` images."""
        return self.path / "samples" / f"{images:09d}.png"

    def save_grid(self, images: int, picture: np.ndarray) -> None:
        """Write the sample grid after `images` images, (H, W, 3) uint8."""
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        self.write(self.grid_path(images), png.getvalue())

    def grids(self) -> dict[int, Path]:
        """Return the paths of the sample grids by images seen, in order."""
        paths = {
            int(path.stem): path
            for path in (self.path / "samples").glob("*.png")
            if re.fullmatch(r"\d+", path.stem, re.ASCII)
        }
        return dict(sorted(paths.items()))

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Append one row to the log; it is on disk when this returns."""
        try:
            is_new = not self.log.exists()
            with self.log.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                flush_directory(self.path)
        except OSError as error:
            raise self._cannot_write(self.log, error) from None

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the log, without damaged or half-written lines."""
        return [row for row in read_lines(self.log) if is_valid_row(row)]

    def rewind(self, images: int) -> None:
        """Remove log rows and sample grids after `images`; the resumed run writes them again."""
        rows = [row for row in read_lines(self.log) if row["images"] <= images]
        self.write(self.log, "".join(json.dumps(row) + "\n" for row in rows).encode())
        try:
            for seen, path in self.grids().items():
                if seen > images:
                    path.unlink()
        except OSError as error:
            raise self._cannot_write(self.path / "samples", error) from None

    def clean(self) -> None:
        """Remove files that a killed process left half-written; requires the lock."""
        self.checkpoints.clean()
        for directory in (self.path, self.path / "samples"):
            for leftover in directory.glob(PARTIAL):
                leftover.unlink(missing_ok=True)


def _cannot_create(path: Path, error: OSError) -> CatganError:
    return CatganError(
        f"{path}: cannot be written ({error.strerror or error}): choose another path with --out"
    )


def _is_free(path: Path) -> bool:
    """Return whether `path`, without config.toml, has at most leftovers of a killed `create`."""
    return all(
        entry.name in ("run.json", ".lock", ".lock.held", ".lock.json")
        or entry.match(PARTIAL)
        or (
            entry.name in ("samples", "checkpoints") and entry.is_dir() and not any(entry.iterdir())
        )
        for entry in path.iterdir()
    )
