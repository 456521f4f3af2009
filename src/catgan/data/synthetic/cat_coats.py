"""Paint the fur of a procedural cat: base color, pattern, markings, strands."""

from __future__ import annotations

import numpy as np

from catgan.data.synthetic.canvas import Canvas, blend, ellipse, noise
from catgan.data.synthetic.cat_traits import FURS, Traits, jittered


def coat(canvas: Canvas, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Return the color of the fur at every pixel, 3 x side x side, also outside the cat."""
    side = canvas.picture.shape[-1]
    x, y = canvas.x - 0.07 * traits.yaw, canvas.y  # markings rotate with the face
    base, dark, light = (jittered(color, rng, 0.10) for color in FURS[traits.fur])
    white = jittered(FURS["white"][0], rng, 0.03)
    wobble = noise(rng, side, 7, 7)
    fur = np.empty((3, side, side))
    fur[:] = base[:, None, None]
    match traits.pattern:
        case "siamese":
            _points(fur, canvas, x, wobble, base, dark, rng)
        case "calico" | "tortie":
            orange = jittered(FURS["orange"][0], rng, 0.10)
            fine = 0.45 if traits.pattern == "tortie" else 0.15
            patches = noise(rng, side, 4, 4) + fine * noise(rng, side, 14, 14)
            blend(fur, orange, canvas.cover(-patches - rng.uniform(-0.6, 0.6) * x, 0.10))
            if traits.pattern == "calico":
                bare = noise(rng, side, 3, 3) + 0.15 * wobble + 0.9 * (0.15 - y) + 0.5 * np.abs(x)
                blend(fur, white, canvas.cover(bare - rng.uniform(0.25, 0.6), 0.06))
        case _:
            if traits.fur != "white":
                _stripes(fur, canvas, traits, x, wobble, dark, rng)
                _pale_parts(fur, canvas, traits, x, wobble, light)
            if traits.pattern == "tuxedo":
                _blaze(fur, canvas, x, wobble, white, rng)
    strands = 0.6 * noise(rng, side, 64, 24) + 0.4 * noise(rng, side, 26, 48)
    fur *= 1 + 0.09 * strands + 0.06 * wobble
    return np.clip(fur, 0, 1, out=fur)


def _points(
    fur: np.ndarray,
    canvas: Canvas,
    x: np.ndarray,
    wobble: np.ndarray,
    base: np.ndarray,
    dark: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Paint Siamese points: pale fur, a dark mask around the nose and dark ears."""
    fur[:] = jittered((0.91, 0.85, 0.75), rng, 0.05)[:, None, None]
    point = 0.45 * base + 0.55 * dark
    reach = rng.uniform(0.85, 1.2)
    face = ellipse(x, canvas.y, (0, 0.20), 0.34 * reach, 0.40 * reach) + 0.05 * wobble
    blend(fur, point, 0.95 * canvas.cover(face, 0.36))
    blend(fur, 0.9 * point, canvas.cover(canvas.y + 0.55 + 0.05 * wobble, 0.22))


def _stripes(
    fur: np.ndarray,
    canvas: Canvas,
    traits: Traits,
    x: np.ndarray,
    wobble: np.ndarray,
    dark: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Paint tabby markings: the M on the forehead, lines on cheeks, body and beside the eyes."""
    y, mirrored = canvas.y, np.abs(x)
    fan = mirrored / (0.9 - 0.75 * np.minimum(y, 0))  # forehead lines spread upwards
    crown = np.cos(rng.uniform(21, 27) * fan + 1.1 * wobble + rng.uniform(-0.5, 0.5))
    on_crown = canvas.cover(y + 0.20 + 0.25 * mirrored, 0.12) * canvas.cover(mirrored - 0.42, 0.2)
    out = mirrored - 0.4
    sweep = rng.uniform(22, 28) * (y - 0.35 * out + 0.25 * out * out)
    cheek = np.cos(sweep + 1.2 * wobble + rng.uniform(-1, 1))
    on_cheek = canvas.cover(-out - 0.02, 0.15) * canvas.cover(-0.12 - y, 0.2)
    on_body = 0.7 * canvas.cover(0.62 - y, 0.1)
    eye_line = np.abs(y + 0.02 - 0.45 * (mirrored - traits.eye_gap)) - 0.022
    past_eye = canvas.cover(traits.eye_gap + traits.eye_size - 0.04 - mirrored, 0.06)
    mask = np.clip(1.6 * crown - 0.1, 0, 1) * on_crown
    np.maximum(mask, np.clip(1.6 * cheek - 0.2, 0, 1) * np.maximum(on_cheek, on_body), out=mask)
    np.maximum(mask, canvas.cover(eye_line, 0.04) * past_eye, out=mask)
    blend(fur, dark, 0.85 * traits.stripes * mask)


def _pale_parts(
    fur: np.ndarray,
    canvas: Canvas,
    traits: Traits,
    x: np.ndarray,
    wobble: np.ndarray,
    light: np.ndarray,
) -> None:
    """Lighten the chin, the cheeks and rings around the eyes."""
    strength = 0.85 if traits.pattern == "tabby" else 0.4
    chin = ellipse(x, canvas.y, (0, 0.46), 0.34, 0.26) + 0.04 * wobble
    blend(fur, light, strength * canvas.cover(chin, 0.18))
    ring = ellipse(
        np.abs(x), canvas.y, (traits.eye_gap, -0.09), 1.35 * traits.eye_size, 1.3 * traits.eye_size
    )
    blend(fur, light, 0.55 * strength * canvas.cover(ring, 0.12))


def _blaze(
    fur: np.ndarray,
    canvas: Canvas,
    x: np.ndarray,
    wobble: np.ndarray,
    white: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Paint tuxedo white, from a line on the forehead over the muzzle to the chest."""
    y = canvas.y
    lean, narrow, flare = rng.uniform(-0.12, 0.12), rng.uniform(-0.08, 0.10), rng.uniform(0.3, 0.75)
    line = np.abs(x - lean * y) - narrow - flare * np.maximum(y + 0.25, 0) + 0.05 * wobble
    bib = ellipse(x, y, (0, 0.52), rng.uniform(0.3, 0.5), rng.uniform(0.26, 0.4)) + 0.06 * wobble
    blend(fur, white, canvas.cover(np.minimum(line, bib), 0.03))
