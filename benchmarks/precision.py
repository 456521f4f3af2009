"""Measure training speed of the classic recipes by precision and convolution kernels.

    python benchmarks/precision.py                      # both recipes, six minutes on 2 cores
    python benchmarks/precision.py --recipe lsgan-64

Every line is the real training loop on procedural cats, in its own process, for separate peak
memory. "catgan" uses the layers of `networks/layers/convolution.py`, "library" the same networks
with torch's kernels everywhere. The configurations take turns; the rate is the median over all rows
of the log except each process's first two.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS, STEPS_PER_ROW, WARMUP_ROWS = 8, 2, 2  # of the log
CONFIGURATIONS = [
    ("float32", "library"),
    ("float32", "catgan"),
    ("bfloat16", "library"),
    ("bfloat16", "catgan"),
]


def child(recipe: str, precision: str, kernels: str, data: Path) -> None:
    """Train for a short time; print the rates and the peak memory as JSON."""
    import torch

    from catgan.config import load_recipe, override
    from catgan.data.dataset.dataset import Dataset
    from catgan.networks.layers import convolution
    from catgan.runs.directory import RunDirectory
    from catgan.training.loop import train

    class Silent:
        def __getattr__(self, name):
            return lambda *arguments: None

    if kernels == "library":
        convolution.MATRIX_PRODUCT_SIDE = 0
    config = load_recipe(recipe)
    batch = config.training.batch_size
    settings = [f"training.images={ROWS * STEPS_PER_ROW * batch}", "output.grid_seeds=1"]
    settings += [f"output.log_images={STEPS_PER_ROW * batch}", f"training.precision={precision}"]
    config = override(config, settings)
    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory.create(Path(directory), config, {"dataset": {}, "machine": {}})
        train(config, Dataset.open(data), run, Silent(), device=torch.device("cpu"))
        rates = [row["machine"]["images_per_second"] for row in run.rows()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rates": rates[WARMUP_ROWS:], "peak_mib": peak}))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", action="append", help="repeatable; default: both classic ones")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        recipe, precision, kernels, data = arguments.child
        child(recipe, precision, kernels, Path(data))
        return

    from catgan.config import load_recipe
    from catgan.data.synthetic.procedural import write_procedural_cats
    from catgan.networks.capabilities import bfloat16_works

    configurations = CONFIGURATIONS
    if not bfloat16_works():
        print("no bfloat16 convolutions on this processor: float32 alone")
        configurations = [each for each in CONFIGURATIONS if each[0] == "float32"]
    print("recipe      precision  layers   img/s  peak MiB  vs. float32 library")
    for recipe in arguments.recipe or ["lsgan-64", "dcgan-128"]:
        with tempfile.TemporaryDirectory() as directory:
            data = Path(directory) / "cats"
            write_procedural_cats(data, 200, load_recipe(recipe).network.resolution)
            rates: dict[tuple[str, str], list[float]] = {each: [] for each in configurations}
            peaks: dict[tuple[str, str], float] = {}
            for _ in range(arguments.rounds):
                for each in configurations:
                    command = [sys.executable, __file__, "--child", recipe, *each, str(data)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    result = json.loads(done.stdout.splitlines()[-1])
                    rates[each] += result["rates"]
                    peaks[each] = max(peaks.get(each, 0.0), result["peak_mib"])
        base = statistics.median(rates[configurations[0]])
        for each in configurations:
            rate = statistics.median(rates[each])
            precision, kernels = each
            print(
                f"{recipe:10s}  {precision:9s}  {kernels:7s}  {rate:5.1f}  {peaks[each]:8.0f}  "
                f"{rate / base:.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
