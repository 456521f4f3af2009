"""Measure what keeping freed memory (`memory.py`) is worth to a training step and to a command.

    python benchmarks/kept_memory.py            # about five minutes on 2 cores
    python benchmarks/kept_memory.py --command  # about a minute

Runs the steps of `train_throughput.py` in a process of its own each time, with and without, in
turns, and prints the medians over all rounds. With `--command`, it runs `catgan sample --seeds 7`
instead, which leaves the memory alone where its user has set how to allocate it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
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
from catgan.memory import kept_memory
from catgan.runs.device import describe_machine

WARMUP = 4  # steps
IMAGES = 64
COMMAND_COLUMNS = ("fastest", "quartile", "median", "quartile", "slowest", "mean", "faults")


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


def measure_command(*, kept: bool) -> tuple[float, int]:
    """Return the seconds and page faults of `catgan sample --seeds 7`, from start to exit."""
    set_by_user = {name for name in os.environ if name.startswith("MALLOC_")} | {"GLIBC_TUNABLES"}
    environment = {name: os.environ[name] for name in os.environ if name not in set_by_user}
    if not kept:  # changes nothing but that `kept_memory` leaves a user's choice alone
        environment["GLIBC_TUNABLES"] = "glibc.malloc.perturb=0"
    command = [sys.executable, "-m", "catgan", "sample", "--seeds", "7"]
    with tempfile.TemporaryDirectory() as directory:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=directory, env=environment)
        seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before


def print_commands(rounds: int) -> None:
    """Measure the command with and without, in turns, and print a table."""
    results: dict[str, list[tuple[float, int]]] = {"default": [], "kept": []}
    for number in range(rounds + 1):
        for name in sorted(results, reverse=number % 2 == 0):
            result = measure_command(kept=name == "kept")
            if number:  # the first round warms up
                results[name].append(result)
    print(f"{'memory':10s}" + "".join(f"{name:>10s}" for name in COMMAND_COLUMNS))
    for name, rows in results.items():
        seconds = sorted(row[0] for row in rows)
        quartiles = statistics.quantiles(seconds, n=4)
        values = (seconds[0], *quartiles, seconds[-1], statistics.mean(seconds))
        faults = statistics.median(row[1] for row in rows)
        print(f"{name:10s}" + "".join(f"{value:10.3f}" for value in values) + f"{faults:10,.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="projected-128")
    parser.add_argument("--command", action="store_true", help="measure the command instead")
    parser.add_argument("--rounds", type=int, help="default: 5; with --command 30")
    parser.add_argument("--steps", type=int, default=10, help="of each round")
    parser.add_argument("--one", choices=("kept", "default"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kept = arguments.one == "kept"
        print(json.dumps(measure(arguments.recipe, arguments.steps, kept=kept)))
        return
    if arguments.command:
        print_commands(arguments.rounds or 30)
        return
    results: dict[str, list[dict[str, float]]] = {"default": [], "kept": []}
    for number in range(arguments.rounds or 5):
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
