"""How far from photos are images that nobody trained? Eigenfaces alone, drawn at random.

    python benchmarks/eigenfaces.py DATASET [--count 1000] [--sides 8 16 32]

For each side of the small images: eigenfaces' images with amounts that are Gaussian and independent
of one another, the same with all amounts of an image multiplied by one number whose spread is that
of the photos (`networks/projected/eigenfaces.py`), and photos made as coarse. The distance is
that of raw-64, a random network, which sees layout, colors and contrast.
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

LATENT_SIZE = 257  # 256 components, and how strong all are
BATCH_SIZE = 256
LEARN_FROM = 4096  # photos, as the training loop does


def distance(images: Tensor, reals: RealsStatistics) -> float:
    """Of (count, 3, side, side) images in [-1, 1]."""
    pixels = to_uint8(images, -1.0, 1.0)
    return quick_score(lambda seeds: pixels[seeds], reals, count=len(pixels)).value


def enlarge(faces: eigenfaces.Eigenfaces, small: Tensor) -> Tensor:
    """(count, 3, side, side) before tanh -> images in (-1, 1) of the dataset's resolution."""
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
    pixels = dataset.images[dataset.indices("train")[:LEARN_FROM]]
    photos = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    style = torch.randn(arguments.count, LATENT_SIZE, generator=torch.Generator().manual_seed(0))
    print("FD-raw-64 of", arguments.count, "images; photos as they are:", end=" ")
    print(f"{distance(photos[: arguments.count] / 127.5 - 1, reals):.3f}\n")
    print("| pixels a side | components | spread | independent | with spread | coarse photos |")
    print("|---|---|---|---|---|---|")
    for side in arguments.sides:
        eigenfaces.MAX_SIDE = side
        torch.manual_seed(0)  # components are found by random projections
        faces = eigenfaces.Eigenfaces(dataset.resolution, LATENT_SIZE)
        faces.learn(part / 127.5 - 1 for part in photos.split(BATCH_SIZE))
        limit = eigenfaces.MAX_PIXEL
        small = faces._low_res_part(photos[: arguments.count] / 127.5 - 1).clamp(-limit, limit)
        coarse = distance(enlarge(faces, small.atanh()), reals)
        spread = float(faces.log_strength_std)
        scaled = distance(enlarge(faces, faces.low_res(style)), reals)
        faces.log_strength_std.zero_()
        plain = distance(enlarge(faces, faces.low_res(style)), reals)
        distances = f"{plain:.3f} | {scaled:.3f} | {coarse:.3f}"
        print(f"| {faces.side} | {faces.count} | {spread:.2f} | {distances} |")


if __name__ == "__main__":
    main()
