"""Detect cat faces with OpenCV's cascades: coarse passes over the photo, then refinement per hit.

The cascades (Howse, 2015; detection after Viola and Jones, 2001) detect upright frontal faces. A
single pass over a photo finds few cats and many false positives. So coarse passes run over the
photo upright, mirrored and rotated to either side, with hardly any threshold; then each hit is
searched again at a fixed size and many angles. A face is detected in many neighboring windows, a
cushion in few. The mean of these windows, weighted by the cascade's confidence, gives the position
and the tilt of the face.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from catgan.data.faces.framing import Frame, warp_frame

PLAIN, EXTENDED = "haarcascade_frontalcatface.xml", "haarcascade_frontalcatface_extended.xml"

WORKING_SIDE = 480  # px, longest side in the coarse passes; larger photos are downscaled
MIN_BOX = 40  # px, smallest face box in the coarse passes
SCALE_STEP = 1.1
MAX_FACES = 6  # refined per photo, those with most windows first
MIN_WINDOWS = 2  # for a hit to be refined


@dataclass(frozen=True)
class Pass:
    """One coarse pass: the photo is rotated counter-clockwise by `angle` degrees, then mirrored."""

    cascade: str
    angle: float
    mirrored: bool


# These four find what all twenty passes of {both cascades} x {mirrored, not} x {0, 15, 30 degrees
# to either side} find, in a fifth of the time (docs/research/face-detection.md).
PASSES = (
    Pass(PLAIN, 0, False),
    Pass(EXTENDED, 0, True),
    Pass(EXTENDED, 30, False),
    Pass(EXTENDED, -30, False),
)

_REFINE_BOX = 40  # px, side of the face box in the refinement
_REFINE_CONTEXT = 2.0  # side of the refined patch, in boxes
_REFINE_ANGLES = (-24, -16, -8, 0, 8, 16, 24)  # degrees, relative to the angle of the hit
_REFINE_SCALE_STEP = 1.1


@dataclass(frozen=True)
class Box:
    """A detected face: center, side (pixels) and angle (degrees, see `Frame`) of its box.

    `votes` is the number of refinement windows that agree. `confidence` is the largest weight of
    the cascades' last stage among them; `evidence` is the log-sum-exp of all weights, so that many
    fair windows count as much as a few good ones.
    """

    x: float
    y: float
    side: float
    angle: float
    votes: int
    confidence: float
    evidence: float


class CascadeDetector:
    """Detects cat faces. Threads may share it: each loads its own cascades."""

    def __init__(self, passes: tuple[Pass, ...] = PASSES) -> None:
        self.passes = passes
        self._local = threading.local()

    def find(self, photo: np.ndarray) -> list[Box]:
        """Return the faces in an H x W x 3 uint8 photo, in its pixels, most evidence first."""
        height, width = photo.shape[:2]
        scale = min(1.0, WORKING_SIDE / max(height, width))
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        if min(size) < MIN_BOX:
            return []
        gray = cv2.cvtColor(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), _GRAY)
        windows = np.concatenate(
            [
                self._detect_coarse(level, coarse)
                for level in _pyramid(gray)
                for coarse in self.passes
                if level.reduction > 1 or not coarse.angle  # small faces: upright only, for speed
            ]
        )
        groups = [group for group in group_windows(windows) if len(group) >= MIN_WINDOWS]
        groups.sort(key=len, reverse=True)
        refined = [self._refine(gray, mean_box(group)) for group in groups[:MAX_FACES]]
        boxes = non_maximum_suppression([box for box in refined if box is not None])
        return [
            replace(box, x=box.x / scale, y=box.y / scale, side=box.side / scale) for box in boxes
        ]

    def _detect_coarse(self, level: _Level, coarse: Pass) -> np.ndarray:
        """Return the windows of one coarse pass over a level, in pixels of the first level."""
        height, width = level.gray.shape
        cosine = abs(math.cos(math.radians(coarse.angle)))
        sine = abs(math.sin(math.radians(coarse.angle)))
        rotated_width = round(height * sine + width * cosine)
        rotated_height = round(height * cosine + width * sine)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), coarse.angle, 1)
        matrix[:, 2] += (rotated_width - width) / 2, (rotated_height - height) / 2
        rotated = level.gray
        if coarse.angle:  # the first stage of the cascade rejects the gray corners
            size = (rotated_width, rotated_height)
            rotated = cv2.warpAffine(rotated, matrix, size, borderValue=128)
        windows = self._detect(rotated, coarse, SCALE_STEP, MIN_BOX, level.max_box)
        inverse = cv2.invertAffineTransform(matrix)
        windows[:, :2] = (windows[:, :2] @ inverse[:, :2].T + inverse[:, 2]) * level.reduction
        windows[:, 2] *= level.reduction
        return windows

    def _refine(self, gray: np.ndarray, coarse: Box) -> Box | None:
        """Detect a face again around a coarse box, at a fixed size and many angles."""
        margin = _REFINE_CONTEXT * math.sqrt(2) * coarse.side
        scale = _REFINE_BOX / coarse.side
        context = Frame(coarse.x, coarse.y, margin, 0)
        pixels = max(round(margin), 1)
        patch = cv2.resize(
            warp_frame(gray, context, pixels),
            (round(margin * scale),) * 2,
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        middle = len(patch) / 2
        side = round(_REFINE_CONTEXT * _REFINE_BOX)
        found = []
        for angle in _REFINE_ANGLES:
            view = Frame(middle, middle, side, coarse.angle + angle)
            rotated = warp_frame(patch, view, side)
            for cascade in (PLAIN, EXTENDED):
                for mirrored in (False, True):
                    windows = self._detect(
                        rotated,
                        Pass(cascade, view.angle, mirrored),
                        _REFINE_SCALE_STEP,
                        round(0.7 * _REFINE_BOX),
                        round(1.4 * _REFINE_BOX),
                    )
                    x, y = view.to_photo(windows[:, 0] / side, windows[:, 1] / side)
                    windows[:, 0] = coarse.x + (x - middle) / scale
                    windows[:, 1] = coarse.y + (y - middle) / scale
                    windows[:, 2] /= scale
                    found.append(windows)
        groups = group_windows(np.concatenate(found))
        return max(map(mean_box, groups), key=lambda box: box.evidence, default=None)

    def _detect(
        self, image: np.ndarray, settings: Pass, step: float, min_box: int, max_box: int
    ) -> np.ndarray:
        """Return windows as rows: center x, center y, side, angle, weight, in pixels of `image`."""
        image = np.ascontiguousarray(image[:, ::-1] if settings.mirrored else image)
        found, _, weights = self._cascade(settings.cascade).detectMultiScale3(
            image, step, 0, 0, (min_box, min_box), (max_box, max_box), True
        )
        windows = np.empty((len(found), 5))
        if len(found):
            boxes = np.asarray(found, dtype=np.float64)
            windows[:, 0] = boxes[:, 0] + boxes[:, 2] / 2
            windows[:, 1] = boxes[:, 1] + boxes[:, 3] / 2
            windows[:, 2] = boxes[:, 2]
            windows[:, 3] = settings.angle
            windows[:, 4] = np.ravel(weights)
            if settings.mirrored:
                windows[:, 0] = image.shape[1] - windows[:, 0]
        return windows

    def _cascade(self, name: str) -> cv2.CascadeClassifier:
        """Return this thread's classifier; OpenCV's is not thread-safe."""
        loaded = self._local.__dict__
        if name not in loaded:
            cv2.setNumThreads(1)  # photos run in parallel already; fixed order within one
            folder = Path(cv2.data.haarcascades)  # type: ignore[attr-defined]
            loaded[name] = cv2.CascadeClassifier(str(folder / name))
        return loaded[name]


@dataclass(frozen=True)
class _Level:
    """The photo downscaled by `reduction`, searched for boxes of `MIN_BOX` to `max_box` px."""

    gray: np.ndarray
    reduction: float
    max_box: int


def _pyramid(gray: np.ndarray) -> list[_Level]:
    """Return the photo at sizes halved repeatedly.

    OpenCV's own pyramid downscales without antialiasing, which misses large faces.
    """
    levels = []
    reduction = 1
    while min(gray.shape) // reduction >= MIN_BOX:
        size = gray.shape[1] // reduction, gray.shape[0] // reduction
        smaller = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        levels.append(_Level(smaller, float(reduction), 2 * MIN_BOX))
        reduction *= 2
    return levels


_GRAY = cv2.COLOR_RGB2GRAY
_MAX_GROUP_DISTANCE = 0.35  # between centers of windows of one face, in smaller sides
_MAX_GROUP_RATIO = 1.5  # between sides of windows of one face
_MIN_FACE_DISTANCE = 0.5  # between centers of two faces, in larger sides


def group_windows(windows: np.ndarray) -> list[np.ndarray]:
    """Group windows (rows as from `_detect`) by face, greedily around the one with most neighbors.

    Windows that overlap a group without belonging to it are dropped.
    """
    x, y, side = windows[:, 0], windows[:, 1], windows[:, 2]
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    ratio = side[:, None] / side if len(side) else np.empty((0, 0))
    near = distance < _MAX_GROUP_DISTANCE * np.minimum(side[:, None], side)
    near &= (ratio < _MAX_GROUP_RATIO) & (ratio > 1 / _MAX_GROUP_RATIO)
    remaining = np.ones(len(windows), dtype=bool)
    groups = []
    while remaining.any():
        neighbors = (near & remaining).sum(axis=1) * remaining
        members = near[neighbors.argmax()] & remaining
        group = windows[members]
        groups.append(group)
        center = group.mean(axis=0)
        from_center = np.hypot(x - center[0], y - center[1])
        remaining &= ~members & (from_center >= _MIN_FACE_DISTANCE * np.maximum(side, center[2]))
    return groups


def mean_box(group: np.ndarray) -> Box:
    """Return the mean box of a group of windows, weighted by their confidence."""
    weights = np.exp(group[:, 4])  # the last stage's weight is a sum of votes, similar to log-odds
    x, y, side, angle = (weights @ group[:, :4]) / weights.sum()
    return Box(
        float(x),
        float(y),
        float(side),
        float(angle),
        votes=len(group),
        confidence=float(group[:, 4].max()),
        evidence=float(np.log(weights.sum())),
    )


def non_maximum_suppression(boxes: list[Box]) -> list[Box]:
    """Sort boxes by evidence, descending, and drop those that overlap an earlier one."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda each: each.evidence, reverse=True):
        if all(
            math.hypot(box.x - other.x, box.y - other.y)
            >= _MIN_FACE_DISTANCE * max(box.side, other.side)
            for other in kept
        ):
            kept.append(box)
    return kept
