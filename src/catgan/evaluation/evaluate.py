"""One evaluation: a set of images against the reals, every number with its circumstances."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from catgan import __version__
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.features import Features, Progress, extract_features
from catgan.evaluation.fingerprint import Fingerprint
from catgan.evaluation.image_sets import Checkpoint, ImageSet
from catgan.evaluation.metrics.frechet import Gaussian, frechet_distance, gaussian_of
from catgan.evaluation.metrics.manifold import ManifoldScores
from catgan.evaluation.metrics.nearest_neighbors import Memorization, closest_pairs, memorization
from catgan.evaluation.metrics.path_length import PathLength, path_length
from catgan.evaluation.reference import Reference, require_enough
from catgan.evaluation.scores import Scores, score_features

FORMAT = "catgan-evaluation"
FORMAT_VERSION = 3
_SHOWN = 12  # best, worst and closest images that are named in a result


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

    `checkpoint`: which state of a run was scored, None for images that are no run's. `floor`: two
    random halves of the reals against each other, `floor_count` images each: what a perfect
    generator would score at that count. `curve`: the Frechet distance over the number of generated
    images, `extrapolated` where its line in 1/N meets N = infinity (Chong and Forsyth, CVPR 2020).
    `repeats`: generated images that are pixel for pixel equal to an earlier one; `copies`: to a
    real one. `memorization` is None without a holdout, `path_length` without access to the latents.
    `notes`: what a reader must know, in sentences.
    """

    generated: str
    checkpoint: Checkpoint | None
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
        """What was scored: the name and, of a run, the images that it had seen."""
        if self.checkpoint is None:
            return self.generated
        return f"{self.generated} at {self.checkpoint}"

    def line(self) -> str:
        """The evaluation in one line for the terminal."""
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
        """The whole evaluation as JSON."""
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
    """Score `generated` against the reals of `reference`.

    `notes` are sentences about where the images come from, which join those of the evaluation.
    `seed` decides the samples of the curve, the pieces of the memorization report and the latents
    of the path length. `progress(stage, done, total)` is called throughout.

    Raises:
        CatganError: fewer than 12 images, or images that cannot be read.
    """
    require_enough(generated)
    report = progress or _silent
    reals, real, extractor = reference.images, reference.features, reference.extractor
    made = extract_features(generated, extractor, progress=progress)

    stage = f"statistics of {generated.name}, steps"
    report(stage, 0, 3)
    scores, manifold = score_features(
        made.vectors, real.vectors, gaussian=reference.gaussian, radii=reference.radii[1:]
    )
    report(stage, 1, 3)
    curve = _curve(made.vectors, reference.gaussian, scores.frechet, seed)
    report(stage, 2, 3)
    memory = None
    if reference.unseen is not None:
        memory = memorization(
            made.vectors,
            real.vectors,
            reference.unseen.vectors,
            to_train=manifold.distance,
            within_train=reference.radii[0],
            seed=seed,
        )
    report(stage, 3, 3)
    length = _path_length(latents, extractor, seed, report) if latents else None

    copies = _copies(made, real)
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
            reals_sha256=real.sha256,
        ),
        scores=scores,
        floor=reference.floor,
        floor_count=reference.floor_count,
        curve=curve,
        extrapolated=_extrapolated(curve),
        repeats=made.repeats,
        copies=copies,
        memorization=memory,
        path_length=length,
        best=_ranked(generated, made, manifold.realism, order[:_SHOWN]),
        worst=_ranked(generated, made, manifold.realism, order[: -_SHOWN - 1 : -1]),
        closest=_closest(generated, reals, made, real, manifold),
        notes=tuple(
            dict.fromkeys(  # each once, also where both sides have one name
                [
                    *_findings(generated, reference, made, copies),
                    *notes,
                    *_circumstances(generated, reference),
                ]
            )
        ),
    )


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


def _curve(made: np.ndarray, reals: Gaussian, whole: float, seed: int) -> tuple[CurvePoint, ...]:
    """Eighth, quarter, half and all of the generated images, each a part of the next."""
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(made))
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


def _ranked(
    images: ImageSet, made: Features, realism: np.ndarray, rows: np.ndarray
) -> tuple[RankedImage, ...]:
    return tuple(
        RankedImage(
            int(made.numbers[row]),
            images.captions(int(made.numbers[row])),
            float(realism[row]) if np.isfinite(realism[row]) else None,
        )
        for row in rows
    )


def _closest(
    images: ImageSet,
    reals: ImageSet,
    made: Features,
    real: Features,
    manifold: ManifoldScores,
) -> tuple[Pair, ...]:
    found = manifold.nearest, manifold.distance
    pairs = closest_pairs(made.vectors, real.vectors, found, _SHOWN)
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
        lambda points: extractor.extract(latents.synthesize(points)),
        latents.size,
        seed=seed,
        progress=lambda done, total: report("path length", done, total),
    )


def _findings(generated: ImageSet, reference: Reference, made: Features, copies: int) -> list[str]:
    """What the pixels and the features give away: copies, repeats, an extractor that is blind."""
    reals, real = reference.images, reference.features
    notes = []
    if made.sha256 == real.sha256:
        notes.append(
            f"{generated.name} and {reals.name} are the same images, pixel for pixel: scored "
            "against itself, a set is always perfect."
        )
    elif copies:
        counted = f"{copies:,} of {generated.count:,} generated images"
        what = "is a pixel for pixel copy" if copies == 1 else "are pixel for pixel copies"
        notes.append(f"{generated.name}: {counted} {what} of a real one.")
    for images, features, kind in ((generated, made, "generated"), (reals, real, "real")):
        if features.repeats:
            counted = f"{features.repeats:,} of {images.count:,} {kind} images"
            verb = "repeats" if features.repeats == 1 else "repeat"
            notes.append(f"{images.name}: {counted} {verb} an earlier one, pixel for pixel.")
        if _are_constant(features):
            notes.append(
                f"{reference.extractor.identity.name} gives all images of {images.name} the same "
                "features, different as they are: these scores mean nothing; use another extractor."
            )
    return notes


def _are_constant(features: Features) -> bool:
    """Whether images that differ have equal features, up to the rounding of float32."""
    if features.repeats == len(features.vectors) - 1:
        return False
    spread = float(np.ptp(features.vectors, axis=0).max())
    return spread <= 1e-6 * float(np.abs(features.vectors).max())


def _circumstances(generated: ImageSet, reference: Reference) -> list[str]:
    identity, reals = reference.extractor.identity, reference.images
    notes = []
    if identity.name == "lite2":
        notes.append(
            "The features are EfficientNet-Lite2's, not Inception's: this number is not FID. The "
            "discriminator of a projected recipe is its cousin (EfficientNet-Lite0, trained on the "
            "same ImageNet) and is flattered by it; read raw-64 or inception beside it."
        )
    if identity.name == "inception" and not identity.resize.startswith("clean"):
        notes.append(
            f"Images were resized by the legacy rule {identity.resize}, not the clean one."
        )
    shapes = [images.shape for images in (generated, reals)]
    if shapes[0] != shapes[1]:
        shown = [f"{width} x {height}" for height, width in shapes]
        notes.append(
            f"{generated.name} has images of {shown[0]} pixels, {reals.name} of {shown[1]}: what "
            "is lost or gained in size is a part of the score."
        )
    for images in (generated, reals):
        if images.count <= identity.feature_size:
            notes.append(
                f"{images.name}: {images.count:,} images are too few for the covariance of "
                f"{identity.feature_size:,} features, so {identity.frechet_name} is biased far "
                f"upwards; {identity.kernel_name} is not."
            )
    if reference.unseen is None:
        notes.append("There is no holdout, so of memorization only exact copies were looked for.")
    return notes
