"""Measure gain and cost of each step of the cat face detection.

    python benchmarks/faces.py PHOTOS AFHQ                 # every photo, 150 images of AFHQ
    python benchmarks/faces.py PHOTOS AFHQ --count 12      # a quick check

PHOTOS is a folder or zip with whole photos in `cat/` and `dog/`; AFHQ is one with AFHQ's cats. Each
row of the table adds a step to the row before. A photo counts as a detection if any box is left in
it, whatever the box shows; an AFHQ image if the box lies where AFHQ's alignment puts the face
(center within an eighth of the image, side within a factor of 1.4). The gain is in percentage
points of the three columns before it. Milliseconds are processor time per photo of PHOTOS on one
core, for this step and all before it; the gates take too little time to measure separately from the
classifier.

All thresholds are the defaults of `Gates`. The lines below the table state what `catgan prepare
--faces` would write, and at which height our crops have the eyes of AFHQ's cats, which AFHQ aligns
to one height.
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
_AFHQ_BOX = (0.5, 0.5 - DROP_PER_BOX / CROP_PER_BOX, 1 / CROP_PER_BOX)  # of a face, as fractions

Square = tuple[float, float, float]  # center x, center y, side of a box; pixels
Find = Callable[[np.ndarray], list[Square]]


@dataclass(frozen=True)
class Row:
    """A step: the boxes left in each photo and in each AFHQ image, and its cost."""

    name: str
    photos: list[list[Square]]
    afhq: list[list[Square]]
    seconds: float  # of processor time, for all photos


def plain_cascade() -> Find:
    """Return the detector of OpenCV's documentation: one cascade, three neighbors."""
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / EXTENDED))

    def find(photo: np.ndarray) -> list[Square]:
        gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
        boxes = cascade.detectMultiScale(gray, 1.1, 3, minSize=(40, 40))
        return [(x + w / 2, y + h / 2, float(w)) for x, y, w, h in boxes]

    return find


def confident_boxes(detector: CascadeDetector) -> Find:
    """Return a function that finds the boxes with as much evidence as the face gate requires."""
    return lambda photo: [
        (box.x, box.y, box.side) for box in detector.find(photo) if box.evidence >= GATES.face
    ]


def timed(work: Callable[[np.ndarray], list], images: Sequence[np.ndarray]) -> tuple[list, float]:
    """Return the result of `work` for each image, and the processor time of all."""
    started = time.process_time()
    results = [work(image) for image in images]
    return results, time.process_time() - started


def is_cat_face(measures: Measures) -> bool:
    """Return whether detector and classifier pass."""
    return measures.evidence >= GATES.face and measures.cat >= GATES.cat


def is_well_framed(measures: Measures) -> bool:
    """Return whether the face also is no close-up and is clear."""
    close = measures.closeness > GATES.close or measures.clarity < GATES.face
    return is_cat_face(measures) and not close


def passes_all_gates(measures: Measures) -> bool:
    """Return whether the face passes every gate for a single face."""
    return rejection(measures, GATES, SIZE) is None


def without_near_duplicates(found: Sequence[Sequence[Face]]) -> set[int]:
    """Return the `id`s of faces that pass all gates and are no near-duplicate of a kept one."""
    near = NearDuplicates(GATES.distance)
    chosen: list[Face] = []
    kept: set[int] = set()
    for face in (face for faces in found for face in faces if passes_all_gates(face.measures)):
        if not any(id(chosen[other]) in kept for other in near.add(face.crop)[:, 0]):
            kept.add(id(face))
        chosen.append(face)
    return kept


def square_of(face: Face) -> Square:
    """Return the cascade's box from which a face's frame was computed."""
    x, y = face.frame.to_photo(np.array(0.5), np.array(0.5 - DROP_PER_BOX / CROP_PER_BOX))
    return float(x), float(y), face.frame.side / CROP_PER_BOX


def is_face_of_afhq(square: Square, side: int) -> bool:
    """Return whether a box lies where AFHQ's alignment puts the face."""
    x, y, width = (value / side for value in square)
    is_centered = math.hypot(x - _AFHQ_BOX[0], y - _AFHQ_BOX[1]) < 1 / 8
    return is_centered and 1 / 1.4 < width / _AFHQ_BOX[2] < 1.4


def read_photos(source: Path, max_count: int | None) -> list[tuple[str, np.ndarray]]:
    """Return names and pixels of at most `max_count` photos, evenly spaced over the source."""
    with open_source(source) as files:
        count = min(max_count or len(files), len(files))
        chosen = np.unique(np.linspace(0, len(files) - 1, count).astype(int))
        return [(files[number].name, decode(files[number].read())) for number in chosen]


def eye_heights(found: Sequence[list[Square]], images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the height, as a fraction of the crop, of the center of each AFHQ image."""
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
    """Return the table, and the number of faces that the last step leaves in the photos."""
    detector = CascadeDetector()
    steps = {
        "cascade alone, as in OpenCV's examples": plain_cascade(),
        "antialiased pyramid and fine pass; coarse pass upright only": confident_boxes(
            CascadeDetector((Pass(EXTENDED, 0, False),))
        ),
        "coarse pass with both cascades, mirrored and rotated": confident_boxes(detector),
    }
    table = []
    for name, find in steps.items():
        found, seconds = timed(find, whole)
        table.append(Row(name, found, timed(find, afhq)[0], seconds))

    def find_all(photo: np.ndarray) -> list[Face]:
        return find_faces(photo, SIZE, detector, classify)

    (in_whole, seconds), (in_afhq, _) = timed(find_all, whole), timed(find_all, afhq)
    distinct = without_near_duplicates(in_whole) | without_near_duplicates(in_afhq)
    gates: dict[str, Callable[[Face], bool]] = {
        "classifier: is it a cat?": lambda face: is_cat_face(face.measures),
        "no close-up, and clear": lambda face: is_well_framed(face.measures),
        "the other gates for a face": lambda face: passes_all_gates(face.measures),
        "the first of near-duplicates": lambda face: id(face) in distinct,
    }
    for name, passes in gates.items():
        in_photos, in_aligned = (
            [[square_of(face) for face in faces if passes(face)] for faces in found]
            for found in (in_whole, in_afhq)
        )
        table.append(Row(name, in_photos, in_aligned, seconds))
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
    whole = read_photos(arguments.photos, arguments.count)
    afhq = [image for _, image in read_photos(arguments.afhq, arguments.afhq_count)]
    is_cat = np.array([name.startswith("cat/") for name, _ in whole])
    is_dog = np.array([name.startswith("dog/") for name, _ in whole])
    print(f"{is_cat.sum()} cat photos, {is_dog.sum()} dog photos, {len(afhq)} images of AFHQ\n")
    with imagenet_classifier() as classify:
        table, faces = rows([photo for _, photo in whole], afhq, classify)
    print("| step | cat photos | dog photos | AFHQ | gain | ms |\n|---|---|---|---|---|---|")
    before = np.zeros(3)
    for number, row in enumerate(table):
        found = np.array([bool(squares) for squares in row.photos])
        correct = [
            any(is_face_of_afhq(square, len(image)) for square in squares)
            for squares, image in zip(row.afhq, afhq, strict=True)
        ]
        percentages = 100 * np.array(
            [found[is_cat].mean(), found[is_dog].mean(), np.mean(correct)], dtype=float
        )
        cells = " | ".join(f"{percentage:.1f} %" for percentage in percentages)
        gain = ", ".join(f"{points:+.1f}" for points in percentages - before) if number else ""
        print(f"| {row.name} | {cells} | {gain} | {1000 * row.seconds / len(whole):.0f} |")
        before = percentages
    cats, dogs = found[is_cat].sum(), found[is_dog].sum()
    print(f"\n{faces} faces, from {cats} of the cat photos and {dogs} of the dog photos")
    heights = eye_heights(table[-1].afhq, afhq)
    low, high = np.percentile(heights, [5, 95]) if len(heights) else (math.nan, math.nan)
    print(
        f"height of the eyes in {len(heights)} crops of AFHQ: mean {heights.mean():.3f}, standard "
        f"deviation {heights.std():.3f}, 90 % between {low:.3f} and {high:.3f} of the side"
    )


if __name__ == "__main__":
    main()
