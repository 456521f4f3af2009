"""From a face to a crop: where the square lies, how much of it is outside the photo, its pixels.

The framing is that of Animal Faces-HQ (Choi et al., "StarGAN v2", CVPR 2020): the whole head with
its ears, the eyes level and always at the same height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from catgan.data.reading.images import resize

# Where the box of OpenCV's cat-face cascades lies in an AFHQ image, as the median over AFHQ's own
# images (docs/guides/prepare.md): the image is so many boxes wide, its center so many boxes below
# the box's.
CROP_PER_BOX = 1.57
DROP_PER_BOX = -0.105

SMALL_SHARE = 0.02  # of a crop that may be reflected without a second thought

_GRID = 64  # points a side that estimate how much of a crop is outside the photo
_MARGIN = 3  # pixels around a frame that cubic interpolation may look at


@dataclass(frozen=True)
class Frame:
    """A square in a photo: center and side in its pixels, `angle` in degrees.

    A pixel's area, not its center, has whole coordinates: an upright photo of width W spans 0 to W.
    A positive angle means that the face is turned clockwise, as seen, and is turned back.
    """

    x: float
    y: float
    side: float
    angle: float

    def to_photo(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Photo coordinates of points of the square, where (u, v) run from 0 to 1."""
        right, down = (np.asarray(u) - 0.5) * self.side, (np.asarray(v) - 0.5) * self.side
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return self.x + cosine * right - sine * down, self.y + sine * right + cosine * down

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the upright rectangle around the square."""
        x, y = self.to_photo(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def frame_of_box(x: float, y: float, side: float, angle: float) -> Frame:
    """The AFHQ frame of a face whose cascade box has this center, side and angle."""
    box = Frame(x, y, side, angle)
    center_x, center_y = box.to_photo(np.array(0.5), np.array(0.5 + DROP_PER_BOX))
    return Frame(float(center_x), float(center_y), side * CROP_PER_BOX, angle)


def fitted(frame: Frame, width: int, height: int) -> Frame:
    """The frame, tightened around its center (where the eyes are) as far as it needs and may be.

    It needs to while more than `SMALL_SHARE` of it lies outside the photo, and may by 12 %.
    """
    for percent in range(100, 87, -2):
        tighter = Frame(frame.x, frame.y, frame.side * percent / 100, frame.angle)
        if outside_share(tighter, width, height) <= SMALL_SHARE:
            break
    return tighter


def outside_share(frame: Frame, width: int, height: int) -> float:
    """Share of the frame's area, 0 to 1, that lies outside a photo of `width` x `height`."""
    steps = (np.arange(_GRID) + 0.5) / _GRID
    x, y = frame.to_photo(*np.meshgrid(steps, steps))
    return float(np.mean((x < 0) | (x >= width) | (y < 0) | (y >= height)))


def crop_box(frame: Frame, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole pixels of the photo that the frame touches: left, top, right, bottom."""
    left, top, right, bottom = frame.bounds()
    return (
        min(max(math.floor(left), 0), width - 1),
        min(max(math.floor(top), 0), height - 1),
        max(min(math.ceil(right), width), 1),
        max(min(math.ceil(bottom), height), 1),
    )


def cut(photo: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """The frame's content as size x size x 3 uint8, from an H x W x 3 uint8 photo.

    Turned and cut at the photo's own scale by cubic interpolation, then resampled by Pillow's
    Lanczos filter. What lies outside the photo is filled by reflection.
    """
    height, width = photo.shape[:2]
    left, top, right, bottom = crop_box(frame, width, height)
    left, top = max(left - _MARGIN, 0), max(top - _MARGIN, 0)
    part = np.ascontiguousarray(photo[top : bottom + _MARGIN, left : right + _MARGIN])
    inside = Frame(frame.x - left, frame.y - top, frame.side, frame.angle)
    return resize(sample(part, inside, max(round(frame.side), 1)), size)


def sample(image: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """The frame's content at size x size by cubic interpolation, without antialiasing.

    `image` is uint8, H x W or H x W x 3, sides below 32,768; outside it is continued by reflection.
    """
    x, y = frame.to_photo(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    matrix = np.empty((2, 3))
    for row, along in enumerate((x, y)):
        matrix[row, :2] = (along[1] - along[0]) / size, (along[2] - along[0]) / size
        # Pixel centers are at halves in our coordinates and at whole numbers in OpenCV's.
        matrix[row, 2] = along[0] - 0.5 + (matrix[row, 0] + matrix[row, 1]) / 2
    return cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
