"""Checkpoints: directories of safetensors with a manifest of sums, written atomically.

`checkpoints/000016384/` holds `generator`, `ema`, `discriminator` and `optimizer` as safetensors,
and `manifest.json`. A checkpoint is written into a hidden directory beside its place, every file
flushed, then renamed; only then does the pointer file `latest` (or `best`) move, and only then are
old ones removed. Reading verifies every sum and falls back to the newest sound checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from catgan.errors import CatganError, quoted, shell_words
from catgan.files import flush_directory, rename, write_and_flush, write_durably

FORMAT = 3
PARTS = ("generator", "ema", "discriminator", "optimizer")
MANIFEST = "manifest.json"
# A checkpoint that gives these may be sound.
UNREADABLE_NOW = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
ADAM_QUANTITIES = ("step", "exp_avg", "exp_avg_sq")

Tensors = dict[str, Tensor]
Players = dict[str, tuple[nn.Module, torch.optim.Optimizer]]


class CorruptCheckpointError(Exception):
    """A checkpoint that cannot be trusted; the message says why."""


@dataclass(frozen=True)
class MetricState:
    """What the log has gathered since its last row: sums of the measures over so many steps."""

    sums: list[float]
    steps: int


@dataclass(frozen=True)
class Score:
    """How good a checkpoint is, lower is better, and the fingerprint that it was taken under.

    Scores of different fingerprints say nothing of each other.
    """

    value: float
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What was read: where, images seen, configuration, log window, tensors of every part."""

    path: Path
    images: int
    config: dict[str, Any]
    window: MetricState
    tensors: dict[str, Tensors]

    def restore(self, modules: dict[str, nn.Module], players: Players) -> None:
        """Put the tensors into modules (by part) and fresh optimizers (by player).

        Raises `CatganError` for tensors of other names or shapes, before anything is changed. What
        fails after that, as memory does, is not the checkpoint's fault and is raised as it is.
        """
        fit = all(
            _shapes(self.tensors[part]) == _shapes(module.state_dict())
            for part, module in modules.items()
        )
        with_optimizers = players and self.images > 0
        if with_optimizers:
            known = _shapes(self.tensors["optimizer"])
            fit = fit and all(
                known.get(name) == shape for name, shape in _optimizer_shapes(players).items()
            )
        if not fit:
            raise CatganError(
                f"{self.path} does not fit the networks of its configuration: "
                "it was changed by hand, or is another version's; "
                "resume from another checkpoint or start anew"
            )
        for part, module in modules.items():
            module.load_state_dict(self.tensors[part])
        if with_optimizers:
            _load_optimizer_tensors(players, self.tensors["optimizer"])


class CheckpointStore:
    """The `checkpoints` directory of one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """Checkpoints by name, oldest first; hidden leftovers are none."""
        if not self.directory.is_dir():
            return []
        found = [p.name for p in self.directory.iterdir() if _is_name(p.name) and p.is_dir()]
        return sorted(found, key=int)

    def pointer(self, which: str) -> str | None:
        """The name that `latest` or `best` holds, if it names a checkpoint that exists."""
        try:
            name = (self.directory / which).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return name if _is_name(name) and (self.directory / name).is_dir() else None

    def save(
        self,
        images: int,
        config: dict[str, Any],
        window: MetricState,
        tensors: dict[str, Tensors],
        *,
        keep: int,
        score: Score | None = None,
    ) -> Path:
        """Write a checkpoint, move `latest` (and `best` to the lowest `score` yet), prune.

        The first score of another fingerprint is the best of its kind, whatever came before.
        Raises `CatganError` when anything fails; the earlier checkpoints are then untouched.
        """
        target = self.directory / f"{images:09d}"
        partial = self.directory / f".partial-{target.name}-{os.getpid()}"
        try:
            partial.mkdir(parents=True)
            sums = {}
            for part in PARTS:
                data = safetensors.torch.save(
                    {
                        name: tensor.detach().cpu().contiguous()
                        for name, tensor in tensors[part].items()
                    }
                )
                write_and_flush(partial / f"{part}.safetensors", data)
                sums[part] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "images": images,
                "score": score.value if score else None,
                "fingerprint": score.fingerprint if score else None,
                "config": config,
                "window": asdict(window),
                "files": sums,
            }
            manifest["checksum"] = _manifest_checksum(manifest)
            write_and_flush(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
            flush_directory(partial)
            self._discard(target)  # there only if it was found unsound, or is being written again
            rename(partial, target)
            flush_directory(self.directory)
            # `best` first: a resumed run goes on from `latest` and scores nothing twice.
            if score is not None and self._is_best(score):
                write_durably(self.directory / "best", target.name.encode())
            write_durably(self.directory / "latest", target.name.encode())
            self._prune(keep)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise _cannot_write(target, error) from None
        return target

    def load(
        self, which: str, note: Callable[[str], None], parts: Sequence[str] = PARTS
    ) -> Checkpoint:
        """Read `latest`, `best`, or a checkpoint by its images seen; of its `PARTS`, only `parts`.

        An unsound `latest` or `best` is reported through `note` and the newest sound one taken.
        Raises `CatganError` when there is none, and for one that is there but cannot be read now.
        """
        if not self.names():
            raise CatganError(
                f"{self.directory}: no checkpoint yet: let the run reach its first one, "
                f"or go on with catgan train --resume {shell_words(self.directory.parent)}"
            )
        if which in ("latest", "best"):
            newest_first = self.names()[::-1]
            pointed = self.pointer(which)
            if pointed is None and newest_first:
                note(
                    f"{self.directory}: {which!r} names no checkpoint; taking the newest sound one"
                )
            names = ([pointed] if pointed else []) + [n for n in newest_first if n != pointed]
        else:
            names = [f"{int(which):09d}"] if re.fullmatch(r"\d{1,18}", which, re.ASCII) else []
            if not names or names[0] not in self.names():
                have = ", ".join(self.names()) or "none"
                raise CatganError(
                    f"{self.directory}: no checkpoint {which!r}: "
                    f"choose latest, best or one of {have}"
                )
        reasons = []
        for name in names:
            try:
                return read_checkpoint(self.directory / name, parts)
            except CorruptCheckpointError as error:
                reasons.append(str(error))
                note(f"checkpoint {self.directory / name} is unsound and passed over: {error}")
        raise CatganError(
            f"{self.directory}: no sound checkpoint"
            + (f" ({'; '.join(reasons)})" if reasons else "")
            + ": start the run anew"
        )

    def best_score(self) -> Score | None:
        """Return the score of the checkpoint that `best` names; None without a readable one."""
        best = self.pointer("best")
        try:
            manifest = _read_manifest(self.directory / best) if best else {}
            return Score(float(manifest["score"]), manifest["fingerprint"])
        except (CorruptCheckpointError, KeyError, TypeError, OverflowError):
            return None

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Let `latest` name the checkpoint that a run goes on from, where it does not."""
        if self.pointer("latest") != checkpoint.path.name:
            try:
                write_durably(self.directory / "latest", checkpoint.path.name.encode())
            except OSError as error:
                raise _cannot_write(self.directory / "latest", error) from None

    def clean(self) -> None:
        """Remove what a killed process left half written or half removed.

        What cannot be removed is in nobody's way: it counts as no checkpoint.
        """
        for leftover in self.directory.glob(".*partial-*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def _is_best(self, score: Score) -> bool:
        """Whether no earlier checkpoint has as low a score that was taken in the same way."""
        known = self.best_score()
        return known is None or known.fingerprint != score.fingerprint or score.value < known.value

    def _prune(self, keep: int) -> None:
        kept = {*self.names()[-keep:], self.pointer("latest"), self.pointer("best")}
        for name in self.names():
            if name not in kept:
                self._discard(self.directory / name)

    def _discard(self, path: Path) -> None:
        """Remove a checkpoint without a moment at which half of it is there."""
        if path.exists():
            hidden = self.directory / f".partial-removed-{path.name}-{os.getpid()}"
            rename(path, hidden)
            shutil.rmtree(hidden)


def _cannot_write(target: Path, error: OSError) -> CatganError:
    return CatganError(
        f"checkpoint {target}: cannot be written ({error.strerror or error}): "
        f"make room, then catgan train --resume {shell_words(target.parent.parent)}"
    )


def _cannot_read(file: Path, error: OSError) -> CatganError | CorruptCheckpointError:
    """Passed over is what is missing or damaged; not what this user or process may not read now.

    A run that went on from an earlier checkpoint for want of a permission would train again what it
    has, and forget what came after.
    """
    if error.errno in UNREADABLE_NOW:
        return CatganError(
            f"{file}: cannot be read ({error.strerror}): see that it is yours to read and that not "
            "too many files are open (ulimit -n), then run the command again"
        )
    return CorruptCheckpointError(f"{file.stem}: {error.strerror or error}")


def _manifest_checksum(manifest: dict[str, Any]) -> str:
    """sha256 of what a manifest says, its own sum aside."""
    said = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def read_checkpoint(path: Path, parts: Sequence[str] = PARTS) -> Checkpoint:
    """Read and verify `parts` of one checkpoint; raises `CorruptCheckpointError`."""
    manifest = _read_manifest(path)
    tensors = {}
    for part in parts:
        try:
            data = (path / f"{part}.safetensors").read_bytes()
        except OSError as error:
            raise _cannot_read(path / f"{part}.safetensors", error) from None
        if hashlib.sha256(data).hexdigest() != manifest["files"][part]["sha256"]:
            raise CorruptCheckpointError(
                f"{part}.safetensors does not have the checksum it was written with"
            )
        try:
            tensors[part] = safetensors.torch.load(data)
        except (SafetensorError, KeyError, ValueError) as error:
            raise CorruptCheckpointError(f"{part}.safetensors: {error}") from None
    window = MetricState(**manifest["window"])
    return Checkpoint(path, manifest["images"], manifest["config"], window, tensors)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        known = type(manifest["format"]) is int and manifest["format"] == FORMAT
        intact = not known or manifest["checksum"] == _manifest_checksum(manifest)
        complete = (
            type(manifest["images"]) is int
            and manifest["images"] == int(path.name)
            and isinstance(manifest["config"], dict)
            and type(manifest["window"]["steps"]) is int
            and isinstance(manifest["window"]["sums"], list)
            and all(isinstance(total, float) for total in manifest["window"]["sums"])
            and len(manifest["window"]) == 2
            and isinstance(manifest.get("score"), float | int | None)
            and all(isinstance(manifest["files"][part]["sha256"], str) for part in PARTS)
        )
    except OSError as error:
        raise _cannot_read(path / MANIFEST, error) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptCheckpointError(f"{MANIFEST} is damaged ({type(error).__name__})") from None
    if not known:
        raise CorruptCheckpointError(
            f"{MANIFEST} has format {quoted(manifest['format'])}, this catgan reads {FORMAT}"
        )
    if not intact:
        raise CorruptCheckpointError(f"{MANIFEST} does not have the checksum it was written with")
    if not complete:
        raise CorruptCheckpointError(f"{MANIFEST} is incomplete")
    return manifest


def _is_name(name: str) -> bool:
    return re.fullmatch(r"\d{9,18}", name, re.ASCII) is not None


# -- modules and optimizers as tensors -------------------------------------------------------------


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _optimizer_shapes(players: Players) -> dict[str, torch.Size]:
    """The shapes that `optimizer_tensors` has once every parameter was stepped."""
    return {
        f"{player}/{name}/{quantity}": torch.Size() if quantity == "step" else parameter.shape
        for player, (module, _) in players.items()
        for name, parameter in module.named_parameters()
        for quantity in ADAM_QUANTITIES
    }


def optimizer_tensors(players: Players) -> Tensors:
    """Adam's state of every parameter, as `player/parameter/quantity`."""
    return {
        f"{player}/{name}/{quantity}": tensor
        for player, (module, optimizer) in players.items()
        for name, parameter in module.named_parameters()
        for quantity, tensor in optimizer.state[parameter].items()
    }


def _load_optimizer_tensors(players: Players, tensors: Tensors) -> None:
    """The inverse of `optimizer_tensors`, into fresh optimizers."""
    for player, (module, optimizer) in players.items():
        for name, parameter in module.named_parameters():
            step, *moments = (tensors[f"{player}/{name}/{key}"] for key in ADAM_QUANTITIES)
            # The moments lie in memory as their parameter does, which is how Adam makes them.
            restored = [torch.empty_like(parameter).copy_(moment) for moment in moments]
            # Adam's fused kernels count steps where the parameter is, the others on the CPU.
            step = step.to(parameter.device) if optimizer.defaults["fused"] else step
            optimizer.state[parameter] = dict(zip(ADAM_QUANTITIES, [step, *restored], strict=True))
