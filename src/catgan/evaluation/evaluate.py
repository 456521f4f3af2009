"""One evaluation: a set of images against the reals, every number with its circumstances."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from catgan import __version__
from catgan.errors import CatganError
from catgan.evaluation.extractor import Extractor
from catgan.evaluation.features import Features, Progress, cached_features, extract_features
from catgan.evaluation.fingerprint import Fingerprint
from catgan.evaluation.frechet import Gaussian, frechet_distance, gaussian_of
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.kernel import KernelDistance, kernel_distance
from catgan.evaluation.manifold import manifold_scores
from catgan.evaluation.neighbours import Memorisation, closest_pairs, memorisation
from catgan.evaluation.path_length import PathLength, path_length

FORMAT = "catgan-evaluation"
FORMAT_VERSION = 1
_SHOWN = 12  # best, worst and closest images that are named in a result
_MINIMUM = 12  # images a side: halves of it still have the five neighbours that density needs


@dataclass(frozen=True)
class Scores:
    """The numbers of one set of images against another; see docs/evaluation.md for each."""

    frechet: float
    kernel: KernelDistance
    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class CurvePoint:
    """The Frechet distance of a random `count` of the generated images to all reals."""

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
    """All that was found out about `generated` against `reals` (both names).

    `floor`: two random halves of the reals against each other, `floor_count` images each: what a
    perfect generator would score at that count. `curve`: the Frechet distance over the number of
    generated images, `extrapolated` where its line in 1/N meets N = infinity (Chong and Forsyth,
    CVPR 2020). `repeats`: generated images that are pixel for pixel equal to an earlier one;
    `copies`: to a real one. `memorisation` is None without a holdout, `path_length` without access
    to the latents. `notes`: what a reader must know, in sentences.
    """

    generated: str
    reals: str
    fingerprint: Fingerprint
    scores: Scores
    floor: Scores
    floor_count: int
    curve: tuple[CurvePoint, ...]
    extrapolated: float
    repeats: int
    copies: int
    memorisation: Memorisation | None
    path_length: PathLength | None
    best: tuple[RankedImage, ...]
    worst: tuple[RankedImage, ...]
    closest: tuple[Pair, ...]
    notes: tuple[str, ...]
    catgan: str = __version__

    def line(self) -> str:
        """The evaluation in one line for the terminal."""
        identity, scores = self.fingerprint.extractor, self.scores
        return (
            f"{self.generated}: {identity.frechet_name} {scores.frechet:.4g} "
            f"(floor {self.floor.frechet:.4g} at {self.floor_count:,}), "
            f"{identity.kernel_name} {scores.kernel.mean:.3g} "
            f"± {scores.kernel.standard_deviation:.1g}, "
            f"precision {scores.precision:.3f}, recall {scores.recall:.3f}, "
            f"density {scores.density:.3f}, coverage {scores.coverage:.3f}; "
            f"{self.fingerprint.generated_count:,} samples, {self.fingerprint.reals_count:,} "
            f"{self.fingerprint.split} reals of {self.reals}"
        )

    def to_json(self) -> str:
        """The whole evaluation as JSON."""
        document = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(document, indent=2, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Latents:
    """Access to a generator's latents: `synthesise` maps n x `size` float64 to uint8 images."""

    synthesise: Callable[[np.ndarray], np.ndarray]
    size: int


def evaluate(
    generated: ImageSet,
    reals: ImageSet,
    extractor: Extractor,
    *,
    holdout: ImageSet | None = None,
    latents: Latents | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score `generated` against `reals`; `holdout` are images that the generator never saw.

    Features of dataset images are cached. `seed` decides the halves of the floor, the samples of
    the curve and the pieces of the memorisation report. `progress(stage, done, total)` is called
    throughout.

    Raises:
        CatganError: fewer than 12 images on a side, or images that cannot be read.
    """
    for images in (generated, reals):
        if images.count < _MINIMUM:
            raise CatganError(
                f"{images.name}: {images.count} images are too few to score; "
                f"give at least {_MINIMUM}, better 5,000"
            )
    report = progress or _silent
    real = cached_features(reals, extractor, progress=progress)
    unseen = cached_features(holdout, extractor, progress=progress) if holdout else None
    made = extract_features(generated, extractor, progress=progress)

    stages = ("distances", "floor", "curve", "neighbours")
    steps = iter(range(len(stages)))

    def step() -> None:
        done = next(steps)
        report(f"statistics: {stages[done]}", done, len(stages))

    step()
    scores, realism = _measure(made.vectors, real.vectors)
    step()
    random = np.random.Generator(np.random.Philox(seed))
    floor, floor_count = _floor(real.vectors, random)
    step()
    curve = _curve(made.vectors, gaussian_of(real.vectors), scores.frechet, random)
    step()
    memory = memorisation(made.vectors, real.vectors, unseen.vectors, seed=seed) if unseen else None
    ranked = _ranked(generated, made, realism)
    closest = _closest(generated, reals, made, real)
    report("statistics", len(stages), len(stages))
    length = _path_length(latents, extractor, seed, report) if latents else None

    return Evaluation(
        generated=generated.name,
        reals=reals.name,
        fingerprint=Fingerprint(
            extractor=extractor.identity,
            generated_count=generated.count,
            reals_count=reals.count,
            dataset=reals.dataset,
            split=reals.split,
            reals_sha256=real.sha256,
        ),
        scores=scores,
        floor=floor,
        floor_count=floor_count,
        curve=curve,
        extrapolated=_extrapolated(curve),
        repeats=made.repeats,
        copies=_copies(made, real),
        memorisation=memory,
        path_length=length,
        best=ranked[:_SHOWN],
        worst=ranked[: -_SHOWN - 1 : -1],
        closest=closest,
        notes=_notes(extractor, generated, reals, holdout),
    )


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


def _measure(generated: np.ndarray, reals: np.ndarray) -> tuple[Scores, np.ndarray]:
    """The scores of feature vectors (M x D) against those of reals (N x D), and their realism."""
    manifold = manifold_scores(reals, generated)
    # Subsets of the whole of a small set would all be the same one, and show no deviation.
    subset_size = min(1000, len(generated) // 2, len(reals) // 2)
    scores = Scores(
        frechet_distance(gaussian_of(reals), gaussian_of(generated)),
        kernel_distance(generated, reals, subset_size=subset_size),
        manifold.precision,
        manifold.recall,
        manifold.density,
        manifold.coverage,
    )
    return scores, manifold.realism


def _floor(real: np.ndarray, random: np.random.Generator) -> tuple[Scores, int]:
    order = random.permutation(len(real))
    half = len(real) // 2
    scores, _ = _measure(real[order[:half]], real[order[half : 2 * half]])
    return scores, half


def _curve(
    made: np.ndarray, reals: Gaussian, whole: float, random: np.random.Generator
) -> tuple[CurvePoint, ...]:
    """Eighth, quarter, half and all of the generated images, each a part of the next."""
    order = random.permutation(len(made))
    counts = sorted({max(2, len(made) // share) for share in (8, 4, 2)} - {len(made)})
    points = [
        CurvePoint(count, frechet_distance(reals, gaussian_of(made[order[:count]])))
        for count in counts
    ]
    return (*points, CurvePoint(len(made), whole))


def _extrapolated(curve: tuple[CurvePoint, ...]) -> float:
    inverse = np.array([1.0 / point.count for point in curve])
    values = np.array([point.frechet for point in curve])
    return float(np.polynomial.Polynomial.fit(inverse, values, 1)(0.0))


def _ranked(images: ImageSet, made: Features, realism: np.ndarray) -> tuple[RankedImage, ...]:
    """All generated images, the most realistic first."""
    return tuple(
        RankedImage(
            int(made.numbers[row]),
            images.captions(int(made.numbers[row])),
            float(realism[row]) if np.isfinite(realism[row]) else None,
        )
        for row in np.argsort(-realism, kind="stable")
    )


def _closest(images: ImageSet, reals: ImageSet, made: Features, real: Features) -> tuple[Pair, ...]:
    pairs = closest_pairs(made.vectors, real.vectors, _SHOWN)
    return tuple(
        Pair(
            int(made.numbers[row]),
            images.captions(int(made.numbers[row])),
            int(real.numbers[real_row]),
            reals.captions(int(real.numbers[real_row])),
            float(distance),
        )
        for row, real_row, distance in zip(
            pairs.samples, pairs.trained, pairs.distances, strict=True
        )
    )


def _copies(made: Features, real: Features) -> int:
    known = {digest.tobytes() for digest in real.digests}
    return sum(digest.tobytes() in known for digest in made.digests)


def _path_length(latents: Latents, extractor: Extractor, seed: int, report: Progress) -> PathLength:
    return path_length(
        lambda points: extractor.extract(latents.synthesise(points)),
        latents.size,
        seed=seed,
        progress=lambda done, total: report("path length", done, total),
    )


def _notes(
    extractor: Extractor, generated: ImageSet, reals: ImageSet, holdout: ImageSet | None
) -> tuple[str, ...]:
    identity = extractor.identity
    notes = []
    if identity.name == "lite2":
        notes.append(
            "The features are EfficientNet-Lite2's, not Inception's: this number is not FID. The "
            "discriminator of a projected recipe is its cousin (EfficientNet-Lite0, trained on the "
            "same ImageNet) and is flattered by it; read raw-64 or inception beside it."
        )
    if identity.name == "inception" and identity.resize != "clean":
        notes.append(
            f"Images were resized by the legacy rule {identity.resize}, not the clean one."
        )
    for images in (generated, reals):
        if images.count <= identity.feature_size:
            notes.append(
                f"{images.name}: {images.count:,} images are too few for the covariance of "
                f"{identity.feature_size:,} features, so {identity.frechet_name} is biased far "
                f"upwards; {identity.kernel_name} is not."
            )
    if holdout is None:
        notes.append("There is no holdout, so memorisation was not measured.")
    return tuple(notes)
