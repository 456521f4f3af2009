"""Sets of images to score, read by number: a generator's seeds, a dataset's split, files, an array.

Nothing here keeps the images: an evaluation reads each of them once for its features, and the few
that a page shows once more.
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
class Checkpoint:
    """Which state of a run its images come from: after so many `images` were seen in training.

    `pointers`: what the run called that state when it was scored: latest, best, both or neither.
    """

    images: int
    pointers: tuple[str, ...]

    def __str__(self) -> str:
        named = f" ({', '.join(self.pointers)})" if self.pointers else ""
        return f"{self.images:,} images{named}"


@dataclass(frozen=True)
class ImageSet:
    """`count` images, numbered from 0; `read` maps numbers (n, int64) to uint8 n x H x W x 3.

    `captions` maps a number to what a person knows the image by: a seed, a file name. `dataset`
    is the identity of the dataset that the images are a part of, `split` which part; `selection`
    tells one part of a dataset from another in the cache, and is None for what is never cached.
    `checkpoint` is set where the images are a run's.
    """

    name: str
    count: int
    read: Callable[[np.ndarray], np.ndarray]
    captions: Callable[[int], str]
    dataset: str | None = None
    split: str = "all"
    selection: bytes | None = None
    checkpoint: Checkpoint | None = None

    @property
    def title(self) -> str:
        """The name and, of a run, the images that it had seen."""
        return self.name if self.checkpoint is None else f"{self.name} at {self.checkpoint}"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the first image, which is read for it."""
        height, width = self.read(np.zeros(1, dtype=np.int64)).shape[1:3]
        return height, width


def generated_images(
    name: str,
    sample: Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    checkpoint: Checkpoint | None = None,
) -> ImageSet:
    """What a generator makes of the seeds from 0 to `count` - 1.

    `sample` maps seeds (n, int64) to uint8 n x H x W x 3, the same image for the same seed.
    """
    return ImageSet(name, count, sample, lambda number: f"seed {number}", checkpoint=checkpoint)


def dataset_images(dataset: Dataset, split: Split = "train", count: int | None = None) -> ImageSet:
    """A split of a dataset, or its first `count` images.

    Raises:
        CatganError: the split is empty, or has fewer than `count` images.
    """
    chosen = dataset.indices(split)
    if not len(chosen):
        raise CatganError(f"{dataset.name}: has no {split} images; prepare it again with a holdout")
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
    """An array of images, uint8 N x H x W x 3."""
    return ImageSet(
        name, len(images), lambda numbers: images[numbers], lambda number: f"image {number}"
    )


def file_images(path: Path) -> ImageSet:
    """The images of a folder or zip, as they are: all of one size, none left out in silence.

    Raises:
        CatganError: the source cannot be read, holds no image, or (on reading) has changed, or an
            image cannot be decoded or has another size than the first.
    """
    shown = label(str(path))
    with open_source(path) as files:
        names = [file.name for file in files]
    if not names:
        raise CatganError(f"{shown}: holds no images; check the path")
    size: list[tuple[int, ...]] = []

    def read(numbers: np.ndarray) -> np.ndarray:
        images = []
        with open_source(path) as files:
            for number in numbers:
                if [file.name for file in files[number : number + 1]] != [names[number]]:
                    raise CatganError(f"{shown}: has changed while it was read; try again")
                try:
                    image = decode(files[number].read())
                except ImageRejected as error:
                    raise CatganError(
                        f"{names[number]} in {shown}: cannot be scored ({error.reason}); take it "
                        "out of the set"
                    ) from error
                size[:] = size or [image.shape]
                if image.shape != size[0]:
                    raise CatganError(
                        f"{names[number]} in {shown}: is {image.shape[1]} x {image.shape[0]}, "
                        f"other images are {size[0][1]} x {size[0][0]}; bring all to one size first"
                    )
                images.append(image)
        return np.stack(images)

    name = label(Path(os.path.realpath(path)).name)
    return ImageSet(name, len(names), read, lambda number: names[number])


def all_have_shape(
    path: Path, shape: tuple[int, int], progress: Callable[[str, int, int], None] | None = None
) -> bool:
    """Whether all images of a folder or zip have this height and width; broken files do not count.

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
