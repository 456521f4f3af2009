"""Filter faces: measures of a crop, thresholds (gates), and reasons for rejection."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import imagehash
import numpy as np
from PIL import Image

from catgan.errors import CatganError, quoted

MEASURED_AT = 128  # px; sharpness depends on the size
_HASH_SIDE = 8  # 64 bits

# `find_faces` drops what is below these, or every cushion would be recorded and reported. So no
# threshold may be lower: it could not bring back what was dropped.
FLOORS = {"face": 1.5, "cat": 0.02}


@dataclass(frozen=True)
class Measures:
    """Measures of a face.

    `side`: of the frame, in pixels of the photo. `outside`: fraction of the crop outside the photo.
    `cat`, `dog`: probability of ImageNet's domestic cats, and of its dogs, 0 to 1.
    `closeness`: how much too close the crop is (see `layout`).
    `confidence`, `evidence`, `votes`: from the cascades (see `cascade.Box`). `sharpness`,
    `brightness`: see the functions of these names.
    """

    side: float
    outside: float
    cat: float
    dog: float
    closeness: float
    confidence: float
    evidence: float
    votes: int
    sharpness: float
    brightness: float

    @property
    def clarity(self) -> float:
        """Evidence less positive closeness: a weak detection passes if it is well framed."""
        return self.evidence - max(self.closeness, 0.0)


@dataclass(frozen=True)
class Gates:
    """Thresholds, all of which a face has to pass.

    docs/research/face-detection.md says how they were chosen.

    Raises:
        CatganError: one is below its floor (`FLOORS`).
    """

    face: float = 2.3  # minimum clarity (evidence less positive closeness)
    cat: float = 0.15  # minimum probability of ImageNet's five domestic cats
    close: float = 2.6  # maximum closeness; above it a nose or an eye fills the crop
    enlarge: float = 2.0  # maximum enlargement of a crop; 1 allows none
    outside: float = 0.1  # maximum fraction of a crop outside the photo
    sharpness: float = 2.0  # minimum, in percent
    brightness: float = 60.0  # minimum, of 255
    distance: float = 6.0  # maximum of 64 bits between near-duplicates' hashes; -1 keeps all

    def __post_init__(self) -> None:
        for name, floor in FLOORS.items():
            if (value := getattr(self, name)) < floor:
                raise CatganError(
                    f"invalid gate {name}={value:g}: faces below {floor:g} are never recorded; "
                    f"give {floor:g} or more"
                )


def with_settings(gates: Gates, settings: Sequence[str]) -> Gates:
    """Return `gates` with settings such as "cat=0.3" applied.

    Raises:
        CatganError: a gate does not exist, or a value is not a finite number or too low.
    """
    names = [field.name for field in fields(Gates)]
    for setting in settings:
        name, separator, text = setting.partition("=")
        if name not in names or not separator:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}=...?" if near else f"gates are {', '.join(names)}"
            raise CatganError(f"invalid --gate {quoted(setting)}: expected NAME=VALUE; {hint}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            example = f"{name}={getattr(Gates(), name):g}"
            raise CatganError(
                f"invalid --gate {quoted(setting)}: {quoted(text)} is not a number; try {example}"
            )
        gates = replace(gates, **{name: value})
    return gates


def rejection(measures: Measures, gates: Gates, size: int) -> str | None:
    """Return why a face is rejected for a size x size image, or None if it passes.

    The gates are checked in the order in which a person would name the reasons.
    """
    min_side = size / gates.enlarge if gates.enlarge > 0 else math.inf
    if measures.cat < gates.cat:
        what = ", a dog" if measures.dog > max(0.3, measures.cat) else ""
        return f"not a cat{what}: probability {measures.cat:.2f}, less than {gates.cat:g}"
    if measures.closeness > gates.close:
        return f"a close-up: closeness {measures.closeness:.2f}, more than {gates.close:g}"
    if measures.clarity < gates.face:
        return f"not a clear face: clarity {measures.clarity:.2f}, less than {gates.face:g}"
    if measures.side < min_side:
        return f"too small: {measures.side:.1f} px, less than {min_side:.0f}"
    if measures.outside > gates.outside:
        return f"cut off: {measures.outside:.0%} outside the photo, more than {gates.outside:.0%}"
    if measures.brightness < gates.brightness:
        return f"too dark: {measures.brightness:.0f} of 255, less than {gates.brightness:g}"
    if measures.sharpness < gates.sharpness:
        return f"blurred: sharpness {measures.sharpness:.2f} %, less than {gates.sharpness:g}"
    return None


def sharpness(crop: np.ndarray) -> float:
    """Return fine detail as a percentage of contrast: RMS of the Laplacian over std of the grays.

    `crop` is uint8, N x N x 3; it is measured at 128 px. Contrast and brightness cancel out.
    """
    gray = _gray(crop).astype(np.float64)
    detail = cv2.Laplacian(gray, cv2.CV_64F) / 8  # a checkerboard gives its own amplitude
    return float(100 * np.sqrt(np.mean(detail**2)) / (gray.std() + 1))


def brightness(crop: np.ndarray) -> float:
    """Return the 95th percentile of the gray values, 0 to 255: on a black cat, its eyes."""
    return float(np.percentile(_gray(crop), 95))


def _gray(crop: np.ndarray) -> np.ndarray:
    size = (MEASURED_AT, MEASURED_AT)
    interpolation = cv2.INTER_AREA if len(crop) > MEASURED_AT else cv2.INTER_LINEAR
    return cv2.cvtColor(cv2.resize(crop, size, interpolation=interpolation), cv2.COLOR_RGB2GRAY)


class NearDuplicates:
    """An index of 64-bit perceptual hashes (pHash) that finds those within `limit` bits."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._hashes = np.empty(1024, dtype=np.uint64)
        self._count = 0

    def add(self, crop: np.ndarray) -> np.ndarray:
        """Add an image, uint8 N x N x 3, and return its near-duplicates among those added before.

        They are rows of (index of the image, differing bits), int32, nearest first. The mirrored
        image is compared, too; the smaller difference counts.
        """
        own, mirrored = _hash(crop), _hash(crop[:, ::-1])
        known = self._hashes[: self._count]
        bits = np.bitwise_count(np.stack([known ^ own, known ^ mirrored])).min(axis=0)
        (near,) = np.nonzero(bits <= self.limit)
        near = near[np.argsort(bits[near], kind="stable")]
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
        self._hashes[self._count] = own
        self._count += 1
        return np.stack([near, bits[near]], axis=1).astype(np.int32)


def _hash(crop: np.ndarray) -> np.uint64:
    image = Image.fromarray(np.ascontiguousarray(crop))
    bits = imagehash.phash(image, hash_size=_HASH_SIDE).hash
    return np.uint64(int.from_bytes(np.packbits(bits).tobytes(), "big"))
