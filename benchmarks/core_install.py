"""Measure the core install in a fresh environment: size, packages, speed.

    python benchmarks/core_install.py

Creates a virtual environment, installs this checkout with pip and without extras, prints the
installed packages, checks that torch is not among them, and prints the wall times of whole
processes: the median of five after one warm-up. Exits with code 1 if a time exceeds its limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path

from sample_startup import REPEATS, seconds

CHECKOUT = Path(__file__).parents[1]
LIMITS = {"import catgan": 0.15, "catgan sample --seeds 7 -o x.png": 1.0}


def install(environment: Path) -> Path:
    """Install the checkout into a new virtual environment; return its `bin` directory."""
    venv.create(environment, with_pip=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", CHECKOUT], check=True, cwd=environment)
    return programs


def package_sizes(programs: Path) -> dict[str, int]:
    """Return the bytes of each package of the environment except pip, without bytecode."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    library = subprocess.run(
        [programs / "python", "-c", script], capture_output=True, check=True, text=True
    ).stdout.strip()
    sizes = {}
    for each in metadata.distributions(path=[library]):
        if each.name != "pip":
            files = [Path(file.locate()) for file in each.files or [] if file.suffix != ".pyc"]
            sizes[f"{each.name} {each.version}"] = sum(
                file.stat().st_size for file in files if file.is_file()
            )
    return sizes


def main() -> None:
    """Install, measure, print."""
    os.environ.pop("PYTHONPATH", None)  # the new environment would use it, too
    any_over_limit = False
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary).resolve()
        programs = install(directory / "environment")
        sizes = package_sizes(programs)
        for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
            print(f"{name:34s} {size / 1e6:8.1f} MB")
        print(f"{'core install':34s} {sum(sizes.values()) / 1e6:8.1f} MB")

        python = str(programs / "python")
        torch_import = subprocess.run(
            [python, "-c", "import torch"], capture_output=True, text=True
        )
        if "No module named 'torch'" not in torch_import.stderr:
            sys.exit("torch is in the core install, or is broken")
        print("import torch: no such module, as expected\n")

        commands = {
            "python -c pass": [python, "-c", "pass"],
            "import catgan": [python, "-c", "import catgan"],
            "catgan sample --seeds 7 -o x.png": [
                str(programs / "catgan"), "sample", "--seeds", "7", "-o", "x.png",
            ],
        }  # fmt: skip
        print(f"{'command':34s} {'median s':>8s} {'fastest':>8s} {'limit':>8s}")
        for name, command in commands.items():
            seconds(command, directory)
            times = [seconds(command, directory) for _ in range(REPEATS)]
            median, limit = statistics.median(times), LIMITS.get(name)
            is_over = limit is not None and median >= limit
            any_over_limit |= is_over
            verdict = "" if limit is None else f" {limit:8.2f}{'  exceeded' if is_over else ''}"
            print(f"{name:34s} {median:8.3f} {min(times):8.3f}{verdict}")
        if not (directory / "x.png").is_file():
            sys.exit("catgan sample wrote no x.png")
    sys.exit(1 if any_over_limit else 0)


if __name__ == "__main__":
    main()
