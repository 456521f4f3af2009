"""Do the left and the right eye agree? Asymmetry of faces in the features of a frozen network.

    python benchmarks/symmetry.py DATASET [GENERATOR.onnx] [--count 1500]

For every image, the absolute difference between EfficientNet-Lite2's features and their mirror
image, averaged over the band of the eyes (34 to 60 % of the height), at strides 8 and 16: 168
numbers. Printed is the Frechet distance of these between generated and real images, and the part of
it that is the difference of means. Faces turn and tilt, so photos are not symmetric either: only
the distance to photos says whether a generator's eyes differ more than photos' do. The floor is
that of one half of the photos to the other.

Below it, how much the yellowest pixels of the two eyes, mostly the irises, differ in color
(`catgan.training.eye_colors`), in levels of 255: mean and root mean square of left minus right.
These are two of the features that `loss.eye_colors` trains on, and no evidence beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from catgan.data.dataset.dataset import Dataset
from catgan.evaluation.metrics.frechet import Gaussian, frechet_distance, gaussian_of
from catgan.generation.generator import load_generator
from catgan.networks.efficientnet_lite import LITE2, EfficientNetLite, load
from catgan.training.eye_colors import eye_features

SIDE = 256  # pixels that the network sees
LEVELS = (1, 2)  # of its feature maps: strides 8 and 16
BAND = (0.34, 0.60)  # of the height
BATCH_SIZE = 32


@torch.no_grad()
def asymmetry(network: EfficientNetLite, images: np.ndarray) -> np.ndarray:
    """Return the mean absolute differences, (N, 168), of images (N, H, W, 3) uint8."""
    rows = []
    for start in range(0, len(images), BATCH_SIZE):
        pixels = torch.from_numpy(images[start : start + BATCH_SIZE]).permute(0, 3, 1, 2) / 255
        pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        maps = network.features(pixels.contiguous(memory_format=torch.channels_last))
        differences = []
        for level in LEVELS:
            side = maps[level].shape[-1]
            band = maps[level][:, :, int(side * BAND[0]) : int(side * BAND[1])]
            difference = (band - band.flip(-1)).abs()[..., : side // 2]
            differences.append(difference.mean((2, 3)))
        rows.append(torch.cat(differences, 1))
    return torch.cat(rows).double().numpy()


def describe(first: Gaussian, second: Gaussian) -> str:
    """Return the distance, and the part of it that is the difference of means."""
    means = float(np.square(first.mean - second.mean).sum())
    return f"{frechet_distance(first, second):8.2f}  {means:8.2f}"


def iris_differences(images: np.ndarray) -> np.ndarray:
    """Return left minus right, (N, 2): red minus green and yellow minus blue of the irises."""
    rows = []
    for start in range(0, len(images), BATCH_SIZE):
        pixels = torch.from_numpy(images[start : start + BATCH_SIZE]).permute(0, 3, 1, 2).float()
        left, right = eye_features(pixels)
        rows.append((left - right)[:, 1:3])
    return torch.cat(rows).double().numpy()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("generator", type=Path, nargs="?", help="default: the bundled one")
    parser.add_argument("--count", type=int, default=1500)
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    chosen = np.random.default_rng(0).permutation(dataset.indices("train"))[: 2 * arguments.count]
    halves = [np.sort(chosen[part::2]) for part in (0, 1)]
    network = load(LITE2).eval()
    photos = [asymmetry(network, dataset.images[half]) for half in halves]
    samples = load_generator(arguments.generator).sample(range(arguments.count))
    generated = gaussian_of(asymmetry(network, samples))
    print("                             Frechet     means")
    print(f"photos against photos       {describe(*map(gaussian_of, photos))}")
    print(f"generated against photos    {describe(generated, gaussian_of(np.concatenate(photos)))}")

    print("\niris, left minus right   red - green: mean   rms   yellow - blue: mean   rms")
    for name, images in (("photos", dataset.images[np.sort(chosen)]), ("generated", samples)):
        differences = iris_differences(images)
        rms = np.sqrt(np.square(differences).mean(0))
        columns = zip(differences.mean(0), rms, strict=True)
        print(f"{name:24} " + "    ".join(f"{m:17.1f} {r:5.1f}" for m, r in columns))


if __name__ == "__main__":
    main()
