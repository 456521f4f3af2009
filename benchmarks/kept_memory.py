"""Measure what keeping freed memory (`training/memory.py`) is worth to a training step.

    python benchmarks/kept_memory.py            # about five minutes on 2 cores

Runs the steps of `train_throughput.py` in a process of its own each time, with and without, in
turns, and prints the medians over all rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from train_throughput import CPU, Phases, Trainer, read_reals

from catgan.config import load_recipe
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.runs.device import describe_machine
from catgan.training.memory import kept_memory

WARMUP = 4  # steps
IMAGES = 64


def measure(recipe: str, steps: int, *, kept: bool) -> dict[str, float]:
    """Return a step's median milliseconds an image, its page faults, and the process's peak MiB."""
    config = load_recipe(recipe)
    torch.set_flush_denormal(True)
    with (
        tempfile.TemporaryDirectory() as directory,
        kept_memory() if kept else contextlib.nullcontext(),
    ):
        data = Path(directory) / "cats"
        write_procedural_cats(data, IMAGES, config.network.resolution)
        trainer = Trainer(config, read_reals(data), textbook=False)
        trainer.fill_cache()
        seconds = []
        for step in range(WARMUP + steps):
            if step == WARMUP:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            started = time.perf_counter()
            trainer.step(Phases())
            seconds.append(time.perf_counter() - started)
        usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "ms": 1000 * statistics.median(seconds[WARMUP:]) / config.training.batch_size,
        "faults": (usage.ru_minflt - before) / steps,
        "MiB": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="projected-128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="of each round")
    parser.add_argument("--one", choices=("kept", "default"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kept = arguments.one == "kept"
        print(json.dumps(measure(arguments.recipe, arguments.steps, kept=kept)))
        return
    results: dict[str, list[dict[str, float]]] = {"default": [], "kept": []}
    for number in range(arguments.rounds):
        for name in sorted(results, reverse=number % 2 == 0):
            command = [sys.executable, __file__, "--recipe", arguments.recipe, "--one", name]
            command += ["--steps", str(arguments.steps)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[name].append(json.loads(output.splitlines()[-1]))
    machine = describe_machine(CPU)
    print(
        f"{arguments.recipe}: {machine['processor']}, {machine['threads']} threads, "
        f"torch {torch.__version__}"
    )
    print(f"\n{'memory':10s}{'ms an image':>24s}{'faults a step':>16s}{'MiB at most':>14s}")
    for name, rows in results.items():
        ms = sorted(row["ms"] for row in rows)
        spread = f"{statistics.median(ms):.1f} ({ms[0]:.1f}-{ms[-1]:.1f})"
        faults, mib = (statistics.median(row[key] for row in rows) for key in ("faults", "MiB"))
        print(f"{name:10s}{spread:>24s}{faults:16,.0f}{mib:14,.0f}")


if __name__ == "__main__":
    main()
