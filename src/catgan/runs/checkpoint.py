"""Checkpoints: directories of safetensors with a manifest of checksums, written atomically.

`checkpoints/000016384/` holds `generator`, `ema`, `discriminator` and `optimizer` as safetensors,
and `manifest.json`. A checkpoint is written to a hidden directory beside its final path, every file
is flushed, and the directory is renamed. Only then does the pointer file `latest` (or `best`) move,
and only then are old checkpoints removed. Reading verifies every checksum and falls back to the
newest valid checkpoint.
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
# Errors of permissions and resources: the checkpoint itself may be valid.
TEMPORARY_ERRORS = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
ADAM_QUANTITIES = ("step", "exp_avg", "exp_avg_sq")

Tensors = dict[str, Tensor]
Players = dict[str, tuple[nn.Module, torch.optim.Optimizer]]


class CorruptCheckpointError(Exception):
    """A checkpoint is damaged or incomplete; the message is the reason."""


@dataclass(frozen=True)
class MetricState:
    """Sums of the logged metrics over the `steps` since the last row of the log."""

    sums: list[float]
    steps: int


@dataclass(frozen=True)
class Score:
    """The score of a checkpoint (lower is better) and its fingerprint.

    Scores with different fingerprints are not comparable.
    """

    value: float
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: path, images seen, configuration, metric sums, tensors by part."""

    path: Path
    images: int
    config: dict[str, Any]
    window: MetricState
    tensors: dict[str, Tensors]

    def restore(self, modules: dict[str, nn.Module], players: Players) -> None:
        """Load the tensors into `modules` (by part) and new optimizers (by player).

        Raises:
            CatganError: a tensor has another name or shape; nothing has been changed then. Other
                errors, such as a lack of memory, pass through: the checkpoint may be valid.
        """
        matches = all(
            _shapes(self.tensors[part]) == _shapes(module.state_dict())
            for part, module in modules.items()
        )
        has_optimizers = players and self.images > 0
        if has_optimizers:
            shapes = _shapes(self.tensors["optimizer"])
            matches = matches and all(
                shapes.get(name) == shape for name, shape in _optimizer_shapes(players).items()
            )
        if not matches:
            raise CatganError(
                f"{self.path} does not fit the networks of its configuration: "
                "it was edited or is of another version; "
                "resume from another checkpoint or start a new run"
            )
        for part, module in modules.items():
            module.load_state_dict(self.tensors[part])
        if has_optimizers:
            _load_optimizer_tensors(players, self.tensors["optimizer"])


class CheckpointStore:
    """The `checkpoints` directory of one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """Return the names of all checkpoints, oldest first."""
        if not self.directory.is_dir():
            return []
        names = [
            path.name
            for path in self.directory.iterdir()
            if _is_checkpoint_name(path.name) and path.is_dir()
        ]
        return sorted(names, key=int)

    def pointer(self, which: str) -> str | None:
        """Return the checkpoint that `latest` or `best` names, or None if it does not exist."""
        try:
            name = (self.directory / which).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return name if _is_checkpoint_name(name) and (self.directory / name).is_dir() else None

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
        """Write a checkpoint, update `latest`, prune; `best` is the lowest `score` so far.

        Scores are compared with those of the same fingerprint; the first with a new one is the
        best.

        Raises:
            CatganError: writing failed; earlier checkpoints are unchanged.
        """
        target = self.directory / f"{images:09d}"
        partial = self.directory / f".partial-{target.name}-{os.getpid()}"
        try:
            partial.mkdir(parents=True)
            checksums = {}
            for part in PARTS:
                data = safetensors.torch.save(
                    {
                        name: tensor.detach().cpu().contiguous()
                        for name, tensor in tensors[part].items()
                    }
                )
                write_and_flush(partial / f"{part}.safetensors", data)
                checksums[part] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "images": images,
                "score": score.value if score else None,
                "fingerprint": score.fingerprint if score else None,
                "config": config,
                "window": asdict(window),
                "files": checksums,
            }
            manifest["checksum"] = _manifest_checksum(manifest)
            write_and_flush(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
            flush_directory(partial)
            self._discard(target)  # exists only if it was corrupt, or is written a second time
            rename(partial, target)
            flush_directory(self.directory)
            # `best` first: a resumed run starts from `latest` and does not score it again.
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
        """Return `parts` of `latest`, `best`, or the checkpoint at a number of images seen.

        If `latest` or `best` is corrupt, `note` gets a line and the newest valid one is returned.

        Raises:
            CatganError: there is no valid checkpoint, or one exists that cannot be read now.
        """
        if not self.names():
            raise CatganError(
                f"{self.directory}: no checkpoint yet: wait for the first one, "
                f"or resume the run: catgan train --resume {shell_words(self.directory.parent)}"
            )
        if which in ("latest", "best"):
            newest_first = self.names()[::-1]
            pointed = self.pointer(which)
            if pointed is None and newest_first:
                note(f"{self.directory}: {which!r} names no checkpoint; using the newest valid one")
            names = ([pointed] if pointed else []) + [
                name for name in newest_first if name != pointed
            ]
        else:
            names = [f"{int(which):09d}"] if re.fullmatch(r"\d{1,18}", which, re.ASCII) else []
            if not names or names[0] not in self.names():
                existing = ", ".join(self.names()) or "none"
                raise CatganError(
                    f"{self.directory}: no checkpoint {which!r}: "
                    f"expected latest, best or one of {existing}"
                )
        reasons = []
        for name in names:
            try:
                return read_checkpoint(self.directory / name, parts)
            except CorruptCheckpointError as error:
                reasons.append(str(error))
                note(f"checkpoint {self.directory / name} is corrupt, skipped: {error}")
        raise CatganError(
            f"{self.directory}: no valid checkpoint"
            + (f" ({'; '.join(reasons)})" if reasons else "")
            + ": start a new run"
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
        """Point `latest` to the checkpoint that a run resumes from, if it does not already."""
        if self.pointer("latest") != checkpoint.path.name:
            try:
                write_durably(self.directory / "latest", checkpoint.path.name.encode())
            except OSError as error:
                raise _cannot_write(self.directory / "latest", error) from None

    def clean(self) -> None:
        """Remove what a killed process left half-written or half-removed.

        Leftovers that cannot be removed do no harm: they are not counted as checkpoints.
        """
        for leftover in self.directory.glob(".*partial-*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def _is_best(self, score: Score) -> bool:
        """Return whether `score` is lower than the best one with the same fingerprint, if any."""
        best = self.best_score()
        return best is None or best.fingerprint != score.fingerprint or score.value < best.value

    def _prune(self, keep: int) -> None:
        kept = {*self.names()[-keep:], self.pointer("latest"), self.pointer("best")}
        for name in self.names():
            if name not in kept:
                self._discard(self.directory / name)

    def _discard(self, path: Path) -> None:
        """Remove a checkpoint atomically."""
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
    """Return the error for a file that cannot be read.

    Only missing or damaged files make a checkpoint corrupt, so that an earlier one is used. If it
    only cannot be read now (permissions, open files, memory), resuming from an earlier one would
    repeat finished training and discard it, so this is an error.
    """
    if error.errno in TEMPORARY_ERRORS:
        return CatganError(
            f"{file}: cannot be read ({error.strerror}): check its permissions and the limit of "
            "open files (ulimit -n), then run the command again"
        )
    return CorruptCheckpointError(f"{file.stem}: {error.strerror or error}")


def _manifest_checksum(manifest: dict[str, Any]) -> str:
    """Return the sha256 of a manifest's content, without its own checksum."""
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_checkpoint(path: Path, parts: Sequence[str] = PARTS) -> Checkpoint:
    """Return verified `parts` of one checkpoint.

    Raises:
        CorruptCheckpointError: it is damaged or incomplete.
        CatganError: it cannot be read now.
    """
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
        is_known = type(manifest["format"]) is int and manifest["format"] == FORMAT
        is_intact = not is_known or manifest["checksum"] == _manifest_checksum(manifest)
        is_complete = (
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
    if not is_known:
        raise CorruptCheckpointError(
            f"{MANIFEST} has format {quoted(manifest['format'])}, this catgan reads {FORMAT}"
        )
    if not is_intact:
        raise CorruptCheckpointError(f"{MANIFEST} does not have the checksum it was written with")
    if not is_complete:
        raise CorruptCheckpointError(f"{MANIFEST} is incomplete")
    return manifest


def _is_checkpoint_name(name: str) -> bool:
    return re.fullmatch(r"\d{9,18}", name, re.ASCII) is not None


# -- modules and optimizers as tensors -------------------------------------------------------------


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _optimizer_shapes(players: Players) -> dict[str, torch.Size]:
    """Return the shapes of `optimizer_tensors` after the first step."""
    return {
        f"{player}/{name}/{quantity}": torch.Size() if quantity == "step" else parameter.shape
        for player, (module, _) in players.items()
        for name, parameter in module.named_parameters()
        for quantity in ADAM_QUANTITIES
    }


def optimizer_tensors(players: Players) -> Tensors:
    """Return Adam's state of every parameter, by `player/parameter/quantity`."""
    return {
        f"{player}/{name}/{quantity}": tensor
        for player, (module, optimizer) in players.items()
        for name, parameter in module.named_parameters()
        for quantity, tensor in optimizer.state[parameter].items()
    }


def _load_optimizer_tensors(players: Players, tensors: Tensors) -> None:
    """Load the result of `optimizer_tensors` into new optimizers."""
    for player, (module, optimizer) in players.items():
        for name, parameter in module.named_parameters():
            step, *moments = (tensors[f"{player}/{name}/{key}"] for key in ADAM_QUANTITIES)
            # Adam creates moments in the memory format of their parameter.
            restored = [torch.empty_like(parameter).copy_(moment) for moment in moments]
            # Adam's fused kernels keep the step on the parameter's device, the others on the CPU.
            step = step.to(parameter.device) if optimizer.defaults["fused"] else step
            optimizer.state[parameter] = dict(zip(ADAM_QUANTITIES, [step, *restored], strict=True))
