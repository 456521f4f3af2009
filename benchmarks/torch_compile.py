"""Does `torch.compile` make training faster on this processor, and after how long?

    OMP_NUM_THREADS=1 python benchmarks/torch_compile.py         # 3 minutes; needs a C++ compiler

Forward and backward of a batch of 32 through the generator of `projected-128`, and through the
frozen backbone to the pixels, in the precision that `auto` chooses, as they are and compiled. The
two take turns; times are medians. The first call of a compiled module includes the compilation;
torch caches it on disk, so delete the cache, or set TORCHINDUCTOR_CACHE_DIR to an empty directory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from catgan.config import load_recipe
from catgan.networks.build import build_generator
from catgan.networks.projected.projection import Projection
from catgan.runs.device import choose_precision

BATCH_SIZE, ROUNDS = 32, 6
Outputs = list[Tensor]


def seconds(run: Callable[[], Outputs]) -> float:
    """Return the time of a forward pass and of the backward pass from ones."""
    started = time.perf_counter()
    outputs = run()
    torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])
    return time.perf_counter() - started


def compare(name: str, module: nn.Module, run: Callable[[Any], Outputs]) -> None:
    """Print one row: `run` with the module, and with the module compiled."""
    compiled = torch.compile(module)
    first = seconds(lambda: run(compiled))
    times: dict[str, list[float]] = {"as it is": [], "compiled": []}
    for _ in range(ROUNDS + 1):
        times["as it is"].append(seconds(lambda: run(module)))
        times["compiled"].append(seconds(lambda: run(compiled)))
    plain, fast = (1000 * statistics.median(each[1:]) for each in times.values())
    print(f"{name:10s} {plain:10.0f} {fast:10.0f} {first:22.0f}", flush=True)


def main() -> None:
    """Measure and print the table."""
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    precision = choose_precision("auto", torch.device("cpu"))
    images = torch.rand(BATCH_SIZE, 3, 128, 128) * 2 - 1
    images = images.contiguous(memory_format=torch.channels_last)
    config = load_recipe("projected-128").network
    generator = build_generator(config, [images]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    z = torch.randn(BATCH_SIZE, config.latent_size)

    def generate(module: Any) -> Outputs:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return [module(z).float()]

    frozen = Projection(128, images, precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    print(f"{precision}, {torch.get_num_threads()} threads; ms a batch, forward and backward")
    print("            as it is   compiled   first call, seconds")
    compare("generator", generator, generate)
    compare("backbone", frozen, lambda module: module(images.detach().requires_grad_()))


if __name__ == "__main__":
    main()
