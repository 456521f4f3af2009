"""Prepare photos into a dataset: decode, crop and resize in parallel, report every file."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from catgan.data.dataset.dataset import check_resolution, count_rejection_kinds, is_dataset
from catgan.data.dataset.writer import DatasetWriter
from catgan.data.reading.images import ImageRejected, center_square, decode, quiet_pillow, resize
from catgan.data.reading.sources import SourceFile, label, open_source, source_name
from catgan.errors import CatganError, shell_words
from catgan.parallel import ordered_map

# Increment when the same source would give different pixels; cached datasets are keyed by it.
PREPARATION_VERSION = 1

OnProgress = Callable[[int, int, int, int], None]


@dataclass(frozen=True)
class PrepareReport:
    """What happened to each source file.

    `rejected` holds (name, reason), `duplicates` (name, name of the copy that was kept), both in
    source order. `kept` = `train` + `holdout` counts images.
    """

    path: Path
    kept: int
    train: int
    holdout: int
    rejected: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, str], ...]
    seconds: float


@dataclass(frozen=True)
class _Prepared:
    image: np.ndarray
    sha256: str
    crop: tuple[int, int, int, int]


def prepare(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    size: int,
    *,
    holdout_fraction: float = 0.1,
    workers: int | None = None,
    name: str | None = None,
    license: str = "unknown",
    credit: str = "unknown",
    on_progress: OnProgress | None = None,
) -> PrepareReport:
    """Make a dataset of size x size images from a folder, an archive, a list or one image.

    Each photo is decoded, cropped to its largest centered square and downscaled; smaller photos are
    rejected. The result depends only on the source's content, not on `workers` (threads, by default
    one per processor). `on_progress(done, total, kept, rejected)` is called in this thread after
    each file. `name` is by default that of the source.

    Raises `CatganError` when the source or the destination cannot be used, when `size` is not
    32, 64, 128 or 256, and when no usable image is found; then the destination is not created.
    """
    started = time.perf_counter()
    check_resolution(size)
    if workers is not None and workers < 1:
        raise CatganError(f"invalid number of workers {workers}: expected 1 or more.")
    require_photos(source)
    rejected: list[tuple[str, str]] = []
    duplicates: list[tuple[str, str]] = []
    kept_names: dict[str, str] = {}  # sha256 of the source file -> name
    writer = DatasetWriter(
        destination,
        size,
        name=source_name(source) if name is None else label(name),
        license=license,
        credit=credit,
        holdout_fraction=holdout_fraction,
    )
    with open_source(source) as files, writer, quiet_pillow():
        results = ordered_map(partial(_prepare_one, size=size), files, workers)
        for done, (file, result) in enumerate(results, start=1):
            if isinstance(result, ImageRejected):
                rejected.append((file.name, result.reason))
                writer.reject(file.name, result.reason)
            elif result.sha256 in kept_names:
                duplicates.append((file.name, kept_names[result.sha256]))
                writer.duplicate(file.name, kept_names[result.sha256])
            else:
                kept_names[result.sha256] = file.name
                writer.append(
                    result.image, source=file.name, sha256=result.sha256, crop=result.crop
                )
            if on_progress is not None:
                on_progress(done, len(files), len(kept_names), len(rejected))
        if not kept_names:
            raise CatganError(_nothing_left(label(str(source)), size, rejected))
    return PrepareReport(
        path=Path(destination),
        kept=len(kept_names),
        train=writer.splits.count("train"),
        holdout=writer.splits.count("holdout"),
        rejected=tuple(rejected),
        duplicates=tuple(duplicates),
        seconds=time.perf_counter() - started,
    )


def require_photos(source: str | os.PathLike[str]) -> None:
    """Check that `source` is not a dataset or a training run, whose sample grids are images, too.

    Raises:
        CatganError: it is one of them.
    """
    if is_dataset(source):
        raise CatganError(f"{source} is already a dataset: use it directly, or give the photos.")
    if all(Path(source, name).exists() for name in ("config.toml", "run.json", "checkpoints")):
        raise CatganError(
            f"{source} is a training run, not photos: resume it with catgan train --resume "
            f"{shell_words(source)}, or give the photos."
        )


def _prepare_one(file: SourceFile, size: int) -> _Prepared | ImageRejected:
    try:
        data = file.read()
        photo = decode(data)
        height, width = photo.shape[:2]
        if min(height, width) < size:
            raise ImageRejected(f"too small: {width} x {height}, less than {size} x {size}")
        square, crop = center_square(photo)
        return _Prepared(resize(square, size), hashlib.sha256(data).hexdigest(), crop)
    except ImageRejected as rejection:
        # The traceback would keep the decoded photo in memory as long as the exception lives.
        return rejection.with_traceback(None)


def _nothing_left(source: str, size: int, rejected: list[tuple[str, str]]) -> str:
    if not rejected:
        return f"{source} has no files: give a folder or a zip of photos."
    kinds = count_rejection_kinds(reason for _, reason in rejected)
    reasons = ", ".join(f"{count} {reason}" for reason, count in kinds.most_common(3))
    remedy = "give a folder or a zip of JPEG, PNG or WebP photos"
    if kinds.most_common(1)[0][0] == "too small":
        remedy = f"use a size smaller than {size}" if size > 32 else "use larger photos"
    return f"{source} has no usable image ({len(rejected)} rejected: {reasons}): {remedy}."
