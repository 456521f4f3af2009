"""Sets of images to score, read by index: of a generator, a dataset's split, files, or an array.

Images are not kept in memory: an evaluation reads each once for its features, and again the few
that its page shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catgan.data.dataset.dataset import Dataset, Split
from catgan.data.reading.images import ImageRejected, decode, quiet_pillow
from catgan.data.reading.sources import SourceFile, label, open_source
from catgan.errors import CatganError
from catgan.parallel import ordered_map


@dataclass(frozen=True)
class ScoredCheckpoint:
    """The checkpoint of a run that images were generated from, by the `images` seen in training.

    `pointers`: the pointers that named it when it was scored: latest, best, both or neither.
    """

    images: int
    pointers: tuple[str, ...]

    def __str__(self) -> str:
        named = f" ({', '.join(self.pointers)})" if self.pointers else ""
        return f"{self.images:,} images{named}"


@dataclass(frozen=True)
class ImageSet:
    """`count` images, numbered from 0; `read` maps numbers (n, int64) to uint8 n x H x W x 3.

    `captions` maps a number to a seed or file name. `dataset` is the identity of the dataset that
    the images belong to, and `split` the part of it. `selection` identifies the chosen images of a
    dataset in the feature cache; None disables caching. `checkpoint` is set for images of a run.
    """

    name: str
    count: int
    read: Callable[[np.ndarray], np.ndarray]
    captions: Callable[[int], str]
    dataset: str | None = None
    split: str = "all"
    selection: bytes | None = None
    checkpoint: ScoredCheckpoint | None = None

    @property
    def title(self) -> str:
        """The name, with the checkpoint of a run."""
        return self.name if self.checkpoint is None else f"{self.name} at {self.checkpoint}"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the first image, which this reads."""
        height, width = self.read(np.zeros(1, dtype=np.int64)).shape[1:3]
        return height, width


def generated_images(
    name: str,
    sample: Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    checkpoint: ScoredCheckpoint | None = None,
) -> ImageSet:
    """Return the images that a generator makes from seeds 0 to `count` - 1.

    `sample` maps seeds (n, int64) to uint8 n x H x W x 3. The same seed must give the same image.
    """
    return ImageSet(name, count, sample, lambda number: f"seed {number}", checkpoint=checkpoint)


def dataset_images(dataset: Dataset, split: Split = "train", count: int | None = None) -> ImageSet:
    """Return a split of a dataset, or its first `count` images.

    Raises:
        CatganError: the split is empty, or has fewer than `count` images.
    """
    chosen = dataset.indices(split)
    if not len(chosen):
        raise CatganError(
            f"{dataset.name}: has no {split} images; prepare it again with a larger --holdout"
        )
    if count is not None and count > len(chosen):
        raise CatganError(
            f"{dataset.name}: has {len(chosen):,} {split} images, not {count:,}; ask for fewer"
        )
    chosen = chosen[:count]
    return ImageSet(
        dataset.name,
        len(chosen),
        lambda numbers: np.asarray(dataset.images[chosen[numbers]]),
        lambda number: f"image {chosen[number]}",
        dataset=dataset.identity,
        split=split,
        selection=chosen.tobytes(),
    )


def array_images(name: str, images: np.ndarray) -> ImageSet:
    """Return `images` (uint8 N x H x W x 3) as a set."""
    return ImageSet(
        name, len(images), lambda numbers: images[numbers], lambda number: f"image {number}"
    )


def file_images(path: Path) -> ImageSet:
    """Return the images of a folder or zip as they are, without resizing or skipping any.

    Raises:
        CatganError: the source cannot be read or holds no image; when reading, also if the source
            has changed, or an image cannot be decoded or differs in size from the first.
    """
    source = label(str(path))
    with open_source(path) as files:
        names = [file.name for file in files]
    if not names:
        raise CatganError(f"{source}: holds no images; check the path")
    size: list[tuple[int, ...]] = []

    def read(numbers: np.ndarray) -> np.ndarray:
        images = []
        with open_source(path) as files:
            for number in numbers:
                if [file.name for file in files[number : number + 1]] != [names[number]]:
                    raise CatganError(f"{source}: has changed while it was read; try again")
                try:
                    image = decode(files[number].read())
                except ImageRejected as error:
                    raise CatganError(
                        f"{names[number]} in {source}: cannot be scored ({error.reason}); take it "
                        "out of the set"
                    ) from error
                size[:] = size or [image.shape]
                if image.shape != size[0]:
                    raise CatganError(
                        f"{names[number]} in {source}: is {image.shape[1]} x {image.shape[0]}, "
                        f"other images are {size[0][1]} x {size[0][0]}; bring all to one size first"
                    )
                images.append(image)
        return np.stack(images)

    name = label(Path(os.path.realpath(path)).name)
    return ImageSet(name, len(names), read, lambda number: names[number])


def all_have_shape(
    path: Path, shape: tuple[int, int], progress: Callable[[str, int, int], None] | None = None
) -> bool:
    """Return whether all images of a folder or zip have `shape` (H, W), broken files aside.

    Raises:
        CatganError: the source cannot be read.
    """
    with open_source(path) as files, quiet_pillow():
        for done, (_, found) in enumerate(ordered_map(_shape, files), start=1):
            if found not in (None, shape):
                return False
            if progress is not None:
                progress(f"sizes of {label(path.name)}", done, len(files))
    return True


def _shape(file: SourceFile) -> tuple[int, int] | None:
    try:
        height, width = decode(file.read()).shape[:2]
    except ImageRejected:
        return None
    return height, width
