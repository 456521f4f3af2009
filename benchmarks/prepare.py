"""How many photos a second does `catgan prepare --faces` work through, and with how much memory?

    python benchmarks/prepare.py PHOTOS                # 2,000 photos
    python benchmarks/prepare.py PHOTOS --count 20     # a quick look

PHOTOS is a folder or an archive of photos, of any number: they are taken over and over, under other
names and compressed anew each time, so that none is the same file as another, until there are
`--count`. The command itself is run, as a person would, on all the cores that this process may use,
from its start to the finished dataset; near-duplicates are kept, since the photos are repeated.

Memory is what Linux says was the most that each process had resident (VmHWM), for the command and
for all the processes that it started; of these the sum, although they may not have peaked at once.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from catgan.data.reading.images import ImageRejected, decode
from catgan.data.reading.sources import open_source

LOOK_EVERY = 0.05  # s


def fill(folder: Path, source: Path, count: int) -> None:
    """Put `count` photos into `folder`, no two of the same bytes."""
    with open_source(source) as files:
        number = turn = 0
        while number < count:
            before = number
            for file in files:
                try:
                    data = file.read()
                    if turn:
                        buffer = io.BytesIO()
                        # Beyond 30 turns the quality comes round again; the comment never does.
                        Image.fromarray(decode(data)).save(
                            buffer, "JPEG", quality=95 - turn % 30, comment=f"turn {turn}"
                        )
                        data = buffer.getvalue()
                except ImageRejected:
                    continue
                (folder / f"{number:06d}.jpg").write_bytes(data)
                number += 1
                if number == count:
                    break
            if number == before:
                sys.exit(f"{source} holds no photo")
            turn += 1


def peak(process: int) -> float:
    """The most that a process had resident until now, in MiB; 0 when it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def below(process: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(word) for word in path.read_text().split()]
        except OSError:
            continue
        found += children + [each for child in children for each in below(child)]
    return found


def watched(words: list[str]) -> tuple[float, float, dict[int, float], str]:
    """Run a command: seconds, its peak in MiB, those of what it started, what it printed."""
    own, others = 0.0, {}
    started = time.perf_counter()
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    finished = threading.Event()

    def watch() -> None:
        nonlocal own
        while not finished.wait(LOOK_EVERY):
            own = max(own, peak(running.pid))
            for process in below(running.pid):
                others[process] = max(others.get(process, 0.0), peak(process))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        printed, _ = running.communicate()
    finally:
        finished.set()
        watching.join()
    seconds = time.perf_counter() - started
    if running.returncode:
        sys.exit(f"catgan ended with {running.returncode}")
    return seconds, own, others, printed


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        fill(folder, arguments.photos, arguments.count)
        words = [sys.executable, "-m", "catgan", "prepare", str(folder), f"{temporary}/cats"]
        seconds, own, others, printed = watched([*words, "--faces", "--gate", "distance=-1"])
    (about,) = [line for line in printed.splitlines() if " cat faces at " in line]
    print(about)
    print("\n| photos | cores | photos/s | peak MiB, command | peak MiB, what it started |")
    print("|---|---|---|---|---|")
    print(
        f"| {arguments.count:,} | {len(os.sched_getaffinity(0))} | "
        f"{arguments.count / seconds:.2f} | {own:,.0f} | {sum(others.values()):,.0f} |"
    )


if __name__ == "__main__":
    main()
