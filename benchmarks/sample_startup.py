"""Measure the time from a command to a cat on disk, and the size of the core install.

    python benchmarks/sample_startup.py [cats.onnx]

Prints wall times of whole processes, the median of five after one warm-up, with the given artifact
or the bundled generator, and the size of every package of the core install. Run it in an
environment with only the core install to measure what a new user gets.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

REPEATS = 5


def seconds(command: list[str], directory: Path) -> float:
    """Return the wall time of one process that runs in `directory`."""
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, cwd=directory)
    return time.perf_counter() - started


def core_packages(root: str = "catgan") -> list[str]:
    """Return the names of `root` and its dependencies without extras, as installed here."""
    found, queue = [], [root]
    while queue:
        name = queue.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system or an older Python
            continue
        found.append(key)
        for line in required:
            requirement, _, marker = line.partition(";")
            if "extra" not in marker:
                queue.append(re.match(r"[\w.-]+", requirement.strip())[0])
    return sorted(found)


def installed_bytes(name: str) -> int:
    """Return the bytes of a package's files, without bytecode."""
    files = [path for path in metadata.files(name) or [] if path.suffix != ".pyc"]
    paths = [Path(path.locate()) for path in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    """Measure and print the tables."""
    source = [str(Path(argument).resolve()) for argument in sys.argv[1:2]]
    catgan = [sys.executable, "-m", "catgan"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import catgan'": [sys.executable, "-c", "import catgan"],
        "catgan --help": [*catgan, "--help"],
        "catgan info": [*catgan, "info", *source],
        "catgan sample --seeds 7": [*catgan, "sample", *source, "--seeds", "7"],
        "catgan sample": [*catgan, "sample", *source],
    }
    print(f"{'command':28s} {'median s':>8s} {'fastest':>8s}")
    with tempfile.TemporaryDirectory() as directory:
        for name, command in commands.items():
            seconds(command, Path(directory))
            times = [seconds(command, Path(directory)) for _ in range(REPEATS)]
            print(f"{name:28s} {statistics.median(times):8.3f} {min(times):8.3f}")
        if not (Path(directory) / "cats.png").is_file():
            sys.exit("catgan sample wrote no cats.png")
    print()
    sizes = {name: installed_bytes(name) for name in core_packages()}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{name:28s} {size / 1e6:8.1f} MB")
    print(f"{'core install':28s} {sum(sizes.values()) / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
