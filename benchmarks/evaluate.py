"""Measure time and memory of an evaluation, compared with a straightforward implementation.

    python benchmarks/evaluate.py                 # 5,000 against 5,000 at 128 px
    python benchmarks/evaluate.py --count 200     # a quick check
    python benchmarks/evaluate.py --memory        # peak memory of 50,000 against 50,000

Both versions run the same EfficientNet-Lite2 in float32 at 260 px on random images and compute the
same metrics, each in its own process, for separate peak memory. The straightforward version
("plain") resizes image by image with Pillow, runs the network in NCHW with separate activations in
batches of 64, and keeps the features in float64.

`--memory` runs the whole evaluation (feature cache, floor, all metrics, a memorization report with
a tenth as many unseen images) on 2,048 random features an image, as many as Inception's. Only the
network is left out; its weights and activations add to the peak. Distances are computed tile by
tile in the same memory; `--tiles 30` stops each pass after 30 tiles, which saves most of the time
without changing the peak (the metrics are then meaningless).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

RESOLUTION = 128
BATCH = 64
FEATURES = 2048


def random_images(count: int, seed: int) -> np.ndarray:
    """Return images of random color blocks, uint8, (count, 128, 128, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(RESOLUTION // 8, axis=1).repeat(RESOLUTION // 8, axis=2)


def fast_features(images: np.ndarray) -> np.ndarray:
    """Return features from catgan's extractor."""
    from catgan.evaluation.extractors.registry import load_extractor

    return load_extractor("lite2").extract(images)


def plain_features(images: np.ndarray) -> np.ndarray:
    """Return features from images resized by Pillow and an NCHW network."""
    import torch
    from PIL import Image

    from catgan.networks import efficientnet_lite
    from catgan.networks.layers import frozen

    frozen.fused_convolution = lambda: None  # separate activations, as in torch's layers
    network = efficientnet_lite.load(efficientnet_lite.LITE2)
    side = network.variant.resolution
    features = []
    for start in range(0, len(images), BATCH):
        planes = np.stack(
            [
                [
                    np.asarray(
                        Image.fromarray(image[:, :, channel].astype(np.float32)).resize(
                            (side, side), Image.Resampling.BICUBIC
                        )
                    ).clip(0, 255)
                    for channel in range(3)
                ]
                for image in images[start : start + BATCH]
            ]
        )
        features.append(network.pooled(torch.from_numpy(planes) / 255).double().numpy())
    return np.concatenate(features)


def measure(version: str, count: int) -> dict[str, float]:
    """Run one version in this process; return seconds, peak memory and the Frechet distance."""
    from catgan.evaluation.metrics.frechet import frechet_distance, gaussian_of
    from catgan.evaluation.metrics.kernel import kernel_distance
    from catgan.evaluation.metrics.manifold import manifold_scores

    extract = fast_features if version == "catgan" else plain_features
    first, second = random_images(count, 0), random_images(count, 1)
    started = time.perf_counter()
    one, two = extract(first), extract(second)
    extracted = time.perf_counter()
    distance = frechet_distance(gaussian_of(one), gaussian_of(two))
    kernel_distance(one, two)
    manifold_scores(one, two)
    finished = time.perf_counter()
    return {
        "features": extracted - started,
        "statistics": finished - extracted,
        "total": finished - started,
        "memory": peak(),
        "frechet": distance,
    }


def peak() -> float:
    """Return the peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(count: int, tiles: int | None) -> None:
    """Evaluate random features in this process and print the peak memory after every stage."""
    import torch

    from catgan.evaluation.evaluate import evaluate
    from catgan.evaluation.extractors.extractor import Extractor
    from catgan.evaluation.fingerprint import ExtractorIdentity
    from catgan.evaluation.image_sets import ImageSet
    from catgan.evaluation.metrics import manifold
    from catgan.evaluation.metrics import nearest_neighbors as neighbors
    from catgan.evaluation.reference import measure_reference

    every_tile = manifold.distance_tiles
    for module in (manifold, neighbors):
        module.distance_tiles = lambda *sets, **options: itertools.islice(
            every_tile(*sets, **options), tiles
        )

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        seeds = images.reshape(len(images), -1)[:, :8].copy().view(np.uint64)[:, 0]
        streams = [np.random.Generator(np.random.Philox(int(seed))) for seed in seeds]
        return np.stack([stream.standard_normal(FEATURES, np.float32) for stream in streams])

    def images_from(first: int, name: str, number: int) -> ImageSet:
        def read(numbers: np.ndarray) -> np.ndarray:
            images = np.zeros((len(numbers), 2, 2, 3), np.uint8)
            images.reshape(len(numbers), -1)[:, :8] = (
                (np.asarray(numbers) + first).astype(np.uint64)[:, None].view(np.uint8)
            )
            return images

        return ImageSet(name, number, read, str, dataset=name, selection=b"all")

    identity = ExtractorIdentity("made-up", 1, "0" * 64, FEATURES, 2, "none", "float32")
    extractor = Extractor(identity, 4, torch.device("cpu"), features_of_batch)
    reals = images_from(0, "reals", count)
    unseen = images_from(count, "unseen", count // 10)
    generated = images_from(2 * count, "generated", count)

    def progress(stage: str, done: int, total: int) -> None:
        if done == total or "steps" in stage:
            print(f"| {stage} {done:,} of {total:,} | {peak():,.0f} |", flush=True)

    passes = f"{tiles} tiles of each pass" if tiles else "all tiles"
    print(f"{count:,} against {count:,}, {FEATURES:,} features, {passes}\n")
    print(f"| after | peak memory, MiB |\n|---|---|\n| imports | {peak():,.0f} |", flush=True)
    reference = measure_reference(reals, extractor, holdout=unseen, progress=progress)
    evaluate(generated, reference, progress=progress)
    print(f"| everything | {peak():,.0f} |")


def main() -> None:
    """Run both versions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, help="images a side; 5,000, or 50,000 with --memory")
    parser.add_argument("--memory", action="store_true", help="measure the memory of statistics")
    parser.add_argument(
        "--tiles", type=int, help="with --memory: tiles of each pass over distances"
    )
    parser.add_argument("--version", choices=["catgan", "plain", "memory"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    count = arguments.count or (50_000 if arguments.memory else 5_000)
    if arguments.version == "memory":
        measure_memory(count, arguments.tiles)
        return
    if arguments.version:
        print(json.dumps(measure(arguments.version, count)))
        return
    if arguments.memory:
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, __file__, "--version", "memory", "--count", str(count)]
            command += ["--tiles", str(arguments.tiles)] if arguments.tiles else []
            environment = {**os.environ, "CATGAN_CACHE_DIR": cache}
            subprocess.run(command, check=True, env=environment)
        return
    results = {}
    for version in ("catgan", "plain"):
        command = [sys.executable, __file__, "--version", version, "--count", str(count)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[version] = json.loads(output.splitlines()[-1])
    print(f"{count:,} against {count:,} at {RESOLUTION} px, lite2\n")
    print("| version | features, s | statistics, s | total, s | peak memory, MiB | FD-lite2 |")
    print("|---|---|---|---|---|---|")
    for version, found in results.items():
        print(
            f"| {version} | {found['features']:.1f} | {found['statistics']:.1f} | "
            f"{found['total']:.1f} | {found['memory']:,.0f} | {found['frechet']:.6g} |"
        )
    print(f"\n{results['plain']['total'] / results['catgan']['total']:.2f} times as fast")


if __name__ == "__main__":
    main()
