"""What does each step of finding cat faces gain, and what does it cost?

    python benchmarks/faces.py PHOTOS AFHQ                 # every photo, 150 images of AFHQ
    python benchmarks/faces.py PHOTOS AFHQ --count 12      # a quick look

PHOTOS is a folder or zip with whole photos in `cat/` and `dog/`, AFHQ one with AFHQ's cats. Each
row of the table adds a step to the one before. A photo counts as found when the step leaves a box
in it, whatever is in the box; an image of AFHQ when the box lies where a face lies in AFHQ (center
within an eighth of the image, side within 1.4 times the usual). The gain is in percentage points of
the three columns before it. Milliseconds are processor time for a photo of PHOTOS, on one core, of
this step and all that it builds on; the gates cost too little to be told apart from the classifier.

All thresholds are the defaults of `Gates`. The lines below the table say what `catgan prepare
--faces` would write, and where AFHQ's own eyes, which its authors put at one height, are in our
crops.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from catgan.data.faces.cascade import EXTENDED, CascadeDetector, Pass
from catgan.data.faces.find import Classify, Face, find_faces
from catgan.data.faces.framing import CROP_PER_BOX, DROP_PER_BOX, Frame
from catgan.data.faces.gates import Gates, Measures, NearDuplicates, rejection
from catgan.data.reading.images import decode
from catgan.data.reading.sources import open_source
from catgan.networks.imagenet import imagenet_classifier

SIZE = 128
GATES = Gates()
_BOX = (0.5, 0.5 - DROP_PER_BOX / CROP_PER_BOX, 1 / CROP_PER_BOX)  # of a face in AFHQ

Square = tuple[float, float, float]  # center x, center y, side of a box; pixels
Find = Callable[[np.ndarray], list[Square]]


@dataclass(frozen=True)
class Row:
    """A step: the boxes that it leaves in each photo and in each image of AFHQ, and its cost."""

    name: str
    photos: list[list[Square]]
    afhq: list[list[Square]]
    seconds: float  # of processor time, for all photos


def plain_cascade() -> Find:
    """What OpenCV's documentation shows: one cascade, three neighbors."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / EXTENDED))

    def find(photo: np.ndarray) -> list[Square]:
        gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
        boxes = cascade.detectMultiScale(gray, 1.1, 3, minSize=(40, 40))
        return [(x + w / 2, y + h / 2, float(w)) for x, y, w, h in boxes]

    return find


def close_looks(detector: CascadeDetector) -> Find:
    """Boxes of the detector with as much evidence as the gate asks of a well framed face."""
    return lambda photo: [
        (box.x, box.y, box.side) for box in detector.find(photo) if box.evidence >= GATES.face
    ]


def timed(work: Callable[[np.ndarray], list], images: Sequence[np.ndarray]) -> tuple[list, float]:
    """What `work` gives for each image, and the processor time of all."""
    started = time.process_time()
    found = [work(image) for image in images]
    return found, time.process_time() - started


def verified(measures: Measures) -> bool:
    """The classifier alone: as much evidence as in the rows before, and sure of a cat."""
    return measures.evidence >= GATES.face and measures.cat >= GATES.cat


def framed(measures: Measures) -> bool:
    """And no close-up, and clear."""
    close = measures.closeness > GATES.close or measures.clarity < GATES.face
    return verified(measures) and not close


def passed(measures: Measures) -> bool:
    """And every other gate for a single face."""
    return rejection(measures, GATES, SIZE) is None


def without_twins(found: Sequence[Sequence[Face]]) -> set[int]:
    """The `id`s of faces that pass the gates and are no near-duplicate of one that did before."""
    near = NearDuplicates(GATES.distance)
    chosen: list[Face] = []
    kept: set[int] = set()
    for face in (face for faces in found for face in faces if passed(face.measures)):
        if not any(id(chosen[other]) in kept for other in near.add(face.crop)[:, 0]):
            kept.add(id(face))
        chosen.append(face)
    return kept


def square_of(face: Face) -> Square:
    """The cascade's box that a face's frame was made of."""
    x, y = face.frame.to_photo(np.array(0.5), np.array(0.5 - DROP_PER_BOX / CROP_PER_BOX))
    return float(x), float(y), face.frame.side / CROP_PER_BOX


def is_face_of_afhq(square: Square, side: int) -> bool:
    """Whether a box lies where AFHQ's framing puts a face."""
    x, y, width = (value / side for value in square)
    near = math.hypot(x - _BOX[0], y - _BOX[1]) < 1 / 8
    return near and 1 / 1.4 < width / _BOX[2] < 1.4


def photos(source: Path, most: int | None) -> list[tuple[str, np.ndarray]]:
    """Names and pixels of at most `most` photos, evenly spread over the source."""
    with open_source(source) as files:
        count = min(most or len(files), len(files))
        chosen = np.unique(np.linspace(0, len(files) - 1, count).astype(int))
        return [(files[number].name, decode(files[number].read())) for number in chosen]


def eye_heights(found: Sequence[list[Square]], images: Sequence[np.ndarray]) -> np.ndarray:
    """Height, in crop sides, at which the middle of each AFHQ image lies in its crop."""
    heights = []
    for squares, image in zip(found, images, strict=True):
        for x, y, width in squares[:1]:
            if is_face_of_afhq((x, y, width), len(image)):
                frame = Frame(x, y + DROP_PER_BOX * width, width * CROP_PER_BOX, 0)
                heights.append(0.5 + (len(image) / 2 - frame.y) / frame.side)
    return np.array(heights)


def rows(
    whole: Sequence[np.ndarray], afhq: Sequence[np.ndarray], classify: Classify
) -> tuple[list[Row], int]:
    """The table, and how many faces the last row leaves in the photos."""
    detector = CascadeDetector()
    steps = {
        "cascade alone, as in OpenCV's examples": plain_cascade(),
        "filtered reductions and close looks; coarse looks upright only": close_looks(
            CascadeDetector((Pass(EXTENDED, 0, False),))
        ),
        "coarse looks with both cascades, mirrored and turned": close_looks(detector),
    }
    table = []
    for name, find in steps.items():
        found, seconds = timed(find, whole)
        table.append(Row(name, found, timed(find, afhq)[0], seconds))

    def look(photo: np.ndarray) -> list[Face]:
        return find_faces(photo, SIZE, detector, classify)

    (in_whole, seconds), (in_afhq, _) = timed(look, whole), timed(look, afhq)
    distinct = without_twins(in_whole) | without_twins(in_afhq)
    judgments: dict[str, Callable[[Face], bool]] = {
        "is it a cat?": lambda face: verified(face.measures),
        "is it a close-up, is it clear?": lambda face: framed(face.measures),
        "the other gates for a face": lambda face: passed(face.measures),
        "of near-duplicates, the first": lambda face: id(face) in distinct,
    }
    for name, judge in judgments.items():
        left = [
            [[square_of(face) for face in faces if judge(face)] for faces in found]
            for found in (in_whole, in_afhq)
        ]
        table.append(Row(name, left[0], left[1], seconds))
    return table, sum(map(len, table[-1].photos))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("afhq", type=Path)
    parser.add_argument("--count", type=int, help="photos of PHOTOS; all unless given")
    parser.add_argument("--afhq-count", type=int, default=150, help="images of AFHQ")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    whole = photos(arguments.photos, arguments.count)
    afhq = [image for _, image in photos(arguments.afhq, arguments.afhq_count)]
    is_cat = np.array([name.startswith("cat/") for name, _ in whole])
    is_dog = np.array([name.startswith("dog/") for name, _ in whole])
    print(f"{is_cat.sum()} cat photos, {is_dog.sum()} dog photos, {len(afhq)} images of AFHQ\n")
    with imagenet_classifier() as classify:
        table, faces = rows([photo for _, photo in whole], afhq, classify)
    print("| step | cat photos | dog photos | AFHQ | gain | ms |\n|---|---|---|---|---|---|")
    before = np.zeros(3)
    for number, row in enumerate(table):
        found = np.array([bool(squares) for squares in row.photos])
        right = [
            any(is_face_of_afhq(square, len(image)) for square in squares)
            for squares, image in zip(row.afhq, afhq, strict=True)
        ]
        shares = 100 * np.array(
            [found[is_cat].mean(), found[is_dog].mean(), np.mean(right)], dtype=float
        )
        cells = " | ".join(f"{share:.1f} %" for share in shares)
        gain = ", ".join(f"{points:+.1f}" for points in shares - before) if number else ""
        print(f"| {row.name} | {cells} | {gain} | {1000 * row.seconds / len(whole):.0f} |")
        before = shares
    cats, dogs = found[is_cat].sum(), found[is_dog].sum()
    print(f"\n{faces} faces, from {cats} of the cat photos and {dogs} of the dog photos")
    heights = eye_heights(table[-1].afhq, afhq)
    low, high = np.percentile(heights, [5, 95]) if len(heights) else (math.nan, math.nan)
    print(
        f"height of the eyes in {len(heights)} crops of AFHQ: mean {heights.mean():.3f}, standard "
        f"deviation {heights.std():.3f}, nine in ten between {low:.3f} and {high:.3f} of the side"
    )


if __name__ == "__main__":
    main()
