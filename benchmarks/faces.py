"""What does each step of finding cat faces gain, and what does it cost?

    python benchmarks/faces.py PHOTOS AFHQ --most 300

PHOTOS is a folder or zip with whole photos in `cat/` and `dog/`, AFHQ one with AFHQ's cats. Each
row adds a step to the one before. A photo counts as found when the step leaves a box in it; an AFHQ
image when the box lies where a face lies in AFHQ (centre within an eighth of the image, side within
1.4 times the median). Milliseconds are processor time for a photo of PHOTOS.

The last lines say where AFHQ's own eyes, which its authors put at one height, are in our crops.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from catgan.data.faces.cascade import EXTENDED, CascadeDetector, Pass
from catgan.data.faces.find import find_faces
from catgan.data.faces.framing import CROP_PER_BOX, DROP_PER_BOX, Frame
from catgan.data.faces.gates import Gates, refusal
from catgan.data.images import decode
from catgan.data.sources import open_source
from catgan.networks.imagenet import imagenet_classifier

SIZE = 128
_BOX = (0.5, 0.5 - DROP_PER_BOX / CROP_PER_BOX, 1 / CROP_PER_BOX)  # of a face in AFHQ

Squares = list[tuple[float, float, float]]  # centre x, centre y, side of a box; pixels
Step = Callable[[np.ndarray], Squares]


def plain_cascade(photo: np.ndarray) -> Squares:
    """What OpenCV's documentation shows: one cascade, three neighbours."""
    folder = Path(cv2.data.haarcascades)
    cascade = cv2.CascadeClassifier(str(folder / EXTENDED))
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    boxes = cascade.detectMultiScale(grey, 1.1, 3, minSize=(40, 40))
    return [(x + w / 2, y + h / 2, float(w)) for x, y, w, h in boxes]


def close_looks(detector: CascadeDetector, least: float) -> Step:
    """Boxes of the detector with at least so much evidence; the classifier allows for less."""
    return lambda photo: [
        (box.x, box.y, box.side) for box in detector.find(photo) if box.evidence >= least
    ]


def judged(detector: CascadeDetector, classify: Callable, gates: Gates) -> Step:
    """Boxes of the faces that pass `gates`."""

    def step(photo: np.ndarray) -> Squares:
        found = []
        for face in find_faces(photo, SIZE, detector, classify):
            if refusal(face.measures, gates, SIZE) is None:
                frame = face.frame
                x, y = frame.to_photo(np.array(0.5), np.array(0.5 - DROP_PER_BOX / CROP_PER_BOX))
                found.append((float(x), float(y), frame.side / CROP_PER_BOX))
        return found

    return step


def is_face_of_afhq(square: tuple[float, float, float], side: int) -> bool:
    """Whether a box lies where AFHQ's framing puts a face."""
    x, y, width = (value / side for value in square)
    near = math.hypot(x - _BOX[0], y - _BOX[1]) < 1 / 8
    return near and 1 / 1.4 < width / _BOX[2] < 1.4


def photos(source: Path, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """At most `most` photos, evenly spread over the source."""
    with open_source(source) as files:
        for number in np.unique(np.linspace(0, len(files) - 1, most).astype(int)):
            yield files[number].name, decode(files[number].read())


def eye_heights(step: Step, faces: list[np.ndarray]) -> np.ndarray:
    """Height, in crop sides, at which the middle of each AFHQ image lies in its crop."""
    heights = []
    for image in faces:
        side = len(image)
        for x, y, width in step(image)[:1]:
            if is_face_of_afhq((x, y, width), side):
                frame = Frame(x, y + DROP_PER_BOX * width, width * CROP_PER_BOX, 0)
                heights.append(0.5 + (side / 2 - frame.y) / frame.side)
    return np.array(heights)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("afhq", type=Path)
    parser.add_argument("--most", type=int, default=300, help="photos of each source")
    arguments = parser.parse_args()
    upright = CascadeDetector((Pass(EXTENDED, 0, False),))
    detector = CascadeDetector()
    gates = Gates()
    whole = list(photos(arguments.photos, arguments.most))
    faces = [image for _, image in photos(arguments.afhq, arguments.most)]
    cats = sum(name.startswith("cat/") for name, _ in whole)
    dogs = sum(name.startswith("dog/") for name, _ in whole)
    print(f"{cats} cat photos, {dogs} dog photos, {len(faces)} images of AFHQ")
    open_gates = Gates(enlarge=1e9, outside=1, sharpness=0, brightness=0, close=1e9)
    with imagenet_classifier() as classify:
        steps: dict[str, Step] = {
            "cascade alone": plain_cascade,
            "filtered pyramid, close looks (evidence 3.4)": close_looks(upright, 3.4),
            "both cascades, mirrored, turned": close_looks(detector, 3.4),
            "is it a cat?": judged(detector, classify, open_gates),
            "is it a close-up? and the other gates": judged(detector, classify, gates),
        }
        print("| step | cat photos | dog photos | AFHQ | ms |\n|---|---|---|---|---|")
        for name, step in steps.items():
            started = time.process_time()
            found = [title for title, photo in whole if step(photo)]
            cost = (time.process_time() - started) / len(whole)
            right = sum(
                any(is_face_of_afhq(square, len(image)) for square in step(image))
                for image in faces
            )
            shares = (
                sum(title.startswith("cat/") for title in found) / max(cats, 1),
                sum(title.startswith("dog/") for title in found) / max(dogs, 1),
                right / len(faces),
            )
            cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
            print(f"| {name} | {cells} | {1000 * cost:.0f} |", flush=True)
        heights = eye_heights(step, faces)
    low, high = np.percentile(heights, [5, 95])
    print(
        f"height of the eyes in {len(heights)} crops of AFHQ: mean {heights.mean():.3f}, standard "
        f"deviation {heights.std():.3f}, nine in ten between {low:.3f} and {high:.3f} of the side"
    )


if __name__ == "__main__":
    main()
