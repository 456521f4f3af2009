"""Measure the discriminator's frozen part by the number of images that pass it at once.

    OMP_NUM_THREADS=1 python benchmarks/chunks.py            # a minute

Forward and backward to the pixels of 32 images of 128 px, seen by the backbone at 128 and at 256
px, in the precision that `auto` chooses. The sizes take turns; times are medians an image.
`networks/projected/projection.py` has the limit that follows, `MAX_PIXELS`.
"""

from __future__ import annotations

import statistics
import time

import torch

from catgan.networks.projected import projection
from catgan.runs.device import choose_precision

BATCH_SIZE, ROUNDS = 32, 5
SIDES = (128, 256)
CHUNKS = (32, 16, 8, 4)


def seconds(frozen: projection.Projection, images: torch.Tensor, chunk: int) -> float:
    """Return the time of a forward and backward pass in chunks of `chunk` images."""
    projection.MAX_PIXELS = chunk * frozen.side**2
    images = images.detach().requires_grad_()
    started = time.perf_counter()
    maps = frozen(images)
    torch.autograd.grad(maps, images, [torch.ones_like(each) for each in maps])
    return time.perf_counter() - started


def main() -> None:
    """Measure and print the table."""
    torch.set_flush_denormal(True)
    precision = choose_precision("auto", torch.device("cpu"))
    images = torch.rand(BATCH_SIZE, 3, 128, 128) * 2 - 1
    images = images.contiguous(memory_format=torch.channels_last)
    print(f"{precision}, {torch.get_num_threads()} threads; ms an image, forward and backward")
    print("images at once  " + "".join(f"{chunk:8d}" for chunk in CHUNKS))
    for side in SIDES:
        frozen = projection.Projection(side, images, precision)
        frozen = frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        times: dict[int, list[float]] = {chunk: [] for chunk in CHUNKS}
        for _ in range(ROUNDS + 1):
            for chunk, measured in times.items():
                measured.append(seconds(frozen, images, chunk))
        medians = [1000 * statistics.median(each[1:]) / BATCH_SIZE for each in times.values()]
        print(f"{side} px          " + "".join(f"{median:8.1f}" for median in medians))


if __name__ == "__main__":
    main()
