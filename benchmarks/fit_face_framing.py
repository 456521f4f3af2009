"""Fit the model that notices misframed faces, from the cats that the package draws.

    python benchmarks/fit_face_framing.py                      # writes framing.npy anew
    python benchmarks/fit_face_framing.py --calibrate PHOTOS   # its median and spread on real faces

The cascades take the nose of a close-up for a face, and the classifier finds a nose convincing,
too. What is wrong with such a crop is its scale. So drawn cats, whose framing is known, are cut too
wide, too close and off center, and a ridge regression tells the scale from EfficientNet-Lite0's
last map. No photo enters the fit; drawn cats differ from photographed ones in everything
but layout, so the answer's zero point and scale are taken from real faces and stand as constants
in `catgan/data/faces/layout.py`. Those there are from the 282 faces that `--calibrate`, with an
earlier state of the detector, found in 617 photos of cats and dogs; a later state of it finds
others and gives somewhat other constants, with which the gates' thresholds would have to move.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

CATS, CUTS, SEED = 300, 2, 0
RIDGE = 10.0  # in units of the mean eigenvalue of the Gram matrix: nearly the plain covariance
SIDE = 256
CLEAR = 3.4  # evidence of a face to calibrate on: what is doubtful may be no face


def misframed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops of drawn cats, N x 224 x 224 x 3, and the logarithm of how much too wide each is."""
    from catgan.data.faces.find import CLASSIFIED_AT
    from catgan.data.faces.framing import Frame, crop_frame
    from catgan.data.synthetic.procedural import render_cat

    random = np.random.default_rng(seed)
    crops, errors = [], []
    for index in range(CATS):
        picture = render_cat(index, SIDE)
        for number in range(CUTS):
            scale = random.normal(0, 0.18)
            if number == CUTS - 1 and random.random() < 0.3:
                scale = random.uniform(-1.0, -0.3)  # close-ups of noses, what this is for
            across, down = random.normal(0, 0.07, 2)
            side = SIDE * float(np.exp(scale))
            frame = Frame(
                SIDE * (0.5 + across), SIDE * (0.5 + down), side, float(random.normal(0, 10))
            )
            crops.append(crop_frame(picture, frame, CLASSIFIED_AT))
            errors.append(scale)
    return np.stack(crops), np.array(errors)


def maps_of(crops: np.ndarray) -> np.ndarray:
    """The last maps of EfficientNet-Lite0, flattened: N x 15,680 float32."""
    from catgan.networks.imagenet import imagenet_classifier

    with imagenet_classifier() as classify:
        parts = [classify(crops[start : start + 8])[1] for start in range(0, len(crops), 8)]
    return np.concatenate(parts).reshape(len(crops), -1)


def fit() -> np.ndarray:
    """Weights, 320 x 7 x 7 float16."""
    crops, errors = misframed(SEED)
    maps = maps_of(crops)
    centered = (maps - maps.mean(axis=0)).astype(np.float64)
    gram = centered @ centered.T
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    weights = centered.T @ np.linalg.solve(gram, errors - errors.mean())
    weights /= np.abs(weights).max()  # float16 has few small numbers; the scale is free
    return weights.reshape(320, 7, 7).astype(np.float16)


def calibrate(source: Path, most: int | None) -> None:
    """Print the median and the spread (1.4826 times the median deviation) on detected faces.

    Of each photo of `source`, or of `most` of them, the most evident face counts, if it is clear.
    """
    from catgan.data.faces.cascade import CascadeDetector
    from catgan.data.faces.find import CLASSIFIED_AT
    from catgan.data.faces.framing import crop_frame, frame_of_box
    from catgan.data.faces.layout import raw_scale
    from catgan.data.reading.images import decode
    from catgan.data.reading.sources import open_source

    detector = CascadeDetector()
    crops = []
    with open_source(source) as files:
        for file in files[:: max(len(files) // (most or len(files)), 1)][:most]:
            photo = decode(file.read())
            for box in detector.find(photo)[:1]:
                if box.evidence >= CLEAR:
                    frame = frame_of_box(box.x, box.y, box.side, box.angle)
                    crops.append(crop_frame(photo, frame, CLASSIFIED_AT))
    values = raw_scale(maps_of(np.stack(crops)).reshape(-1, 320, 7, 7))
    median = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - median))
    print(f"{len(crops)} faces: median {median:.1f}, spread {spread:.1f}")


def main() -> None:
    """Fit, or calibrate what was fitted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibrate", type=Path, metavar="PHOTOS")
    parser.add_argument("--most", type=int, help="photos to calibrate on; all unless given")
    arguments = parser.parse_args()
    if arguments.calibrate:
        calibrate(arguments.calibrate, arguments.most)
        return
    from catgan.data.faces.layout import WEIGHTS

    np.save(WEIGHTS, fit(), allow_pickle=False)
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
