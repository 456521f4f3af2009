"""Measure the startup time of the command.

    python benchmarks/startup.py

Prints the wall time of whole processes, median of nine after one warm-up, and whether torch was
imported.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import catgan'": [sys.executable, "-c", "import catgan"],
    "catgan --version": [sys.executable, "-m", "catgan", "--version"],
    "catgan --help": [sys.executable, "-m", "catgan", "--help"],
    "catgan train --help": [sys.executable, "-m", "catgan", "train", "--help"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print the table."""
    print(f"{'command':28s} {'median s':>8s} {'fastest':>8s}  torch imported")
    for name, command in COMMANDS.items():
        seconds(command)
        times = [seconds(command) for _ in range(9)]
        traced = [command[0], "-X", "importtime", *command[1:]]
        trace = subprocess.run(traced, capture_output=True, text=True, check=True).stderr
        torch = any(line.split("|")[-1].strip() == "torch" for line in trace.splitlines())
        print(
            f"{name:28s} {statistics.median(times):8.3f} {min(times):8.3f}  "
            f"{'yes' if torch else 'no'}"
        )


if __name__ == "__main__":
    main()
