"""How does training scale over processes on one machine?

    python benchmarks/scaling.py                       # about ten minutes on 2 cores
    python benchmarks/scaling.py --layouts 1x16 4x4 16x1

A layout is processes x threads of each. Every layout trains the same recipe with the same batch
through the real command, under torchrun where it has several processes; the rate is the median of
the rows of its log after the first two. The layouts take turns, `--rounds` times.

How large the messages are is counted, not timed: with it and a network's speed, docs/scale.md
estimates what was not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from catgan.config import Config, load_recipe, override
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.networks.build import build_discriminator, build_generator
from catgan.runs.device import describe_machine

WARM_UP = 2  # rows of the log


def rates(layout: str, recipe: str, settings: list[str], place: Path) -> list[float]:
    """img/s of each row of one run."""
    processes, threads = map(int, layout.split("x"))
    run = place / "run"
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    arguments = ["-m", "catgan", "train", str(place / "cats"), f"--recipe={recipe}"]
    arguments += [f"--set={setting}" for setting in settings]
    command = [sys.executable, *(launcher if processes > 1 else []), *arguments, f"--out={run}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{layout}: {done.stderr[-2000:]}")
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    run.rename(place / f"run-{len(list(place.iterdir()))}")
    return [row["machine"]["images_per_second"] for row in rows][WARM_UP:]


def message_sizes(config: Config) -> list[tuple[str, float]]:
    """What crosses the network in a step, in MB of each process's data."""
    side = config.network.resolution
    generator = build_generator(config.network)
    discriminator = build_discriminator(
        config.network, lambda: torch.rand(8, 3, side, side), torch.float32
    )

    def parameters(module: nn.Module) -> float:
        return 4e-6 * sum(p.numel() for p in module.parameters())

    def channels(module: nn.Module) -> float:
        return 8e-6 * sum(m.num_features for m in module.modules() if type(m) is nn.BatchNorm2d)

    return [
        ("gradients of the generator", parameters(generator)),
        ("gradients of the discriminator", parameters(discriminator)),
        ("batch statistics, forward and back, generator", 2 * channels(generator)),
        ("batch statistics, three times, discriminator", 2 * 3 * channels(discriminator)),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="projected-128")
    parser.add_argument("--layouts", nargs="+", default=["1x2", "1x1", "2x1"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="of each run, the first two not used")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    config = override(load_recipe(arguments.recipe), arguments.set)
    batch = config.training.batch_size
    settings = [*arguments.set, f"training.images={arguments.steps * batch}"]
    settings += [f"output.log_images={batch}", "output.grid_seeds=1", "output.score_samples=0"]
    found: dict[str, list[float]] = {layout: [] for layout in arguments.layouts}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        write_procedural_cats(place / "cats", 256, config.network.resolution)
        for _ in range(arguments.rounds):
            for layout in arguments.layouts:
                found[layout] += rates(layout, arguments.recipe, settings, place)
    machine = describe_machine(torch.device("cpu"))
    print(
        f"{arguments.recipe}: batch {batch}, {machine['processor']}, {machine['cores']} cores, "
        f"torch {machine['torch']}"
    )
    print("\n| processes x threads | img/s | of the first |\n|---|---|---|")
    first = statistics.median(found[arguments.layouts[0]])
    for layout, seen in found.items():
        rate = statistics.median(seen)
        print(f"| {layout.replace('x', ' x ')} | {rate:.1f} | {rate / first:.2f} |")
    print("\n| message of a step | MB a process |\n|---|---|")
    for name, size in message_sizes(config):
        print(f"| {name} | {size:.2f} |")


if __name__ == "__main__":
    main()
