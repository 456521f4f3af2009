"""Inspect a dataset: rejections, near-duplicates, outliers, and whether more images would help."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catgan.data.dataset.dataset import (
    MAX_DESCRIPTION_BYTES,
    CorruptDatasetError,
    Dataset,
    count_rejection_kinds,
    map_images,
    rejection_kind,
)
from catgan.data.faces.gates import Gates, NearDuplicates, sharpness
from catgan.data.faces.prepare import PREPARATION, THUMBNAIL, THUMBNAILS
from catgan.data.reading.sources import printable
from catgan.errors import CatganError
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.features import Features, Progress, cached_features
from catgan.evaluation.image_sets import ImageSet, dataset_images
from catgan.evaluation.metrics.manifold import manifold_scores, neighbor_radii
from catgan.evaluation.metrics.nearest_neighbors import nearest

MAX_SHOWN = 24  # images per section of the page
MIN_IMAGES = 24  # for statistics in feature space


@dataclass(frozen=True)
class RejectionCounts:
    """The rejected files of one kind.

    `thumbnails` (n x 96 x 96 x 3) belong to the first n of `captions`.
    """

    kind: str
    count: int
    captions: tuple[str, ...]
    thumbnails: np.ndarray


@dataclass(frozen=True)
class Growth:
    """The mean distance of held-apart images to the nearest of `count` others, in feature space."""

    count: int
    distance: float


@dataclass(frozen=True)
class Likeness:
    """A comparison of the dataset with the images that a generator was trained on.

    `precision` and `recall` (0 to 1) are those of the dataset against these images.
    `expected_precision` and `expected_recall` compare two halves of these images, `expected_count`
    images each. `same` says that both datasets have the same images.
    """

    name: str
    same: bool
    precision: float
    recall: float
    expected_precision: float
    expected_recall: float
    expected_count: int


@dataclass(frozen=True)
class Inspection:
    """The results of `inspect_dataset`; images are given by their index in the dataset.

    `brightness` and `saturation` are the means of each image (0 to 1), `sharpness` is that of the
    gates (percent), `sides` is the shorter side in pixels of the crop in each photo.
    `near_duplicates` are (index, index, differing bits), fewest bits first. `outliers` are (index,
    distance to the neighbors as a multiple of the median), farthest first.
    """

    dataset: Dataset
    extractor: str
    brightness: np.ndarray
    saturation: np.ndarray
    sharpness: np.ndarray
    sides: np.ndarray
    rejections: tuple[RejectionCounts, ...]
    near_duplicates: tuple[tuple[int, int, int], ...]
    outliers: tuple[tuple[int, float], ...]
    growth: tuple[Growth, ...]
    likeness: Likeness | None

    @property
    def enlarged(self) -> int:
        """The number of images that were smaller in their photos than in the dataset."""
        return int((self.sides < self.dataset.resolution).sum())


def inspect_dataset(
    dataset: Dataset,
    extractor: Extractor,
    *,
    like: Dataset | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inspection:
    """Measure every image of `dataset`; features are cached per split.

    `like` is the dataset that a generator was trained on, to compare with. `seed` selects the
    images held apart for `growth`. With fewer than 24 images, outliers and growth are empty.

    Raises:
        CatganError: with `like`, the dataset has fewer than 24 images, or `like` fewer than 24
            training images.
    """
    if like is not None:
        counts = {str(dataset.path): len(dataset), like.name: len(like.indices("train"))}
        for name, count in counts.items():
            if count < MIN_IMAGES:
                raise CatganError(
                    f"{name}: expected at least {MIN_IMAGES} images to compare, found {count}; "
                    "leave out --like"
                )
    rows = []
    near_duplicates = []
    index = NearDuplicates(Gates().distance)
    for number, image in enumerate(dataset.images):
        values = image.astype(np.float32) / 255
        maximum, minimum = values.max(axis=2), values.min(axis=2)
        saturation = float(np.mean((maximum - minimum) / np.maximum(maximum, 1e-6)))
        rows.append((float(values.mean()), saturation, sharpness(image)))
        for other, bits in index.add(image)[:1]:  # the nearest only: n equal images have n² pairs
            near_duplicates.append((int(other), number, int(bits)))
        if progress is not None and (number % 64 == 63 or number + 1 == len(dataset)):
            progress("measuring images", number + 1, len(dataset))
    brightnesses, saturations, sharpnesses = np.array(rows).T
    outliers: list[tuple[int, float]] = []
    growth: list[Growth] = []
    likeness = None
    if len(dataset) >= MIN_IMAGES:
        vectors = _all_vectors(dataset, extractor, progress)
        (radii,) = neighbor_radii(vectors, (5,))
        if (median := float(np.median(radii))) > 0:  # 0 if most images have five exact copies
            order = np.argsort(-radii, kind="stable")[:MAX_SHOWN]
            outliers = [(int(number), float(radii[number] / median)) for number in order]
        growth = _growth(vectors, seed)
        if like is not None:
            likeness = _likeness(dataset, vectors, like, extractor, seed, progress)
    return Inspection(
        dataset=dataset,
        extractor=extractor.identity.name,
        brightness=brightnesses,
        saturation=saturations,
        sharpness=sharpnesses,
        sides=_sides(dataset),
        rejections=read_rejections(dataset),
        near_duplicates=tuple(sorted(near_duplicates, key=lambda pair: pair[2])),
        outliers=tuple(outliers),
        growth=tuple(growth),
        likeness=likeness,
    )


def summary(inspection: Inspection) -> list[str]:
    """Return the inspection as lines for a terminal."""
    dataset = inspection.dataset
    held_out = len(dataset.indices("holdout"))
    lines = [
        f"{len(dataset):,} images of {dataset.resolution} px, {held_out:,} of them held out; "
        f"license {printable(dataset.license)}, credit {printable(dataset.credit)}"
    ]
    if inspection.rejections:
        kinds = ", ".join(f"{each.count:,} {each.kind}" for each in inspection.rejections)
        lines.append(f"rejected {len(dataset.rejected):,}: {kinds}")
    if inspection.enlarged:
        lines.append(
            f"enlarged {inspection.enlarged:,} images, which are smaller than "
            f"{dataset.resolution} px in their photos"
        )
    count = len(inspection.near_duplicates)
    lines.append(f"similar  {count:,} near-duplicate {'pair' if count == 1 else 'pairs'}")
    if inspection.outliers:
        number, ratio = inspection.outliers[0]
        name = dataset.records[number].source
        lines.append(
            f"outlier  {name} is farthest from its neighbors ({ratio:.1f} times the median)"
        )
    lines.append(f"growth   {growth_text(inspection.growth)}")
    if inspection.likeness is not None:
        lines.append(f"likeness {likeness_text(inspection.likeness)}")
    return lines


def growth_text(growth: tuple[Growth, ...]) -> str:
    """Return how much the last doubling of the images helped, and the sizes tested so far."""
    experience = (
        "catgan has produced clearly recognizable cats from 4,457 photos at 128 px and 7,552 at "
        "64 px; smaller sets of real photos were not measured"
    )
    if len(growth) < 2:
        return f"too few images to tell how much more would help; {experience}"
    half, full = growth[-2], growth[-1]
    gain = 100 * (1 - full.distance / half.distance) if half.distance else 0.0
    return (
        f"from {half.count:,} to {full.count:,} images, the distance from unseen images to the "
        f"nearest one fell by {gain:.1f} %; another doubling would help about as much; {experience}"
    )


def likeness_text(likeness: Likeness) -> str:
    """Return how similar the dataset is to that of a generator."""
    if likeness.same:
        return f"these are the same images as those of {likeness.name}"
    return (
        f"{likeness.precision:.0%} of these images resemble {likeness.name} (two halves of it: "
        f"{likeness.expected_precision:.0%}), and they cover {likeness.recall:.0%} of it (two "
        f"halves: {likeness.expected_recall:.0%})"
    )


def read_rejections(dataset: Dataset) -> tuple[RejectionCounts, ...]:
    """Return the rejected files by kind, most frequent first; with thumbnails of rejected faces."""
    entries, thumbnails = _thumbnails(dataset.path)
    by_kind: dict[str, list[int]] = {}
    for row, (_, reason) in enumerate(entries):
        by_kind.setdefault(rejection_kind(reason), []).append(row)
    counts = count_rejection_kinds(entry.reason for entry in dataset.rejected)
    rejections = []
    for kind, count in counts.most_common():
        chosen = by_kind.get(kind, [])[:MAX_SHOWN]
        captions = [f"{entries[row][0]}: {entries[row][1]}" for row in chosen] or [
            f"{entry.name}: {entry.reason}"
            for entry in dataset.rejected
            if rejection_kind(entry.reason) == kind
        ][:MAX_SHOWN]
        rejections.append(RejectionCounts(kind, count, tuple(captions), thumbnails[chosen]))
    return tuple(rejections)


def _sides(dataset: Dataset) -> np.ndarray:
    """Return each crop's side in the photo; of a rotated crop, not that of its bounding box."""
    boxes = dataset.records.crops
    box_sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    try:
        sides = np.array([float(each["side"]) for each in _preparation(dataset.path)["images"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return box_sides
    # `Dataset.open` limits crops to the same range.
    valid = sides.shape == box_sides.shape and ((sides > 0) & (sides < 2**31)).all()
    return sides if valid else box_sides


def _preparation(path: Path) -> Any:
    """Read what `prepare --faces` recorded, unchecked. Raises OSError or ValueError."""
    file = path / PREPARATION
    if file.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ValueError(file)
    return json.loads(file.read_bytes())


def _thumbnails(path: Path) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return (name, reason) and thumbnails of rejected faces; none if the files are damaged."""
    empty: tuple[list[tuple[str, str]], np.ndarray] = (
        [],
        np.empty((0, THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8),
    )
    try:
        entries = [
            (str(each["name"]), str(each["reason"])) for each in _preparation(path)["thumbnails"]
        ]
        if not entries:
            return empty  # an empty array cannot be mapped
        return entries, map_images(path / THUMBNAILS, (len(entries), THUMBNAIL, THUMBNAIL, 3))
    except (CorruptDatasetError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return empty


def _all_vectors(dataset: Dataset, extractor: Extractor, progress: Progress | None) -> np.ndarray:
    """Return the features of every image, N x D, in the dataset's order."""
    splits: list[tuple[np.ndarray, ImageSet]] = [
        (dataset.indices("train"), dataset_images(dataset, "train"))
    ]
    if len(dataset.indices("holdout")):
        splits.append((dataset.indices("holdout"), dataset_images(dataset, "holdout")))
    vectors = np.empty((len(dataset), extractor.identity.feature_size), dtype=np.float32)
    for numbers, images in splits:
        features = cached_features(images, extractor, progress=progress)
        vectors[numbers[features.numbers]] = features.vectors
    return vectors


def _growth(vectors: np.ndarray, seed: int) -> list[Growth]:
    """Return the distances from a fifth of the images to growing parts of the rest."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(vectors))
    unseen, rest = order[: len(vectors) // 5], order[len(vectors) // 5 :]
    growth = []
    for shift in range(4, -1, -1):
        count = len(rest) >> shift
        if count >= MIN_IMAGES // 2:
            _, distances = nearest(vectors[unseen], vectors[rest[:count]])
            growth.append(Growth(count, float(distances.mean())))
    return growth


def _likeness(
    dataset: Dataset,
    vectors: np.ndarray,
    like: Dataset,
    extractor: Extractor,
    seed: int,
    progress: Progress | None,
) -> Likeness:
    theirs: Features = cached_features(dataset_images(like), extractor, progress=progress)
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(theirs.vectors))
    half = len(order) // 2
    count = min(half, len(vectors))
    reals = theirs.vectors[order[:half]]
    mine = vectors[np.random.Generator(np.random.Philox(seed)).permutation(len(vectors))[:count]]
    scores = manifold_scores(reals, mine)
    floor = manifold_scores(reals, theirs.vectors[order[half : half + count]])
    return Likeness(
        name=like.name,
        same=like.identity == dataset.identity,
        precision=scores.precision,
        recall=scores.recall,
        expected_precision=floor.precision,
        expected_recall=floor.recall,
        expected_count=count,
    )
