"""What does a newcomer get? The core install in an environment of its own: size, contents, speed.

    python benchmarks/core_install.py

Makes a virtual environment, installs this checkout into it with pip and without extras, and prints
what is there, that torch is not, and wall times of whole processes, from their start to their end:
the median of five after one warm-up. Ends with code 1 if a time is over its limit.
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


def install(place: Path) -> Path:
    """A new environment in `place` with the checkout in it; its directory of programs."""
    venv.create(place, with_pip=True)
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", CHECKOUT], check=True, cwd=place)
    return programs


def packages(programs: Path) -> dict[str, int]:
    """Every package of the environment but pip, and the bytes of its files, bytecode left out."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    library = subprocess.run(
        [programs / "python", "-c", script], capture_output=True, check=True, text=True
    ).stdout.strip()
    found = {}
    for each in metadata.distributions(path=[library]):
        if each.name != "pip":
            files = [Path(file.locate()) for file in each.files or [] if file.suffix != ".pyc"]
            found[f"{each.name} {each.version}"] = sum(
                file.stat().st_size for file in files if file.is_file()
            )
    return found


def main() -> None:
    """Install, measure, print."""
    # What this environment adds to the path of modules would be seen in the new one, too.
    os.environ.pop("PYTHONPATH", None)
    missed = False
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary).resolve()
        programs = install(place / "environment")
        sizes = packages(programs)
        for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
            print(f"{name:34s} {size / 1e6:8.1f} MB")
        print(f"{'core install':34s} {sum(sizes.values()) / 1e6:8.1f} MB")

        python = str(programs / "python")
        tried = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
        if "No module named 'torch'" not in tried.stderr:
            sys.exit("torch is in the core install, or is broken")
        print("import torch: there is no such module\n")

        commands = {
            "python -c pass": [python, "-c", "pass"],
            "import catgan": [python, "-c", "import catgan"],
            "catgan sample --seeds 7 -o x.png": [
                str(programs / "catgan"), "sample", "--seeds", "7", "-o", "x.png",
            ],
        }  # fmt: skip
        print(f"{'command':34s} {'median s':>8s} {'fastest':>8s} {'limit':>8s}")
        for name, command in commands.items():
            seconds(command, place)
            times = [seconds(command, place) for _ in range(REPEATS)]
            median, limit = statistics.median(times), LIMITS.get(name)
            over = limit is not None and median >= limit
            missed |= over
            verdict = "" if limit is None else f" {limit:8.2f}{'  missed' if over else ''}"
            print(f"{name:34s} {median:8.3f} {min(times):8.3f}{verdict}")
        if not (place / "x.png").is_file():
            sys.exit("catgan sample left no x.png")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
