"""Fit the model that detects misframed faces, on procedural cats.

    python benchmarks/fit_face_framing.py                      # writes framing.npy again
    python benchmarks/fit_face_framing.py --calibrate PHOTOS   # median and scale on real faces

The cascades mistake the nose in a close-up for a face, and the classifier accepts a nose as well.
The error of such a crop is its scale. So the script crops procedural cats, whose framing is known,
too wide, too close and off center, and a ridge regression predicts the scale from EfficientNet-
Lite0's last feature map. No photo enters the fit. Procedural cats resemble photos only in layout,
so the prediction's zero point and scale come from real faces; they are constants in
`catgan/data/faces/layout.py`. Those constants are from the 282 faces that `--calibrate` found, with
an earlier version of the detector, in 617 photos of cats and dogs. A later version finds other
faces and gives slightly different constants, with which the gates' thresholds would have to change.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

CATS, CROPS_PER_CAT, SEED = 300, 2, 0
RIDGE = 10.0  # in units of the Gram matrix's mean eigenvalue; strong, so nearly the covariance
SIDE = 256
MIN_EVIDENCE = 3.4  # of a face to calibrate on; below it, some detections are no faces


def misframed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return crops of procedural cats, (N, 224, 224, 3), and the log of their scale errors.

    Positive: the crop is too wide.
    """
    from catgan.data.faces.find import CLASSIFIED_AT
    from catgan.data.faces.framing import Frame, crop_frame
    from catgan.data.synthetic.procedural import render_cat

    random = np.random.default_rng(seed)
    crops, errors = [], []
    for index in range(CATS):
        picture = render_cat(index, SIDE)
        for number in range(CROPS_PER_CAT):
            scale_error = random.normal(0, 0.18)
            if number == CROPS_PER_CAT - 1 and random.random() < 0.3:
                scale_error = random.uniform(-1.0, -0.3)  # close-ups of noses, the case to detect
            dx, dy = random.normal(0, 0.07, 2)
            side = SIDE * float(np.exp(scale_error))
            frame = Frame(SIDE * (0.5 + dx), SIDE * (0.5 + dy), side, float(random.normal(0, 10)))
            crops.append(crop_frame(picture, frame, CLASSIFIED_AT))
            errors.append(scale_error)
    return np.stack(crops), np.array(errors)


def feature_maps(crops: np.ndarray) -> np.ndarray:
    """Return the last feature maps of EfficientNet-Lite0, flattened: float32, (N, 15680)."""
    from catgan.networks.imagenet import imagenet_classifier

    with imagenet_classifier() as classify:
        batches = [classify(crops[start : start + 8])[1] for start in range(0, len(crops), 8)]
    return np.concatenate(batches).reshape(len(crops), -1)


def fit() -> np.ndarray:
    """Return the regression's weights, float16, (320, 7, 7)."""
    crops, errors = misframed(SEED)
    maps = feature_maps(crops)
    centered = (maps - maps.mean(axis=0)).astype(np.float64)
    gram = centered @ centered.T
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    weights = centered.T @ np.linalg.solve(gram, errors - errors.mean())
    weights /= np.abs(weights).max()  # to float16's range; calibration sets the scale
    return weights.reshape(320, 7, 7).astype(np.float16)


def calibrate(source: Path, max_count: int | None) -> None:
    """Print the median and the scale (1.4826 times the median absolute deviation) on real faces.

    Uses the best face of each photo of `source`, or of `max_count` of them, if it has
    `MIN_EVIDENCE`.
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
        for file in files[:: max(len(files) // (max_count or len(files)), 1)][:max_count]:
            photo = decode(file.read())
            for box in detector.find(photo)[:1]:
                if box.evidence >= MIN_EVIDENCE:
                    frame = frame_of_box(box.x, box.y, box.side, box.angle)
                    crops.append(crop_frame(photo, frame, CLASSIFIED_AT))
    values = raw_scale(feature_maps(np.stack(crops)).reshape(-1, 320, 7, 7))
    median = np.median(values)
    scale = 1.4826 * np.median(np.abs(values - median))
    print(f"{len(crops)} faces: median {median:.1f}, scale {scale:.1f}")


def main() -> None:
    """Fit the weights, or calibrate the fitted ones."""
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
