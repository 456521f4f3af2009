"""Render procedural cat faces, for demonstrations and tests without photos.

Every cat is a pure function of its index. Shapes are signed distances, turned into soft masks and
painted from back to front. Arithmetic is float64, and noise is upsampled in integers, so that every
machine renders the same pixels.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from catgan.data.dataset.dataset import check_resolution
from catgan.data.dataset.prepare import OnProgress
from catgan.data.dataset.writer import DatasetWriter
from catgan.data.synthetic.canvas import Canvas, ellipse, intersection, noise, triangle, union
from catgan.data.synthetic.cat_coats import coat
from catgan.data.synthetic.cat_traits import EYES, NOSES, Traits, jittered, sample_traits
from catgan.parallel import ordered_map

# Increment when any pixel of any cat changes; cached datasets are keyed by it.
RENDERER_VERSION = 1

NAME = "procedural-cats"
LICENSE = "MIT"
CREDIT = "Cat faces drawn procedurally by catgan; no photo was used."

_WHITE = np.ones(3)
_INK = np.array([0.08, 0.05, 0.05])


def render_cat(index: int, size: int) -> np.ndarray:
    """Render cat number `index` (0 or more) as a size x size x 3 uint8 sRGB image.

    An index gives the same cat at every size (32, 64, 128 or 256).
    """
    check_resolution(size)
    rng = np.random.Generator(np.random.Philox(key=[index, RENDERER_VERSION]))
    factor = 2 if size < 64 else 1  # at 32 px, eyes and stripes need supersampling
    picture = _paint(sample_traits(rng), rng, size * factor)
    picture = picture.reshape(3, size, factor, size, factor).mean(axis=(2, 4))
    pixels = np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def write_procedural_cats(
    destination: Path, count: int, size: int, *, on_progress: OnProgress | None = None
) -> None:
    """Write a dataset of the first `count` cats; see `prepare` for `on_progress` and errors.

    The sha256 of a record is that of the cat's index, so that a cat is in the same split at every
    size.
    """
    with DatasetWriter(destination, size, name=NAME, license=LICENSE, credit=CREDIT) as writer:
        for index, image in ordered_map(partial(render_cat, size=size), range(count)):
            source = f"drawn cat {index}, version {RENDERER_VERSION}"
            sha256 = hashlib.sha256(source.encode()).hexdigest()
            writer.append(image, source=source, sha256=sha256, crop=(0, 0, size, size))
            if on_progress is not None:
                on_progress(index + 1, count, index + 1, 0)


def _paint(traits: Traits, rng: np.random.Generator, side: int) -> np.ndarray:
    """Paint a cat from back to front; return 3 x side x side, roughly in [0, 1]."""
    canvas = Canvas.blank(side, shift=traits.shift, tilt=traits.tilt, scale=traits.scale)
    fuzz = 0.5 * noise(rng, side, 56, 56) + 0.5 * noise(rng, side, 24, 24)
    _background(canvas, rng)
    fur = coat(canvas, traits, rng)
    body = ellipse(canvas.x, canvas.y, (0, 1.15), rng.uniform(0.6, 0.95), 0.8) + 0.02 * fuzz
    canvas.paint(fur, canvas.cover(body, 0.02))
    canvas.shade(1 - 0.28 * canvas.cover(body, 0.02))
    _ears(canvas, traits, fur, fuzz, rng)
    head = _head_shape(canvas, traits) + 0.013 * fuzz
    canvas.paint(_INK, 0.35 * canvas.cover(head - 0.02, 0.14))  # shadow on what is behind
    canvas.paint(fur, canvas.cover(head))
    _model_head(canvas, traits, head)
    for sign, name in zip((-1, 1), traits.eye_colors, strict=True):
        _eye(canvas, traits, sign, np.array(EYES[name]))
    _muzzle(canvas, traits)
    _whiskers(canvas, traits, rng)
    towards = np.sin(traits.light) * canvas.u - np.cos(traits.light) * canvas.v
    canvas.shade(1 + traits.light_strength * (towards - 0.1))
    return canvas.picture


def _background(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a gradient between two related colors, blurred blobs and slightly darker corners."""
    first = rng.uniform(0.2, 0.95) * (0.55 + 0.45 * rng.random(3))
    second = (first * rng.uniform(0.45, 1.5) + rng.uniform(-0.12, 0.12, 3)).clip(0, 1)
    angle = rng.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * canvas.u + np.sin(angle) * canvas.v) * 0.5 + 0.5
    canvas.paint(first, np.ones_like(along))
    canvas.paint(second, (along + 0.25 * noise(rng, along.shape[0], 3, 3)).clip(0, 1))
    for _ in range(int(rng.integers(0, 6))):
        center, radius = (rng.uniform(-1, 1), rng.uniform(-1, 0.6)), rng.uniform(0.1, 0.4)
        blob = canvas.cover(ellipse(canvas.u, canvas.v, center, radius, radius), 0.12)
        canvas.paint((first + rng.uniform(-0.2, 0.25)).clip(0, 1), rng.uniform(0.15, 0.5) * blob)
    canvas.shade(1 - 0.12 * (canvas.u**2 + canvas.v**2))


def _head_shape(canvas: Canvas, traits: Traits) -> np.ndarray:
    x, y = canvas.x, canvas.y
    skull = ellipse(x, y, (0, -0.06), traits.head_width, 0.58)
    cheeks = ellipse(np.abs(x), y, (traits.head_width * 0.5, 0.20), traits.cheek, 0.33)
    jaw = ellipse(x, y, (0.08 * traits.yaw, 0.36), 0.36 * traits.muzzle, 0.26)
    return union(union(skull, cheeks, 0.15), jaw, 0.15)


def _ears(
    canvas: Canvas, traits: Traits, fur: np.ndarray, fuzz: np.ndarray, rng: np.random.Generator
) -> None:
    skin = jittered((0.86, 0.62, 0.58), rng, 0.12)
    if traits.fur in ("black", "chocolate", "blue") and traits.pattern != "calico":
        skin *= 0.6
    rounding = rng.uniform(0.06, 0.20)
    for sign in (-1, 1):
        reach = traits.ear_spread * (1 - 0.18 * sign * traits.yaw) + 0.05
        inner, outer = (sign * 0.12, -0.42), (sign * traits.head_width * 0.94, -0.14)
        tip = (sign * reach, -0.42 - traits.ear_height)
        part, box = canvas.window((sign * 0.45, -0.6), 0.45, 0.55)
        ear = triangle(part.x, part.y, (inner, outer, tip), rounding) + 0.010 * fuzz[box]
        part.paint(0.93 * fur[:, *box], part.cover(ear))
        hollow = part.cover(ear + 0.085 + 0.02 * fuzz[box], 0.05)
        depth = (0.62 + 0.55 * (-0.35 - part.y)).clip(0.45, 1)  # darker towards the head
        part.paint(skin[:, None, None] * depth, 0.9 * hollow)
        # Long pale hairs grow over the inner edge.
        from_edge = (part.x - inner[0]) * sign + 0.30 * (part.y - inner[1]) - 0.12
        hairs = part.cover(from_edge + 0.06 * fuzz[box], 0.06) * hollow
        part.paint(0.5 * fur[:, *box] + 0.5, 0.6 * hairs)


def _model_head(canvas: Canvas, traits: Traits, head: np.ndarray) -> None:
    """Shade the head: dark towards the outline, a lit bridge of the nose, hollows beside it."""
    rim = np.clip(1 + head / 0.28, 0, 1)
    x, y = canvas.x - 0.09 * traits.yaw, canvas.y - 0.06 * traits.pitch
    bridge = canvas.cover(ellipse(x, y, (0, 0.02), 0.10, 0.34), 0.16)
    hollow = canvas.cover(ellipse(np.abs(x), y, (0.15, 0.10), 0.07, 0.14), 0.14)
    inside = canvas.cover(head)
    canvas.shade(1 + inside * (0.05 - 0.26 * rim * rim + 0.07 * bridge - 0.10 * hollow))


def _eye(canvas: Canvas, traits: Traits, sign: int, iris: np.ndarray) -> None:
    """Paint one eye; `sign` is -1 for the left of the picture and 1 for the right."""
    center = (sign * traits.eye_gap + 0.06 * traits.yaw, -0.07 + 0.04 * traits.pitch)
    width = traits.eye_size * (1 - 0.10 * sign * traits.yaw)
    height = width * traits.eye_open
    canvas, _ = canvas.window(center, width + 0.1, width + 0.1)
    x, y = canvas.x - center[0], canvas.y - center[1]
    cos, sin = np.cos(sign * traits.eye_slant), np.sin(sign * traits.eye_slant)
    along, across = cos * x - sin * y, cos * y + sin * x  # outer corners up
    # An almond is the intersection of two circles, one for each lid.
    radius = (width * width + height * height) / (2 * height)
    upper = np.hypot(along, across - (radius - height)) - radius
    lower = np.hypot(along, across + (radius - height)) - radius
    almond = intersection(upper, lower, 0.05)
    canvas.paint(_INK, 0.92 * canvas.cover(almond - 0.022, 0.015))
    opening = canvas.cover(almond)
    # Both eyes look slightly in the direction of the face; slit pupils are vertical.
    x, y = x - 0.02 * traits.yaw, y - 0.01 * traits.pitch
    iris_radius = 1.02 * max(0.92 * width, height)
    glow = 0.72 + 0.45 * np.clip(y / height * 0.5 + 0.35, 0, 1)
    ring = np.clip((np.hypot(x, y) / iris_radius - 0.72) / 0.28, 0, 1)
    canvas.paint((iris[:, None, None] * (glow * (1 - 0.55 * ring))).clip(0, 1), opening)
    tall = min(0.80 * height, 0.62 * iris_radius)
    pupil = ellipse(x, y, (0, 0), max(traits.pupil * tall, 0.02), tall)
    canvas.paint(_INK * 0.5, canvas.cover(pupil) * opening)
    canvas.shade(1 - 0.45 * canvas.cover(-upper - 0.05, 0.07) * opening)  # shadow of the lid
    spot = (width * (0.1 * traits.light - 0.30), -0.34 * height)
    glint = canvas.cover(ellipse(x, y, spot, 0.036, 0.034), 0.01)
    canvas.paint(_WHITE, 0.95 * opening * glint)
    glint = canvas.cover(ellipse(x, y, (0.30 * width, 0.40 * height), 0.02, 0.02), 0.02)
    canvas.paint(_WHITE, 0.35 * opening * glint)


def _muzzle(canvas: Canvas, traits: Traits) -> None:
    """Paint the whisker pads, the mouth and the nose."""
    canvas, _ = canvas.window((0.11 * traits.yaw, 0.36), 0.6, 0.5)
    x, y = canvas.x - 0.11 * traits.yaw, canvas.y - 0.07 * traits.pitch
    mirrored, size = np.abs(x), traits.muzzle
    pads = ellipse(mirrored, y, (0.125 * size, 0.335), 0.17 * size, 0.13 * size)
    lit = canvas.cover(pads, 0.06)
    below = canvas.cover(pads - 0.03, 0.09) * canvas.cover(0.36 - y, 0.1) * (1 - lit)
    canvas.shade(1 - 0.30 * below)
    canvas.paint(_WHITE, 0.13 * lit)

    lip = 0.335 + 0.05 * size
    smile = lip + 0.05 * size * (1 - (mirrored / (0.085 * size) - 1) ** 2)
    mouth = canvas.cover(np.abs(y - smile) - 0.007, 0.012)
    mouth *= canvas.cover(mirrored - 0.165 * size, 0.03)
    groove = canvas.cover(mirrored - 0.006, 0.012)
    groove *= canvas.cover(np.abs(y - (lip + 0.24) / 2) - (lip - 0.24) / 2, 0.02)
    canvas.paint(_INK, 0.75 * np.maximum(mouth, groove))

    half = 0.088 * size
    nose = triangle(x, y, ((-half, 0.195), (half, 0.195), (0, 0.195 + 1.25 * half)), 0.09) - 0.008
    tone = np.array(NOSES[traits.nose])
    canvas.paint(0.55 * tone, canvas.cover(nose - 0.012, 0.01))
    canvas.paint(tone[:, None, None] * (1.05 - 1.2 * np.clip(y - 0.21, 0, 1)), canvas.cover(nose))
    canvas.paint(_WHITE, 0.30 * canvas.cover(ellipse(x, y, (0, 0.212), 0.05 * size, 0.014), 0.02))
    nostrils = ellipse(mirrored, y, (0.042 * size, 0.243), 0.018, 0.010)
    canvas.paint(_INK, 0.7 * canvas.cover(nostrils, 0.012))


def _whiskers(canvas: Canvas, traits: Traits, rng: np.random.Generator) -> None:
    """Paint whiskers as thin parabolas, thinner and fainter towards their ends."""
    dark = traits.fur in ("white", "cream") and traits.pattern == "solid" and rng.random() < 0.4
    color = np.full(3, 0.4 if dark else 0.96)
    for sign in (-1, 1):
        root = sign * 0.15 * traits.muzzle + 0.11 * traits.yaw
        part, _ = canvas.window((root + sign * 0.4, 0.4), 0.45, 0.4)
        x = sign * (part.x - root)
        for row in range(4):
            start = 0.29 + 0.032 * row + 0.07 * traits.pitch
            slope = -0.30 + 0.19 * row + rng.uniform(-0.06, 0.06)
            curvature = rng.uniform(0.05, 0.35)
            length = traits.whiskers * rng.uniform(0.8, 1.15)
            along = (x / length).clip(0, 1)
            distance = np.abs(part.y - start - x * (slope + curvature * x))
            hair = np.clip((0.010 * (1 - 0.6 * along) - distance) / part.pixel + 0.5, 0, 1)
            part.paint(color, 0.62 * hair * np.sqrt(1 - along) * (x > 0))
