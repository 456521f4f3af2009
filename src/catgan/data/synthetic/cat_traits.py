"""Sample the traits of procedural cats, for `catgan.data.synthetic.procedural`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catgan.data.synthetic.canvas import Point

# Colors of the base fur, dark markings and light underside: sRGB in [0, 1].
FURS = {
    "black": ((0.15, 0.14, 0.15), (0.07, 0.06, 0.07), (0.27, 0.25, 0.25)),
    "blue": ((0.46, 0.49, 0.55), (0.32, 0.34, 0.40), (0.63, 0.66, 0.71)),
    "white": ((0.93, 0.92, 0.90), (0.83, 0.81, 0.78), (0.99, 0.98, 0.97)),
    "cream": ((0.91, 0.79, 0.62), (0.79, 0.61, 0.41), (0.98, 0.93, 0.85)),
    "orange": ((0.87, 0.56, 0.25), (0.66, 0.33, 0.10), (0.98, 0.88, 0.73)),
    "brown": ((0.58, 0.46, 0.33), (0.22, 0.16, 0.11), (0.88, 0.79, 0.66)),
    "silver": ((0.71, 0.71, 0.70), (0.27, 0.27, 0.29), (0.94, 0.94, 0.93)),
    "chocolate": ((0.38, 0.25, 0.18), (0.22, 0.13, 0.09), (0.55, 0.41, 0.32)),
    "lilac": ((0.74, 0.66, 0.64), (0.58, 0.49, 0.48), (0.89, 0.84, 0.82)),
}
EYES = {
    "green": (0.52, 0.70, 0.30),
    "yellow": (0.90, 0.77, 0.24),
    "amber": (0.86, 0.56, 0.14),
    "copper": (0.72, 0.38, 0.13),
    "blue": (0.38, 0.64, 0.90),
    "aqua": (0.42, 0.74, 0.70),
    "hazel": (0.66, 0.64, 0.28),
}
NOSES = ((0.89, 0.58, 0.58), (0.76, 0.42, 0.38), (0.24, 0.17, 0.17), (0.45, 0.29, 0.25))
# Pattern, probability, and the furs to choose from.
PATTERNS = (
    ("solid", 0.17, ("black", "blue", "white", "cream", "orange", "chocolate", "lilac")),
    ("tabby", 0.33, ("orange", "brown", "silver", "cream", "blue", "brown", "orange")),
    ("tuxedo", 0.19, ("black", "blue", "orange", "chocolate", "brown", "silver")),
    ("siamese", 0.12, ("chocolate", "blue", "lilac", "black")),
    ("calico", 0.10, ("black", "blue", "brown")),
    ("tortie", 0.09, ("black", "chocolate", "blue")),
)


@dataclass(frozen=True)
class Traits:
    """The traits of one cat. Lengths are in half-widths of the picture."""

    pattern: str
    fur: str
    stripes: float  # strength of tabby markings, 0 to 1
    eye_colors: tuple[str, str]  # left and right in the picture
    nose: int
    head_width: float
    cheek: float
    ear_height: float
    ear_spread: float
    eye_size: float
    eye_open: float  # height over width
    eye_gap: float
    eye_slant: float  # radians, outer corners up
    pupil: float  # width over height: 0.2 a slit, 1 round
    muzzle: float
    whiskers: float  # length
    tilt: float  # radians
    yaw: float  # -1 to 1: the face is turned left or right
    pitch: float
    scale: float
    shift: Point
    light: float  # radians, direction of the light; 0 is from above
    light_strength: float


def sample_traits(rng: np.random.Generator) -> Traits:
    """Sample the traits of a cat, from uniform numbers only: they are equal on every platform."""

    def uniform(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def triangular(mode: float, half_width: float) -> float:
        return mode + half_width * float(rng.uniform(-0.5, 0.5) + rng.uniform(-0.5, 0.5))

    weights = np.cumsum([weight for _, weight, _ in PATTERNS])
    pattern, _, furs = PATTERNS[int(np.searchsorted(weights, rng.random() * weights[-1]))]
    fur = furs[rng.integers(len(furs))]
    names = list(EYES)
    eye = names[rng.integers(len(names))]
    if pattern == "siamese":
        eye = "blue"
    odd_eyed = fur == "white" and rng.random() < 0.25
    nose = int(rng.integers(len(NOSES)))
    if fur in ("white", "cream") and pattern == "solid":
        nose = 0
    return Traits(
        pattern=pattern,
        fur=fur,
        stripes=uniform(0.55, 1.0) if pattern == "tabby" else uniform(0.0, 0.35),
        eye_colors=(eye, "blue" if odd_eyed else eye),
        nose=nose,
        head_width=triangular(0.70, 0.07),
        cheek=triangular(0.36, 0.08),
        ear_height=triangular(0.50, 0.12),
        ear_spread=triangular(0.50, 0.09),
        eye_size=triangular(0.172, 0.035),
        eye_open=triangular(0.82, 0.24),
        eye_gap=triangular(0.30, 0.03),
        eye_slant=triangular(0.12, 0.16),
        pupil=uniform(0.18, 1.0),
        muzzle=triangular(1.0, 0.16),
        whiskers=triangular(0.55, 0.15),
        tilt=triangular(0.0, 0.20),
        yaw=triangular(0.0, 1.0),
        pitch=triangular(0.0, 0.8),
        scale=triangular(1.16, 0.09),
        shift=(triangular(0.0, 0.06), triangular(0.21, 0.04)),
        light=triangular(0.0, 1.2),
        light_strength=uniform(0.10, 0.30),
    )


def jittered(
    values: tuple[float, float, float], rng: np.random.Generator, amount: float
) -> np.ndarray:
    """Return a color (3,) with its brightness and channels changed at random."""
    brightness = 1 + amount * rng.uniform(-1, 1)
    return (np.array(values) * brightness + amount / 3 * rng.uniform(-1, 1, 3)).clip(0, 1)
