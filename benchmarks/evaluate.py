"""How long does an evaluation take, and how much memory? Against a plain version of the same.

    python benchmarks/evaluate.py                 # 5,000 against 5,000 at 128 px
    python benchmarks/evaluate.py --count 200     # a quick look

Both versions run the same EfficientNet-Lite2 in float32 at 260 px on random images and compute the
same numbers; each in a process of its own, so that the peak memory is its own. The plain one is
what one would write first: Pillow resizes image by image, the network runs in NCHW with separate
activations in batches of 64, and the features are kept in float64.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

RESOLUTION = 128
BATCH = 64


def random_images(count: int, seed: int) -> np.ndarray:
    """Smooth random colours, uint8 count x 128 x 128 x 3."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(RESOLUTION // 8, axis=1).repeat(RESOLUTION // 8, axis=2)


def fast_features(images: np.ndarray) -> np.ndarray:
    """Features by catgan's extractor."""
    from catgan.evaluation.extractors import load_extractor

    return load_extractor("lite2").extract(images)


def plain_features(images: np.ndarray) -> np.ndarray:
    """Features by Pillow and an NCHW network."""
    import torch
    from PIL import Image

    from catgan.networks import efficientnet_lite

    network = efficientnet_lite.load(efficientnet_lite.LITE2)
    side = network.variant.resolution
    features = []
    # Gradients enabled switch the fused activations off; none is computed, for nothing needs one.
    for start in range(0, len(images), BATCH):
        planes = np.stack(
            [
                [
                    np.asarray(
                        Image.fromarray(image[:, :, channel].astype(np.float32)).resize(
                            (side, side), Image.Resampling.BICUBIC
                        )
                    )
                    for channel in range(3)
                ]
                for image in images[start : start + BATCH]
            ]
        )
        features.append(network.pooled(torch.from_numpy(planes) / 255).double().numpy())
    return np.concatenate(features)


def measure(version: str, count: int) -> dict[str, float]:
    """Run one version in this process: seconds of each part, peak memory, the Frechet distance."""
    from catgan.evaluation.frechet import frechet_distance, gaussian_of
    from catgan.evaluation.kernel import kernel_distance
    from catgan.evaluation.manifold import manifold_scores

    extract = fast_features if version == "catgan" else plain_features
    first, second = random_images(count, 0), random_images(count, 1)
    started = time.perf_counter()
    one, two = extract(first), extract(second)
    extracted = time.perf_counter()
    distance = frechet_distance(gaussian_of(one), gaussian_of(two))
    kernel_distance(one, two)
    manifold_scores(one, two)
    finished = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "features": extracted - started,
        "statistics": finished - extracted,
        "total": finished - started,
        "memory": peak,
        "frechet": distance,
    }


def main() -> None:
    """Run both versions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000, help="images a side")
    parser.add_argument("--version", choices=["catgan", "plain"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.version:
        print(json.dumps(measure(arguments.version, arguments.count)))
        return
    results = {}
    for version in ("catgan", "plain"):
        command = [sys.executable, __file__, "--version", version, "--count", str(arguments.count)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[version] = json.loads(output.splitlines()[-1])
    print(f"{arguments.count:,} against {arguments.count:,} at {RESOLUTION} px, lite2\n")
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
