"""Measure photos a second and peak memory of `catgan prepare --faces`.

    python benchmarks/prepare.py PHOTOS                # 2,000 photos
    python benchmarks/prepare.py PHOTOS --count 20     # a quick check

PHOTOS is a folder or an archive with any number of photos. They are repeated until there are
`--count`, under new names and compressed again each time, so that no two files are equal. The
benchmark runs the command itself, on all cores available to this process, and measures from its
start to the finished dataset. Near-duplicates are kept, since the photos are repeated.

Memory is Linux's peak resident memory of each process (VmHWM): for the command, and as a sum for
all processes that it starts, although they may not peak at the same time.
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

POLL_INTERVAL = 0.05  # seconds


def fill(folder: Path, source: Path, count: int) -> None:
    """Write `count` photos into `folder`, no two with equal bytes."""
    with open_source(source) as files:
        number = repetition = 0
        while number < count:
            before = number
            for file in files:
                try:
                    data = file.read()
                    if repetition:
                        buffer = io.BytesIO()
                        # The quality repeats after 30 repetitions; the comment is always new.
                        Image.fromarray(decode(data)).save(
                            buffer,
                            "JPEG",
                            quality=95 - repetition % 30,
                            comment=f"repetition {repetition}",
                        )
                        data = buffer.getvalue()
                except ImageRejected:
                    continue
                (folder / f"{number:06d}.jpg").write_bytes(data)
                number += 1
                if number == count:
                    break
            if number == before:
                sys.exit(f"{source}: expected photos, found none")
            repetition += 1


def peak_memory(process: int) -> float:
    """Return the peak resident memory of a process so far, in MiB; 0 if it has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def descendants(process: int) -> list[int]:
    """Return the ids of all processes that a process has started, directly or indirectly."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(number) for number in path.read_text().split()]
        except OSError:
            continue
        found += children + [each for child in children for each in descendants(child)]
    return found


def run_and_measure(command: list[str]) -> tuple[float, float, dict[int, float], str]:
    """Run a command; return seconds, its peak MiB, those of its descendants, its output."""
    own_peak, child_peaks = 0.0, {}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    finished = threading.Event()

    def poll() -> None:
        nonlocal own_peak
        while not finished.wait(POLL_INTERVAL):
            own_peak = max(own_peak, peak_memory(process.pid))
            for child in descendants(process.pid):
                child_peaks[child] = max(child_peaks.get(child, 0.0), peak_memory(child))

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        output, _ = process.communicate()
    finally:
        finished.set()
        poller.join()
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"catgan exited with code {process.returncode}")
    return seconds, own_peak, child_peaks, output


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        fill(folder, arguments.photos, arguments.count)
        command = [sys.executable, "-m", "catgan", "prepare", str(folder), f"{temporary}/cats"]
        seconds, own_peak, child_peaks, output = run_and_measure(
            [*command, "--faces", "--gate", "distance=-1"]
        )
    (summary,) = [line for line in output.splitlines() if " cat faces at " in line]
    print(summary)
    print("\n| photos | cores | photos/s | peak MiB, command | peak MiB, its children |")
    print("|---|---|---|---|---|")
    print(
        f"| {arguments.count:,} | {len(os.sched_getaffinity(0))} | "
        f"{arguments.count / seconds:.2f} | {own_peak:,.0f} | {sum(child_peaks.values()):,.0f} |"
    )


if __name__ == "__main__":
    main()
