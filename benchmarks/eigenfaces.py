"""Score random eigenface images, without any training, against photos.

    python benchmarks/eigenfaces.py DATASET [--count 1000] [--sides 8 16 32]

For each side of the small images, the table has three kinds of images: eigenfaces with independent
Gaussian coefficients ("independent"); the same with all coefficients of an image multiplied by one
random strength, whose logarithm has the standard deviation measured on the photos ("scaled", see
`networks/projected/eigenfaces.py`); and photos at that resolution ("coarse photos"). The distance
is FD-raw-64, in the features of a random network, which depend on layout, colors and contrast.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from catgan.data.dataset.dataset import Dataset
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import dataset_images
from catgan.evaluation.quick import RealsStatistics, quick_score, reals_statistics
from catgan.networks.projected import eigenfaces
from catgan.runs.sampler import to_uint8

LATENT_SIZE = 257  # 256 components and the strength
BATCH_SIZE = 256
MAX_PHOTOS = 4096  # to learn from, as in the training loop


def distance(images: Tensor, reals: RealsStatistics) -> float:
    """Return the FD-raw-64 of images in [-1, 1], (count, 3, side, side)."""
    pixels = to_uint8(images, -1.0, 1.0)
    return quick_score(lambda seeds: pixels[seeds], reals, count=len(pixels)).value


def enlarge(faces: eigenfaces.Eigenfaces, small: Tensor) -> Tensor:
    """Upsample (count, 3, side, side), before tanh, to images in (-1, 1) at full resolution."""
    return torch.tanh(faces.upsampling @ small @ faces.upsampling.T)


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 32])
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    reals = reals_statistics(dataset_images(dataset), load_extractor("raw-64"))
    pixels = dataset.images[dataset.indices("train")[:MAX_PHOTOS]]
    photos = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    style = torch.randn(arguments.count, LATENT_SIZE, generator=torch.Generator().manual_seed(0))
    print("FD-raw-64 of", arguments.count, "images; unchanged photos:", end=" ")
    print(f"{distance(photos[: arguments.count] / 127.5 - 1, reals):.3f}\n")
    print("| pixels a side | components | strength std | independent | scaled | coarse photos |")
    print("|---|---|---|---|---|---|")
    for side in arguments.sides:
        eigenfaces.MAX_SIDE = side
        torch.manual_seed(0)  # the PCA uses random projections
        faces = eigenfaces.Eigenfaces(dataset.resolution, LATENT_SIZE)
        faces.learn(batch / 127.5 - 1 for batch in photos.split(BATCH_SIZE))
        limit = eigenfaces.MAX_PIXEL
        small = faces._low_res_part(photos[: arguments.count] / 127.5 - 1).clamp(-limit, limit)
        coarse = distance(enlarge(faces, small.atanh()), reals)
        strength_std = float(faces.log_strength_std)
        scaled = distance(enlarge(faces, faces.low_res(style)), reals)
        faces.log_strength_std.zero_()
        independent = distance(enlarge(faces, faces.low_res(style)), reals)
        distances = f"{independent:.3f} | {scaled:.3f} | {coarse:.3f}"
        print(f"| {faces.side} | {faces.count} | {strength_std:.2f} | {distances} |")


if __name__ == "__main__":
    main()
