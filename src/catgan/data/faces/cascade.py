"""Where OpenCV's cat-face cascades see a face: a coarse look at the photo, a close one at each hit.

The cascades (Howse, 2015; detection after Viola and Jones, 2001) know upright frontal faces. One
pass over a photo finds few cats and much else, so the photo is looked at upright, mirrored and
turned to either side with hardly any threshold, and what was seen is looked at again, closely, at
many angles: a face is seen in many neighboring windows, a cushion in few. The mean of these
windows, weighted by the cascade's confidence, is also where the face lies, and how it is turned.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from catgan.data.faces.framing import Frame, sample

PLAIN, EXTENDED = "haarcascade_frontalcatface.xml", "haarcascade_frontalcatface_extended.xml"

WORKING_SIDE = 480  # longest side of what the coarse look sees; larger photos are reduced to it
MIN_BOX = 40  # of a face in that, in pixels
SCALE_STEP = 1.1
MAX_FACES = 6  # close looks a photo, those with most windows first
MIN_WINDOWS = 2  # that make a close look worth its time


@dataclass(frozen=True)
class Pass:
    """One coarse look: the photo turned counter-clockwise by `angle` degrees, then mirrored."""

    cascade: str
    angle: float
    mirrored: bool


# Four looks find what all twenty of {both cascades} x {mirrored, not} x {0, 15, 30 degrees to
# either side} find in a fifth of the time (docs/research/face-detection.md).
PASSES = (
    Pass(PLAIN, 0, False),
    Pass(EXTENDED, 0, True),
    Pass(EXTENDED, 30, False),
    Pass(EXTENDED, -30, False),
)

_CLOSE_BOX = 40  # the face's box in a close look, in pixels
_CLOSE_VIEW = 2.0  # what a close look sees, in boxes
_CLOSE_ANGLES = (-24, -16, -8, 0, 8, 16, 24)  # around the angle of the coarse look
_CLOSE_STEP = 1.1


@dataclass(frozen=True)
class Box:
    """A face as the cascades see it: center, side (pixels) and tilt (see `Frame`) of its box.

    `votes` counts the windows of the close look that agree. `confidence` is the largest weight that
    the cascades' last stage gave to one of them, `evidence` the logarithm of the sum of the
    exponentials of all weights: many fair windows count as much as a few good ones.
    """

    x: float
    y: float
    side: float
    angle: float
    votes: int
    confidence: float
    evidence: float


class CascadeDetector:
    """Finds cat faces; safe to share among threads, each of which loads cascades of its own."""

    def __init__(self, passes: tuple[Pass, ...] = PASSES) -> None:
        self.passes = passes
        self._local = threading.local()

    def find(self, photo: np.ndarray) -> list[Box]:
        """The faces in an H x W x 3 uint8 photo, in its pixels, most evidence first; often none."""
        height, width = photo.shape[:2]
        scale = min(1.0, WORKING_SIDE / max(height, width))
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        if min(size) < MIN_BOX:
            return []
        gray = cv2.cvtColor(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), _GRAY)
        windows = np.concatenate(
            [
                self._coarse(level, look)
                for level in _pyramid(gray)
                for look in self.passes
                if level.shrunk > 1 or not look.angle  # small faces: upright only, for their cost
            ]
        )
        groups = [group for group in grouped(windows) if len(group) >= MIN_WINDOWS]
        groups.sort(key=len, reverse=True)
        found = [self._close(gray, mean_box(group)) for group in groups[:MAX_FACES]]
        boxes = distinct([box for box in found if box is not None])
        return [
            replace(box, x=box.x / scale, y=box.y / scale, side=box.side / scale) for box in boxes
        ]

    def _coarse(self, level: _Level, look: Pass) -> np.ndarray:
        height, width = level.gray.shape
        cosine = abs(math.cos(math.radians(look.angle)))
        sine = abs(math.sin(math.radians(look.angle)))
        turned_width = round(height * sine + width * cosine)
        turned_height = round(height * cosine + width * sine)
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), look.angle, 1)
        matrix[:, 2] += (turned_width - width) / 2, (turned_height - height) / 2
        turned = level.gray
        if look.angle:  # gray corners are dismissed by the first stage of the cascade
            turned = cv2.warpAffine(turned, matrix, (turned_width, turned_height), borderValue=128)
        windows = self._detect(turned, look, SCALE_STEP, MIN_BOX, level.largest_box)
        back = cv2.invertAffineTransform(matrix)
        windows[:, :2] = (windows[:, :2] @ back[:, :2].T + back[:, 2]) * level.shrunk
        windows[:, 2] *= level.shrunk
        return windows

    def _close(self, gray: np.ndarray, rough: Box) -> Box | None:
        """Look at a face again: its neighborhood, small, at many angles."""
        margin = _CLOSE_VIEW * math.sqrt(2) * rough.side
        scale = _CLOSE_BOX / rough.side
        around = Frame(rough.x, rough.y, margin, 0)
        pixels = max(round(margin), 1)
        patch = cv2.resize(
            sample(gray, around, pixels),
            (round(margin * scale),) * 2,
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        middle = len(patch) / 2
        side = round(_CLOSE_VIEW * _CLOSE_BOX)
        found = []
        for turn in _CLOSE_ANGLES:
            view = Frame(middle, middle, side, rough.angle + turn)
            turned = sample(patch, view, side)
            for cascade in (PLAIN, EXTENDED):
                for mirrored in (False, True):
                    look = Pass(cascade, view.angle, mirrored)
                    windows = self._detect(
                        turned, look, _CLOSE_STEP, round(0.7 * _CLOSE_BOX), round(1.4 * _CLOSE_BOX)
                    )
                    x, y = view.to_photo(windows[:, 0] / side, windows[:, 1] / side)
                    windows[:, 0] = rough.x + (x - middle) / scale
                    windows[:, 1] = rough.y + (y - middle) / scale
                    windows[:, 2] /= scale
                    found.append(windows)
        groups = grouped(np.concatenate(found))
        return max(map(mean_box, groups), key=lambda box: box.evidence, default=None)

    def _detect(
        self, image: np.ndarray, look: Pass, step: float, smallest: int, largest: int
    ) -> np.ndarray:
        """Windows as rows of center x, center y, side, angle, weight; pixels of `image`."""
        image = np.ascontiguousarray(image[:, ::-1] if look.mirrored else image)
        found, _, weights = self._cascade(look.cascade).detectMultiScale3(
            image, step, 0, 0, (smallest, smallest), (largest, largest), True
        )
        windows = np.empty((len(found), 5))
        if len(found):
            boxes = np.asarray(found, dtype=np.float64)
            windows[:, 0] = boxes[:, 0] + boxes[:, 2] / 2
            windows[:, 1] = boxes[:, 1] + boxes[:, 3] / 2
            windows[:, 2] = boxes[:, 2]
            windows[:, 3] = look.angle
            windows[:, 4] = np.ravel(weights)
            if look.mirrored:
                windows[:, 0] = image.shape[1] - windows[:, 0]
        return windows

    def _cascade(self, name: str) -> cv2.CascadeClassifier:
        """This thread's own classifier: OpenCV's keeps state while it works."""
        loaded = self._local.__dict__
        if name not in loaded:
            cv2.setNumThreads(1)  # photos are worked on side by side, and in a fixed order within
            folder = Path(cv2.data.haarcascades)  # type: ignore[attr-defined]
            loaded[name] = cv2.CascadeClassifier(str(folder / name))
        return loaded[name]


@dataclass(frozen=True)
class _Level:
    """The photo shrunk by `shrunk`, for faces from `MIN_BOX` to `largest_box` in it."""

    gray: np.ndarray
    shrunk: float
    largest_box: int


def _pyramid(gray: np.ndarray) -> list[_Level]:
    """The photo at halving sizes. OpenCV's own pyramid shrinks without a filter, which large faces,
    shrunk most, do not survive."""
    levels = []
    shrunk = 1
    while min(gray.shape) // shrunk >= MIN_BOX:
        size = gray.shape[1] // shrunk, gray.shape[0] // shrunk
        smaller = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        levels.append(_Level(smaller, float(shrunk), 2 * MIN_BOX))
        shrunk *= 2
    return levels


_GRAY = cv2.COLOR_RGB2GRAY
_NEAR = 0.35  # of the smaller side: centers of windows of one face
_ALIKE = 1.5  # ratio of sides of windows of one face
_OVERLAP = 0.5  # of the larger side: centers of boxes that cannot be two faces


def grouped(windows: np.ndarray) -> list[np.ndarray]:
    """Windows (rows as of `_detect`) gathered by face, each time around the one with most company.

    Windows that overlap a gathered group without belonging to it are dropped with it.
    """
    x, y, side = windows[:, 0], windows[:, 1], windows[:, 2]
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    ratio = side[:, None] / side if len(side) else np.empty((0, 0))
    near = distance < _NEAR * np.minimum(side[:, None], side)
    near &= (ratio < _ALIKE) & (ratio > 1 / _ALIKE)
    left = np.ones(len(windows), dtype=bool)
    groups = []
    while left.any():
        company = (near & left).sum(axis=1) * left
        members = near[company.argmax()] & left
        group = windows[members]
        groups.append(group)
        center = group.mean(axis=0)
        away = np.hypot(x - center[0], y - center[1])
        left &= ~members & (away >= _OVERLAP * np.maximum(side, center[2]))
    return groups


def mean_box(group: np.ndarray) -> Box:
    """The box that a group of windows agrees on, each counted by its weight."""
    trust = np.exp(group[:, 4])  # the last stage's weight is a sum of votes, like a log-odds
    x, y, side, angle = (trust @ group[:, :4]) / trust.sum()
    return Box(
        float(x),
        float(y),
        float(side),
        float(angle),
        votes=len(group),
        confidence=float(group[:, 4].max()),
        evidence=float(np.log(trust.sum())),
    )


def distinct(boxes: list[Box]) -> list[Box]:
    """Boxes with most evidence first, without those that overlap an earlier one."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda each: each.evidence, reverse=True):
        if all(
            math.hypot(box.x - other.x, box.y - other.y) >= _OVERLAP * max(box.side, other.side)
            for other in kept
        ):
            kept.append(box)
    return kept
