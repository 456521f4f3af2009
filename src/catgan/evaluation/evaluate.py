"""One evaluation: the scores of a set of images against the reals, with their fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from catgan import __version__
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.features import Features, Progress, extract_features
from catgan.evaluation.fingerprint import Fingerprint
from catgan.evaluation.image_sets import ImageSet, ScoredCheckpoint
from catgan.evaluation.metrics.frechet import Gaussian, frechet_distance, gaussian_of
from catgan.evaluation.metrics.manifold import ManifoldScores
from catgan.evaluation.metrics.nearest_neighbors import Memorization, closest_pairs, memorization
from catgan.evaluation.metrics.path_length import PathLength, path_length
from catgan.evaluation.reference import Reference, require_enough
from catgan.evaluation.scores import Scores, score_features

FORMAT = "catgan-evaluation"
FORMAT_VERSION = 4
_SHOWN = 12  # best, worst and closest images in a result


@dataclass(frozen=True)
class CurvePoint:
    """The Frechet distance of `count` random generated images to all reals."""

    count: int
    frechet: float


@dataclass(frozen=True)
class RankedImage:
    """A generated image and its realism: above 1 inside the reals' manifold; None if infinite."""

    number: int
    caption: str
    realism: float | None


@dataclass(frozen=True)
class Pair:
    """A generated image, its nearest real and their distance in feature units."""

    number: int
    caption: str
    real_number: int
    real_caption: str
    distance: float


@dataclass(frozen=True)
class Evaluation:
    """The result of scoring `generated` against `reals` (both names).

    `checkpoint`: the checkpoint of the run that was scored, None for other images. `floor`: the
    scores of one random half of the reals against the other, `floor_count` images each; a perfect
    generator would score this at that count. `curve`: the Frechet distance over the number N of
    generated images; `extrapolated`: its fit in 1/N at N = infinity (Chong and Forsyth, CVPR 2020).
    `repeats`, `copies`: numbers of generated images that equal an earlier one, or a real one, in
    every pixel. `memorization` is None without a holdout, `path_length` without access to the
    latents. `notes`: sentences that a reader must know.
    """

    generated: str
    checkpoint: ScoredCheckpoint | None
    reals: str
    fingerprint: Fingerprint
    scores: Scores
    floor: Scores
    floor_count: int
    curve: tuple[CurvePoint, ...]
    extrapolated: float
    repeats: int
    copies: int
    memorization: Memorization | None
    path_length: PathLength | None
    best: tuple[RankedImage, ...]
    worst: tuple[RankedImage, ...]
    closest: tuple[Pair, ...]
    notes: tuple[str, ...]
    catgan: str = __version__

    @property
    def title(self) -> str:
        """The name of what was scored, with the checkpoint of a run."""
        if self.checkpoint is None:
            return self.generated
        return f"{self.generated} at {self.checkpoint}"

    def line(self) -> str:
        """Return the evaluation as one line for the terminal."""
        identity, scores = self.fingerprint.extractor, self.scores
        return (
            f"{self.title}: {identity.frechet_name} {scores.frechet:.4g} "
            f"(floor {self.floor.frechet:.4g} at {self.floor_count:,}), "
            f"{identity.kernel_name} {scores.kernel.mean:.3g} "
            f"± {scores.kernel.standard_deviation:.1g}, "
            f"precision {scores.precision:.3f}, recall {scores.recall:.3f}, "
            f"density {scores.density:.3f}, coverage {scores.coverage:.3f}; "
            f"{self.fingerprint.generated_count:,} samples, {self.fingerprint.reals_count:,} "
            f"{self.fingerprint.split} reals of {self.reals}"
        )

    def to_json(self) -> str:
        """Return the whole evaluation as JSON."""
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(document, indent=2, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Latents:
    """Access to a generator's latents: `synthesize` maps n x `size` float64 to uint8 images."""

    synthesize: Callable[[np.ndarray], np.ndarray]
    size: int


def evaluate(
    generated: ImageSet,
    reference: Reference,
    *,
    latents: Latents | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Return the evaluation of `generated` against the reals of `reference`.

    `notes` are sentences about the origin of the images; they join those of the evaluation. `seed`
    decides the samples of the curve, the subsets of the memorization test and the latents of the
    path length. `progress(stage, done, total)` is called throughout.

    Raises:
        CatganError: there are fewer than 12 images, or an image cannot be read.
    """
    require_enough(generated)
    report = progress or _ignore
    reals, extractor = reference.images, reference.extractor
    real_features = reference.features
    fake_features = extract_features(generated, extractor, progress=progress)

    stage = f"statistics of {generated.name}, steps"
    report(stage, 0, 3)
    scores, manifold = score_features(
        fake_features.vectors,
        real_features.vectors,
        gaussian=reference.gaussian,
        radii=reference.radii[1:],
    )
    report(stage, 1, 3)
    curve = _curve(fake_features.vectors, reference.gaussian, scores.frechet, seed)
    report(stage, 2, 3)
    memorized = None
    if reference.unseen is not None:
        memorized = memorization(
            fake_features.vectors,
            real_features.vectors,
            reference.unseen.vectors,
            to_train=manifold.distance,
            within_train=reference.radii[0],
            seed=seed,
        )
    report(stage, 3, 3)
    length = _path_length(latents, extractor, seed, report) if latents else None

    copies = _count_copies(fake_features, real_features)
    order = np.argsort(-manifold.realism, kind="stable")
    return Evaluation(
        generated=generated.name,
        checkpoint=generated.checkpoint,
        reals=reals.name,
        fingerprint=Fingerprint(
            extractor=extractor.identity,
            generated_count=generated.count,
            reals_count=reals.count,
            dataset=reals.dataset,
            split=reals.split,
            reals_sha256=real_features.sha256,
        ),
        scores=scores,
        floor=reference.floor,
        floor_count=reference.floor_count,
        curve=curve,
        extrapolated=_extrapolated(curve),
        repeats=fake_features.repeats,
        copies=copies,
        memorization=memorized,
        path_length=length,
        best=_ranked(generated, fake_features, manifold.realism, order[:_SHOWN]),
        worst=_ranked(generated, fake_features, manifold.realism, order[: -_SHOWN - 1 : -1]),
        closest=_closest(generated, reals, fake_features, real_features, manifold),
        notes=tuple(
            dict.fromkeys(  # without duplicates, which occur if both sets have the same name
                [
                    *_findings(generated, reference, fake_features, copies),
                    *notes,
                    *_circumstances(generated, reference),
                ]
            )
        ),
    )


def _ignore(stage: str, done: int, total: int) -> None:
    del stage, done, total


def _curve(
    generated: np.ndarray, reals: Gaussian, full_distance: float, seed: int
) -> tuple[CurvePoint, ...]:
    """Return the distance of an eighth, a quarter, half and all of the images (nested subsets)."""
    total = len(generated)
    order = np.random.Generator(np.random.Philox(seed)).permutation(total)
    counts = sorted({max(2, total // divisor) for divisor in (8, 4, 2)} - {total})
    points = [
        CurvePoint(count, frechet_distance(reals, gaussian_of(generated[order[:count]])))
        for count in counts
    ]
    return (*points, CurvePoint(total, full_distance))


def _extrapolated(curve: tuple[CurvePoint, ...]) -> float:
    inverse = np.array([1.0 / point.count for point in curve])
    values = np.array([point.frechet for point in curve])
    return float(np.polynomial.Polynomial.fit(inverse, values, 1)(0.0))


def _ranked(
    images: ImageSet, features: Features, realism: np.ndarray, rows: np.ndarray
) -> tuple[RankedImage, ...]:
    return tuple(
        RankedImage(
            int(features.numbers[row]),
            images.captions(int(features.numbers[row])),
            float(realism[row]) if np.isfinite(realism[row]) else None,
        )
        for row in rows
    )


def _closest(
    generated: ImageSet,
    reals: ImageSet,
    fake_features: Features,
    real_features: Features,
    manifold: ManifoldScores,
) -> tuple[Pair, ...]:
    found = manifold.nearest, manifold.distance
    pairs = closest_pairs(fake_features.vectors, real_features.vectors, found, _SHOWN)
    return tuple(
        Pair(
            int(fake_features.numbers[row]),
            generated.captions(int(fake_features.numbers[row])),
            int(real_features.numbers[real_row]),
            reals.captions(int(real_features.numbers[real_row])),
            float(distance),
        )
        for row, real_row, distance in zip(
            pairs.samples, pairs.trained, pairs.distances, strict=True
        )
    )


def _count_copies(fake_features: Features, real_features: Features) -> int:
    real_digests = {digest.tobytes() for digest in real_features.digests}
    return sum(digest.tobytes() in real_digests for digest in fake_features.digests)


def _path_length(latents: Latents, extractor: Extractor, seed: int, report: Progress) -> PathLength:
    return path_length(
        lambda z: extractor.extract(latents.synthesize(z)),
        latents.size,
        seed=seed,
        progress=lambda done, total: report("path length", done, total),
    )


def _findings(
    generated: ImageSet, reference: Reference, fake_features: Features, copies: int
) -> list[str]:
    """Return notes on copies, repeats, and features that do not distinguish images."""
    reals, real_features = reference.images, reference.features
    notes = []
    if fake_features.sha256 == real_features.sha256:
        notes.append(
            f"{generated.name} and {reals.name} are the same images, pixel for pixel: a set scored "
            "against itself is always perfect."
        )
    elif copies:
        counted = f"{copies:,} of {generated.count:,} generated images"
        what = "is a pixel for pixel copy" if copies == 1 else "are pixel for pixel copies"
        notes.append(f"{generated.name}: {counted} {what} of a real one.")
    both = ((generated, fake_features, "generated"), (reals, real_features, "real"))
    for images, features, kind in both:
        if features.repeats:
            counted = f"{features.repeats:,} of {images.count:,} {kind} images"
            verb = "repeats" if features.repeats == 1 else "repeat"
            notes.append(f"{images.name}: {counted} {verb} an earlier one, pixel for pixel.")
        if _are_constant(features):
            notes.append(
                f"{reference.extractor.identity.name} gives all images of {images.name} the same "
                "features, although they differ: these scores mean nothing; use another extractor."
            )
    return notes


def _are_constant(features: Features) -> bool:
    """Return whether different images have equal features, up to the rounding of float32."""
    if features.repeats == len(features.vectors) - 1:
        return False
    largest_range = float(np.ptp(features.vectors, axis=0).max())
    return largest_range <= 1e-6 * float(np.abs(features.vectors).max())


def _circumstances(generated: ImageSet, reference: Reference) -> list[str]:
    """Return notes on the extractor, the image sizes, the numbers of images and the holdout."""
    identity, reals = reference.extractor.identity, reference.images
    notes = []
    if identity.name == "lite2":
        notes.append(
            "The features are EfficientNet-Lite2's, so this distance is not FID. It favors "
            "projected recipes, whose discriminator has a backbone of the same architecture family "
            "(EfficientNet-Lite0, also trained on ImageNet); compare raw-64 or inception as well."
        )
    if identity.name == "inception" and not identity.resize.startswith("clean"):
        notes.append(
            f"Images were resized by the legacy rule {identity.resize}, not by the clean one."
        )
    shapes = [images.shape for images in (generated, reals)]
    if shapes[0] != shapes[1]:
        shown = [f"{width} x {height}" for height, width in shapes]
        notes.append(
            f"{generated.name} has images of {shown[0]} pixels, {reals.name} of {shown[1]}: the "
            "difference in size affects the score."
        )
    for images in (generated, reals):
        if images.count <= identity.feature_size:
            notes.append(
                f"{images.name}: {images.count:,} images are too few for the covariance of "
                f"{identity.feature_size:,} features, so {identity.frechet_name} is biased far "
                f"upwards; {identity.kernel_name} is unbiased."
            )
    if reference.unseen is None:
        notes.append("There is no holdout, so only exact copies were checked for memorization.")
    return notes
