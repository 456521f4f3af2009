"""What is in a dataset: what was left out, doubles, oddities, and whether more would help."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catgan.data.dataset.dataset import (
    MAX_DESCRIPTION_BYTES,
    CorruptDatasetError,
    Dataset,
    map_images,
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

MAX_SHOWN = 24  # images of a kind on the page
MIN_IMAGES = 24  # images that make a statement in feature space


@dataclass(frozen=True)
class RejectionCounts:
    """Rejected files of one kind; `thumbnails` (n x 96 x 96 x 3) are of the first of `captions`."""

    kind: str
    count: int
    captions: tuple[str, ...]
    thumbnails: np.ndarray


@dataclass(frozen=True)
class Growth:
    """How near unseen images lie to the nearest of `count` training images, in feature units."""

    count: int
    distance: float


@dataclass(frozen=True)
class Likeness:
    """This dataset against the images that a generator was trained on.

    `inside`: share of its images that lie where those lie; `covered`: share of those that it
    covers. `expected_*`: the same for two halves of those, `expected_count` images each.
    """

    name: str
    same: bool
    inside: float
    covered: float
    expected_inside: float
    expected_covered: float
    expected_count: int


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found. Numbers of images are positions in the dataset.

    `brightness` and `saturation` are means of an image (0 to 1), `sharpness` is that of the gates,
    `sides` the shorter side in pixels of what was cut from each photo. `doubles` are (number,
    number, bits of difference), `outliers` (number, how many times farther from its neighbors than
    the median image is), both worst first.
    """

    dataset: Dataset
    extractor: str
    brightness: np.ndarray
    saturation: np.ndarray
    sharpness: np.ndarray
    sides: np.ndarray
    rejections: tuple[RejectionCounts, ...]
    doubles: tuple[tuple[int, int, int], ...]
    outliers: tuple[tuple[int, float], ...]
    growth: tuple[Growth, ...]
    likeness: Likeness | None

    @property
    def enlarged(self) -> int:
        """How many images were smaller in their photos than they are here."""
        return int((self.sides < self.dataset.resolution).sum())


def inspect_dataset(
    dataset: Dataset,
    extractor: Extractor,
    *,
    like: Dataset | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inspection:
    """Look at every image of `dataset` once; features of its splits are cached.

    `like` is the dataset of a generator. `seed` decides which images count as unseen in `growth`.
    Below 24 images nothing is said of outliers and growth.

    Raises:
        CatganError: there are fewer than 24 images to compare with `like`, or it has fewer than 24
            training images.
    """
    if like is not None:
        counts = {str(dataset.path): len(dataset), like.name: len(like.indices("train"))}
        for name, count in counts.items():
            if count < MIN_IMAGES:
                counted = "1 image is" if count == 1 else f"{count} images are"
                raise CatganError(
                    f"{name}: {counted} too few to compare, it takes {MIN_IMAGES}; leave out --like"
                )
    rows = []
    doubles = []
    seen = NearDuplicates(Gates().distance)
    for number, image in enumerate(dataset.images):
        values = image.astype(np.float32) / 255
        most, least = values.max(axis=2), values.min(axis=2)
        saturation = float(np.mean((most - least) / np.maximum(most, 1e-6)))
        rows.append((float(values.mean()), saturation, sharpness(image)))
        for other, bits in seen.add(image)[:1]:  # the nearest; of many alike, pairs are endless
            doubles.append((int(other), number, int(bits)))
        if progress is not None and (number % 64 == 63 or number + 1 == len(dataset)):
            progress("looking at images", number + 1, len(dataset))
    brightness, saturations, sharp = np.array(rows).T
    outliers: list[tuple[int, float]] = []
    growth: list[Growth] = []
    likeness = None
    if len(dataset) >= MIN_IMAGES:
        vectors = _all_vectors(dataset, extractor, progress)
        (radii,) = neighbor_radii(vectors, (5,))
        if (middle := float(np.median(radii))) > 0:  # else most images have five of their like
            order = np.argsort(-radii, kind="stable")[:MAX_SHOWN]
            outliers = [(int(number), float(radii[number] / middle)) for number in order]
        growth = _growth(vectors, seed)
        if like is not None:
            likeness = _likeness(dataset, vectors, like, extractor, seed, progress)
    return Inspection(
        dataset=dataset,
        extractor=extractor.identity.name,
        brightness=brightness,
        saturation=saturations,
        sharpness=sharp,
        sides=_sides(dataset),
        rejections=read_rejections(dataset),
        doubles=tuple(sorted(doubles, key=lambda double: double[2])),
        outliers=tuple(outliers),
        growth=tuple(growth),
        likeness=likeness,
    )


def summary(inspection: Inspection) -> list[str]:
    """The inspection in lines for a terminal."""
    dataset = inspection.dataset
    held = len(dataset.indices("holdout"))
    lines = [
        f"{len(dataset):,} images of {dataset.resolution} px, {held:,} of them held out; "
        f"license {printable(dataset.license)}, credit {printable(dataset.credit)}"
    ]
    if inspection.rejections:
        kinds = ", ".join(f"{each.count:,} {each.kind}" for each in inspection.rejections)
        lines.append(f"rejected  {len(dataset.rejected):,}: {kinds}")
    if inspection.enlarged:
        lines.append(
            f"enlarged {inspection.enlarged:,} images, smaller in their photos than "
            f"{dataset.resolution} px"
        )
    pairs = "pair" if len(inspection.doubles) == 1 else "pairs"
    lines.append(f"doubles  {len(inspection.doubles):,} near-duplicate {pairs}")
    if inspection.outliers:
        number, ratio = inspection.outliers[0]
        name = dataset.records[number].source
        lines.append(f"outlier  {name} is farthest from all others ({ratio:.1f} times the median)")
    lines.append(f"growth   {growth_text(inspection.growth)}")
    if inspection.likeness is not None:
        lines.append(f"likeness {likeness_text(inspection.likeness)}")
    return lines


def growth_text(growth: tuple[Growth, ...]) -> str:
    """What the last doubling brought, and what this project has seen data of this size do."""
    seen = (
        "generators of this project drew plainly recognizable cats from 4,457 photos at 128 px "
        "and 7,552 at 64 px; smaller sets of real photos were not measured"
    )
    if len(growth) < 2:
        return f"too few images to say how much more would help; {seen}"
    last, full = growth[-2], growth[-1]
    gain = 100 * (1 - full.distance / last.distance) if last.distance else 0.0
    return (
        f"from {last.count:,} to {full.count:,} images, unseen ones came {gain:.1f} % nearer to "
        f"their nearest; another doubling would bring about as much; {seen}"
    )


def likeness_text(likeness: Likeness) -> str:
    """Whether the dataset looks like that of a generator."""
    if likeness.same:
        return f"this is the very dataset that {likeness.name} names"
    return (
        f"{likeness.inside:.0%} of these images lie where {likeness.name} lies (of its own halves, "
        f"{likeness.expected_inside:.0%}), and cover {likeness.covered:.0%} of it (its own halves, "
        f"{likeness.expected_covered:.0%})"
    )


def read_rejections(dataset: Dataset) -> tuple[RejectionCounts, ...]:
    """What was rejected, by kind, commonest first, with thumbnails where faces were looked for."""
    shown, thumbnails = _thumbnails(dataset.path)
    by_kind: dict[str, list[int]] = {}
    for row, (_, reason) in enumerate(shown):
        by_kind.setdefault(_kind(reason), []).append(row)
    counts = Counter(_kind(entry.reason) for entry in dataset.rejected)
    rejections = []
    for kind, count in counts.most_common():
        chosen = by_kind.get(kind, [])[:MAX_SHOWN]
        captions = [f"{shown[row][0]}: {shown[row][1]}" for row in chosen] or [
            f"{entry.name}: {entry.reason}"
            for entry in dataset.rejected
            if _kind(entry.reason) == kind
        ][:MAX_SHOWN]
        rejections.append(RejectionCounts(kind, count, tuple(captions), thumbnails[chosen]))
    return tuple(rejections)


def _sides(dataset: Dataset) -> np.ndarray:
    """The side in the photo of each image's square; of a turned one, not that of the box around."""
    boxes = dataset.records.crops
    around = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    try:
        sides = np.array([float(each["side"]) for each in _preparation(dataset.path)["images"]])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return around
    # No photo is wider than what `Dataset.open` lets pass as a crop.
    sound = sides.shape == around.shape and ((sides > 0) & (sides < 2**31)).all()
    return sides if sound else around


def _preparation(path: Path) -> Any:
    """What `prepare --faces` wrote beside the images, unchecked. OSError, ValueError: no such."""
    file = path / PREPARATION
    if file.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ValueError(file)
    return json.loads(file.read_bytes())


def _kind(reason: str) -> str:
    return reason.split(":")[0]


def _thumbnails(path: Path) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Return (name, reason) and pictures of rejected faces; none if files are damaged."""
    nothing: tuple[list[tuple[str, str]], np.ndarray] = (
        [],
        np.empty((0, THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8),
    )
    try:
        entries = [
            (str(each["name"]), str(each["reason"])) for each in _preparation(path)["thumbnails"]
        ]
        if not entries:
            return nothing  # an empty file cannot be mapped
        return entries, map_images(path / THUMBNAILS, (len(entries), THUMBNAIL, THUMBNAIL, 3))
    except (CorruptDatasetError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return nothing


def _all_vectors(dataset: Dataset, extractor: Extractor, progress: Progress | None) -> np.ndarray:
    """Features of every image, in the dataset's order, N x D."""
    parts: list[tuple[np.ndarray, ImageSet]] = [
        (dataset.indices("train"), dataset_images(dataset, "train"))
    ]
    if len(dataset.indices("holdout")):
        parts.append((dataset.indices("holdout"), dataset_images(dataset, "holdout")))
    vectors = np.empty((len(dataset), extractor.identity.feature_size), dtype=np.float32)
    for numbers, images in parts:
        features = cached_features(images, extractor, progress=progress)
        vectors[numbers[features.numbers]] = features.vectors
    return vectors


def _growth(vectors: np.ndarray, seed: int) -> list[Growth]:
    """Distances from a fifth of the images to the nearest of ever larger parts of the rest."""
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
        inside=scores.precision,
        covered=scores.recall,
        expected_inside=floor.precision,
        expected_covered=floor.recall,
        expected_count=count,
    )
