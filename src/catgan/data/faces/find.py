"""Find the cat faces in one photo: cascade proposals, framing, cropping, classification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catgan.data.faces.cascade import CascadeDetector
from catgan.data.faces.framing import (
    Frame,
    crop_frame,
    frame_of_box,
    outside_fraction,
    shrink_to_photo,
)
from catgan.data.faces.gates import FLOORS, Measures, brightness, sharpness
from catgan.data.faces.layout import closeness

# Maps uint8 images, N x 224 x 224 x 3, to the probabilities of ImageNet's classes, N x 1000, and
# EfficientNet's stride-32 feature maps, N x 320 x 7 x 7. The caller provides the network, because
# this package does not import torch.
Classify = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

CLASSIFIED_AT = 224  # px
CATS = slice(281, 286)  # tabby, tiger cat, Persian, Siamese, Egyptian
DOGS = slice(151, 269)


@dataclass(frozen=True)
class Face:
    """A candidate for a cat face; `crop` is uint8, size x size x 3."""

    frame: Frame
    measures: Measures
    crop: np.ndarray


def find_faces(
    photo: np.ndarray, size: int, detector: CascadeDetector, classify: Classify
) -> list[Face]:
    """Return the faces in an H x W x 3 uint8 photo, most evidence first, before any filtering.

    Crops are cut at any scale; `gates.rejection` decides which to use. Faces below `gates.FLOORS`
    are left out.
    """
    height, width = photo.shape[:2]
    boxes = [box for box in detector.find(photo) if box.evidence >= FLOORS["face"]]
    if not boxes:
        return []
    frames = [
        shrink_to_photo(frame_of_box(box.x, box.y, box.side, box.angle), width, height)
        for box in boxes
    ]
    probabilities, maps = classify(
        np.stack([crop_frame(photo, frame, CLASSIFIED_AT) for frame in frames])
    )
    cats, dogs = probabilities[:, CATS].sum(axis=1), probabilities[:, DOGS].sum(axis=1)
    closenesses = closeness(maps)
    faces = []
    for box, frame, cat, dog, close in zip(boxes, frames, cats, dogs, closenesses, strict=True):
        if cat < FLOORS["cat"]:
            continue
        crop = crop_frame(photo, frame, size)
        measures = Measures(
            side=round(frame.side, 2),
            outside=round(outside_fraction(frame, width, height), 4),
            cat=round(float(cat), 4),
            dog=round(float(dog), 4),
            closeness=round(float(close), 2),
            confidence=round(box.confidence, 3),
            evidence=round(box.evidence, 3),
            votes=box.votes,
            sharpness=round(sharpness(crop), 2),
            brightness=round(brightness(crop), 1),
        )
        faces.append(Face(frame, measures, crop))
    return faces
