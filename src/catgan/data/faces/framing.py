"""Frame a detected face and cut it out of the photo, rotated upright.

The framing is that of Animal Faces-HQ (Choi et al., "StarGAN v2", CVPR 2020): the whole head with
its ears, the eyes level and always at the same height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from catgan.data.reading.images import resize

# Where the cascades' box lies in an AFHQ image, as the median over AFHQ's images
# (docs/research/face-detection.md): the side of the image, and how far its center is below that
# of the box, both in sides of the box.
CROP_PER_BOX = 1.57
DROP_PER_BOX = -0.105

MAX_OUTSIDE = 0.02  # fraction of a crop outside the photo above which its frame is shrunk

_GRID = 64  # points per side to estimate the fraction of a crop outside the photo
_MARGIN = 3  # px around a frame that cubic interpolation reads


@dataclass(frozen=True)
class Frame:
    """A square in a photo: center and side in its pixels, `angle` in degrees.

    Pixel edges, not centers, have whole coordinates: a photo of width W spans 0 to W. A positive
    angle means that the face is rotated clockwise as seen; cropping rotates it back.
    """

    x: float
    y: float
    side: float
    angle: float

    def to_photo(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map points (u, v) of the square, each in [0, 1], to photo coordinates (x, y)."""
        right, down = (np.asarray(u) - 0.5) * self.side, (np.asarray(v) - 0.5) * self.side
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return self.x + cosine * right - sine * down, self.y + sine * right + cosine * down

    def bounds(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of the upright bounding box of the square."""
        x, y = self.to_photo(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def frame_of_box(x: float, y: float, side: float, angle: float) -> Frame:
    """Return the AFHQ frame of a face whose cascade box has this center, side and angle."""
    box = Frame(x, y, side, angle)
    center_x, center_y = box.to_photo(np.array(0.5), np.array(0.5 + DROP_PER_BOX))
    return Frame(float(center_x), float(center_y), side * CROP_PER_BOX, angle)


def shrink_to_photo(frame: Frame, width: int, height: int) -> Frame:
    """Shrink a frame around its center until at most `MAX_OUTSIDE` of it lies outside the photo.

    It shrinks by at most 12 %, even if more still lies outside.
    """
    for percent in range(100, 87, -2):
        smaller = Frame(frame.x, frame.y, frame.side * percent / 100, frame.angle)
        if outside_fraction(smaller, width, height) <= MAX_OUTSIDE:
            break
    return smaller


def outside_fraction(frame: Frame, width: int, height: int) -> float:
    """Return the fraction of the frame's area, 0 to 1, outside a photo of `width` x `height`."""
    steps = (np.arange(_GRID) + 0.5) / _GRID
    x, y = frame.to_photo(*np.meshgrid(steps, steps))
    return float(np.mean((x < 0) | (x >= width) | (y < 0) | (y >= height)))


def crop_box(frame: Frame, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the photo's pixels that the frame touches: left, top, right, bottom (exclusive)."""
    left, top, right, bottom = frame.bounds()
    return (
        min(max(math.floor(left), 0), width - 1),
        min(max(math.floor(top), 0), height - 1),
        max(min(math.ceil(right), width), 1),
        max(min(math.ceil(bottom), height), 1),
    )


def crop_frame(photo: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """Crop a frame to size x size x 3 uint8, from an H x W x 3 uint8 photo.

    It is rotated and cropped at the photo's scale by cubic interpolation, then resampled by
    Pillow's Lanczos filter. Pixels outside the photo are filled by reflection.
    """
    height, width = photo.shape[:2]
    left, top, right, bottom = crop_box(frame, width, height)
    left, top = max(left - _MARGIN, 0), max(top - _MARGIN, 0)
    region = np.ascontiguousarray(photo[top : bottom + _MARGIN, left : right + _MARGIN])
    shifted = Frame(frame.x - left, frame.y - top, frame.side, frame.angle)
    return resize(warp_frame(region, shifted, max(round(frame.side), 1)), size)


def warp_frame(image: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """Warp a frame to size x size by cubic interpolation, without antialiasing.

    `image` is uint8, H x W or H x W x 3, with sides below 32,768 (OpenCV's limit). Pixels outside
    it are filled by reflection.
    """
    x, y = frame.to_photo(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    matrix = np.empty((2, 3))
    for row, along in enumerate((x, y)):
        matrix[row, :2] = (along[1] - along[0]) / size, (along[2] - along[0]) / size
        # Pixel centers are at half-integers in our coordinates, at integers in OpenCV's.
        matrix[row, 2] = along[0] - 0.5 + (matrix[row, 0] + matrix[row, 1]) / 2
    return cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
