"""One photo in, its cat faces out: proposed by the cascades, framed, cut, seen by a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catgan.data.faces.cascade import CascadeDetector
from catgan.data.faces.framing import Frame, cut, fitted, frame_of_box, outside_share
from catgan.data.faces.gates import FLOORS, Measures, brightness, sharpness
from catgan.data.faces.layout import closeness

# uint8 N x 224 x 224 x 3 to the probabilities of ImageNet's classes, N x 1000, and EfficientNet's
# map of stride 32, N x 320 x 7 x 7. The network is the caller's, since this room knows no torch.
Classify = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

CLASSIFIED_AT = 224  # px
CATS = slice(281, 286)  # tabby, tiger cat, Persian, Siamese, Egyptian
DOGS = slice(151, 269)


@dataclass(frozen=True)
class Face:
    """A cat's face, or what may be one: `crop` is uint8, size x size x 3."""

    frame: Frame
    measures: Measures
    crop: np.ndarray


def find_faces(
    photo: np.ndarray, size: int, detector: CascadeDetector, classify: Classify
) -> list[Face]:
    """The faces in an H x W x 3 uint8 photo, most evident first, none of them judged yet.

    `crop`s are cut whatever their scale; `gates.rejection` says which are of use. What lies below
    `gates.FLOORS` is no face to anyone and is left out.
    """
    height, width = photo.shape[:2]
    boxes = [box for box in detector.find(photo) if box.evidence >= FLOORS["face"]]
    if not boxes:
        return []
    frames = [
        fitted(frame_of_box(box.x, box.y, box.side, box.angle), width, height) for box in boxes
    ]
    probabilities, maps = classify(np.stack([cut(photo, frame, CLASSIFIED_AT) for frame in frames]))
    cats, dogs = probabilities[:, CATS].sum(axis=1), probabilities[:, DOGS].sum(axis=1)
    close = closeness(maps)
    faces = []
    for box, frame, cat, dog, near in zip(boxes, frames, cats, dogs, close, strict=True):
        if cat < FLOORS["cat"]:
            continue
        crop = cut(photo, frame, size)
        measures = Measures(
            side=round(frame.side, 2),
            outside=round(outside_share(frame, width, height), 4),
            cat=round(float(cat), 4),
            dog=round(float(dog), 4),
            closeness=round(float(near), 2),
            confidence=round(box.confidence, 3),
            evidence=round(box.evidence, 3),
            votes=box.votes,
            sharpness=round(sharpness(crop), 2),
            brightness=round(brightness(crop), 1),
        )
        faces.append(Face(frame, measures, crop))
    return faces
