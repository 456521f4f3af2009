"""The directory of one run: what is written where, and how it is read back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catgan.config import Config, from_toml, to_toml
from catgan.errors import CatganError
from catgan.files import write_durably
from catgan.training.checkpoint import CheckpointStore

MOST_CONFIG_BYTES = 16 * 2**10  # ten times a real one; dotted keys cost the square of their length


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

    @classmethod
    def create(cls, path: Path, config: Config, facts: Mapping[str, Any]) -> RunDirectory:
        """A new run; `facts` (JSON) say what data and machine it has. The place must be free."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise CatganError(
                    f"{path} is not empty: choose another place with --out, "
                    f"or go on with what is there: catgan train --resume {path}"
                )
            (path / "samples").mkdir()
            (path / "checkpoints").mkdir()
            write_durably(path / "run.json", json.dumps(facts, indent=2).encode())
            write_durably(path / "config.toml", to_toml(config).encode())
        except OSError as error:
            raise CatganError(
                f"{path}: cannot be written ({error.strerror or error}): "
                "choose another place with --out"
            ) from None
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run; `CatganError` when `path` is none."""
        if not is_run(path):
            raise CatganError(
                f"{path} is not a run (it has no config.toml): name the directory that "
                "`catgan train` printed"
            )
        return cls(path)

    def config(self) -> Config:
        """The complete configuration."""
        path = self.path / "config.toml"
        try:
            if path.stat().st_size > MOST_CONFIG_BYTES:
                raise CatganError(f"{path} is no configuration, it is far too long: restore it")
            return from_toml(path.read_text("utf-8"), where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise CatganError(f"{path} cannot be read ({error}): restore it") from None

    def update_config(self, config: Config) -> None:
        """Replace the configuration, as a resumed run may in part."""
        write_durably(self.path / "config.toml", to_toml(config).encode())

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

    def sheet_path(self, images: int) -> Path:
        """Where the sample sheet after `images` images lies."""
        return self.path / "samples" / f"{images:09d}.png"

    def sheets(self) -> dict[int, Path]:
        """Sample sheets by images seen, in order."""
        found = {
            int(path.stem): path
            for path in (self.path / "samples").glob("*.png")
            if re.fullmatch(r"\d+", path.stem, re.ASCII)
        }
        return dict(sorted(found.items()))

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Add one row to the log."""
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise CatganError(
                f"{self.log}: cannot be written ({error.strerror or error}): "
                f"make room, then catgan train --resume {self.path}"
            ) from None

    def rows(self) -> list[dict[str, Any]]:
        """The log's rows; a half-written last line is no row."""
        rows = []
        if self.log.exists():
            for line in self.log.read_text("utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict) and isinstance(row.get("images"), int):
                    rows.append(row)
        return rows

    def rewind(self, images: int) -> None:
        """Forget what was logged and drawn after `images`: the resumed run does it again."""
        rows = [row for row in self.rows() if row["images"] <= images]
        write_durably(self.log, "".join(json.dumps(row) + "\n" for row in rows).encode())
        for seen, path in self.sheets().items():
            if seen > images:
                path.unlink()
