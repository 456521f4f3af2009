"""Which faces become images: measures of a crop, thresholds, and the reason why one is rejected."""

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

MEASURED_AT = 128  # px: sharpness depends on the size of what is measured
_HASH_SIDE = 8  # 64 bits

# Below these the finder forgets what it saw, for else every cushion would be kept, named and shown.
# So no threshold may lie lower: it would promise what was never looked at.
FLOORS = {"face": 1.5, "cat": 0.02}


@dataclass(frozen=True)
class Measures:
    """What is known of a face beside its pixels.

    `side`: of the frame, in pixels of the photo. `outside`: share of the crop that is reflected.
    `cat`, `dog`: what the classifier gives to ImageNet's domestic cats, and to its dogs, 0 to 1.
    `closeness`: how much too close it is cut (see `layout`).
    `confidence`, `evidence`, `votes`: the cascades' (see `cascade.Box`). `sharpness`,
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
        """What both witnesses of a face say together: a weak one passes if it is well framed."""
        return self.evidence - max(self.closeness, 0.0)


@dataclass(frozen=True)
class Gates:
    """Thresholds, each of which a face has to pass.

    docs/research/face-detection.md says how they were chosen.

    Raises:
        CatganError: one lies below its floor (`FLOORS`).
    """

    face: float = 2.3  # least clarity: the evidence, less the closeness where that is positive
    cat: float = 0.15  # least probability of ImageNet's five domestic cats
    close: float = 2.6  # most closeness: a nose or an eye fills the crop
    enlarge: float = 2.0  # most that a crop is enlarged; 1 enlarges nothing
    outside: float = 0.1  # most of a crop that may be reflected because the photo ends
    sharpness: float = 2.0  # least, in percent
    brightness: float = 60.0  # least, of 255
    distance: float = 6.0  # most bits of 64 between hashes of near-duplicates; -1 keeps all

    def __post_init__(self) -> None:
        for name, floor in FLOORS.items():
            if (value := getattr(self, name)) < floor:
                raise CatganError(
                    f"gate {name}={value:g}: nothing below {floor:g} is taken for a face at all: "
                    f"give {floor:g} or more"
                )


def with_settings(gates: Gates, settings: Sequence[str]) -> Gates:
    """`gates` changed by texts such as "cat=0.3".

    Raises:
        CatganError: a name that no gate has, or a value that is no number or too low.
    """
    names = [field.name for field in fields(Gates)]
    for setting in settings:
        name, separator, text = setting.partition("=")
        if name not in names or not separator:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}=...?" if near else f"gates are {', '.join(names)}"
            raise CatganError(f"--gate {quoted(setting)}: is not a gate and its value: {hint}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            example = f"{name}={getattr(Gates(), name):g}"
            raise CatganError(
                f"--gate {quoted(setting)}: {quoted(text)} is not a number: try {example}"
            )
        gates = replace(gates, **{name: value})
    return gates


def rejection(measures: Measures, gates: Gates, size: int) -> str | None:
    """Why a face does not become a size x size image, or None if it does.

    The gates are asked in the order of what a person would say first.
    """
    least_side = size / gates.enlarge if gates.enlarge > 0 else math.inf
    if measures.cat < gates.cat:
        what = ", a dog" if measures.dog > max(0.3, measures.cat) else ""
        return f"not a cat{what}: {measures.cat:.2f} sure of a cat, less than {gates.cat:g}"
    if measures.closeness > gates.close:
        return f"a close-up: closeness {measures.closeness:.2f}, more than {gates.close:g}"
    if measures.clarity < gates.face:
        return f"not a clear face: clarity {measures.clarity:.2f}, less than {gates.face:g}"
    if measures.side < least_side:
        return f"too small: {measures.side:.1f} px, less than {least_side:.0f}"
    if measures.outside > gates.outside:
        return f"cut off: {measures.outside:.0%} outside the photo, more than {gates.outside:.0%}"
    if measures.brightness < gates.brightness:
        return f"too dark: {measures.brightness:.0f} of 255, less than {gates.brightness:g}"
    if measures.sharpness < gates.sharpness:
        return f"blurred: sharpness {measures.sharpness:.2f} %, less than {gates.sharpness:g}"
    return None


def sharpness(crop: np.ndarray) -> float:
    """Fine detail in percent of all contrast: RMS of the Laplacian over that of the gray values.

    `crop` is uint8, N x N x 3; measured at 128 px. Contrast and brightness have no influence.
    """
    gray = _gray(crop).astype(np.float64)
    detail = cv2.Laplacian(gray, cv2.CV_64F) / 8  # of a checkerboard: its own amplitude
    return float(100 * np.sqrt(np.mean(detail**2)) / (gray.std() + 1))


def brightness(crop: np.ndarray) -> float:
    """The gray value (0 to 255) that a twentieth of the crop exceeds: of a black cat, its eyes."""
    return float(np.percentile(_gray(crop), 95))


def _gray(crop: np.ndarray) -> np.ndarray:
    size = (MEASURED_AT, MEASURED_AT)
    kind = cv2.INTER_AREA if len(crop) > MEASURED_AT else cv2.INTER_LINEAR
    return cv2.cvtColor(cv2.resize(crop, size, interpolation=kind), cv2.COLOR_RGB2GRAY)


class NearDuplicates:
    """Remembers perceptual hashes (64-bit pHash); near-duplicates are within `limit` bits."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._hashes = np.empty(1024, dtype=np.uint64)
        self._count = 0

    def add(self, crop: np.ndarray) -> np.ndarray:
        """Remember an image, uint8 N x N x 3, and name the near-duplicates among those before it.

        Rows of (position among the images added, bits of difference, as it is or mirrored), int32,
        nearest first.
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
