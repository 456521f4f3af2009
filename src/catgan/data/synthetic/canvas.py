"""Paint soft-edged shapes given as signed distances, for `catgan.data.synthetic.procedural`.

A shape is an array of distances, negative inside. Lengths are in half-widths of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture (3 x H x W, float64), painted in place, and the coordinates of its pixels.

    `u`, `v` (H x W) are picture coordinates in [-1, 1], right and down. `x`, `y` (H x W) are face
    coordinates: shifted, rotated and scaled. `pixel` is the width of a pixel in face coordinates.
    """

    picture: np.ndarray
    u: np.ndarray
    v: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pixel: float

    @classmethod
    def blank(cls, side: int, *, shift: Point, tilt: float, scale: float) -> Canvas:
        """Return a black square picture with the face at `shift`, rotated by `tilt` radians."""
        steps = (np.arange(side) + 0.5) * (2 / side) - 1
        v, u = np.meshgrid(steps, steps, indexing="ij")
        right, down = (u - shift[0]) / scale, (v - shift[1]) / scale
        cos, sin = np.cos(tilt), np.sin(tilt)
        x, y = cos * right + sin * down, cos * down - sin * right
        return cls(np.zeros((3, side, side)), u, v, x, y, 2 / side / scale)

    def window(
        self, center: Point, half_width: float, half_height: float
    ) -> tuple[Canvas, tuple[slice, slice]]:
        """Return a view of the picture around a point of the face, and its rows and columns.

        Painting on the view changes the picture.
        """
        near = (np.abs(self.x - center[0]) < half_width) & (
            np.abs(self.y - center[1]) < half_height
        )
        box = _bounds(near)
        picture = self.picture[:, *box]
        coordinates = (self.u[box], self.v[box], self.x[box], self.y[box])
        return Canvas(picture, *coordinates, self.pixel), box

    def cover(self, distance: np.ndarray, softness: float = 0.0) -> np.ndarray:
        """Return a shape's coverage, 0 to 1; its edge is `softness` wide, plus antialiasing."""
        return np.clip(0.5 - distance / (softness + 1.5 * self.pixel), 0, 1)

    def paint(self, color: np.ndarray, mask: np.ndarray) -> None:
        """Blend a color, (3,) or 3 x H x W, into the picture by a mask (H x W) in [0, 1]."""
        blend(self.picture, color, mask)

    def shade(self, factor: np.ndarray) -> None:
        """Multiply the brightness by an H x W factor."""
        np.multiply(self.picture, factor, out=self.picture)


def blend(picture: np.ndarray, color: np.ndarray, mask: np.ndarray) -> None:
    """Blend a color, (3,) or 3 x H x W, into a 3 x H x W picture in place, by a mask in [0, 1]."""
    box = _bounds(mask != 0)
    color = color[:, None, None] if color.ndim == 1 else color[:, *box]
    change = color - picture[:, *box]
    change *= mask[box]
    picture[:, *box] += change


def _bounds(where: np.ndarray) -> tuple[slice, slice]:
    """Return the bounding rows and columns of all true elements; empty if there is none."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def noise(rng: np.random.Generator, side: int, across: int, down: int) -> np.ndarray:
    """Return smooth noise in [-1, 1], side x side, with about `across` x `down` bumps.

    Pillow upsamples it in integer arithmetic, so that it is the same on every machine.
    """
    grid = rng.integers(0, 256, (down + 3, across + 3), dtype=np.uint8)
    box = (1.0, 1.0, across + 2.0, down + 2.0)
    smooth = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC, box)
    return np.asarray(smooth, dtype=np.float64) * (2 / 255) - 1


def ellipse(x: np.ndarray, y: np.ndarray, center: Point, a: float, b: float) -> np.ndarray:
    """Return the approximate signed distance to an upright ellipse of half-axes a and b."""
    radius = np.sqrt(((x - center[0]) / a) ** 2 + ((y - center[1]) / b) ** 2)
    return (radius - 1) * min(a, b)


def union(first: np.ndarray, second: np.ndarray, fillet: float) -> np.ndarray:
    """Return the union of two shapes with a rounded inner corner (polynomial smooth minimum)."""
    overlap = np.maximum(fillet - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap / (4 * fillet)


def intersection(first: np.ndarray, second: np.ndarray, rounding: float) -> np.ndarray:
    """Return the intersection of two shapes with rounded corners."""
    return -union(-first, -second, rounding)


def triangle(
    x: np.ndarray, y: np.ndarray, corners: tuple[Point, Point, Point], rounding: float
) -> np.ndarray:
    """Return the approximate signed distance to a triangle with rounded corners.

    The corners may be clockwise or counter-clockwise.
    """
    (ax, ay), (bx, by), (cx, cy) = corners
    orientation = 1 if (bx - ax) * (cy - ay) > (by - ay) * (cx - ax) else -1
    edges = []
    for (px, py), (qx, qy) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = orientation * float(np.hypot(qx - px, qy - py))
        edges.append((x - px) * ((qy - py) / length) - (y - py) * ((qx - px) / length))
    return intersection(intersection(edges[0], edges[1], rounding), edges[2], rounding)
