"""From nothing to a cat on disk: how long, and how large is what has to be installed?

    python benchmarks/sample_startup.py [cats.onnx]

Wall time of whole processes, from their start to their end, median of five after one warm-up. With
an artifact it is drawn from, else from the generator that the package carries. Run it in an
environment with only the core install to see what a newcomer gets: it prints the size of every
package that such an install brings.
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


def seconds(command: list[str], place: Path) -> float:
    """Wall time of one process in the directory `place`."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, cwd=place)
    return time.perf_counter() - began


def core_packages(root: str = "catgan") -> list[str]:
    """`root` and what it requires without extras, as installed here, by name."""
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
    """What a package's files take on disk, compiled bytecode left out."""
    files = [path for path in metadata.files(name) or [] if path.suffix != ".pyc"]
    places = [Path(path.locate()) for path in files]
    return sum(place.stat().st_size for place in places if place.is_file())


def main() -> None:
    """Measure and print the tables."""
    source = [str(Path(word).resolve()) for word in sys.argv[1:2]]
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
    with tempfile.TemporaryDirectory() as place:
        for name, command in commands.items():
            seconds(command, Path(place))
            times = [seconds(command, Path(place)) for _ in range(REPEATS)]
            print(f"{name:28s} {statistics.median(times):8.3f} {min(times):8.3f}")
        if not (Path(place) / "cats.png").is_file():
            sys.exit("catgan sample left no cats.png")
    print()
    sizes = {name: installed_bytes(name) for name in core_packages()}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{name:28s} {size / 1e6:8.1f} MB")
    print(f"{'core install':28s} {sum(sizes.values()) / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
