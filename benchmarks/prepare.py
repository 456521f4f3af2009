"""How many photos a second does `catgan prepare --faces` look at, and how much memory does it take?

    python benchmarks/prepare.py --photos FOLDER      # 2,000 photos, with one worker and with all
    python benchmarks/prepare.py --count 20           # a quick look

The photos of FOLDER are used over and over under new names until there are `--count`; without
FOLDER they are made up: drawn cats of several sizes in front of noise, 1600 x 1200 px. Each run is
a process of its own, so that the peak memory is its own; it is interrupted after half of the photos
and resumed, and the second half counts what it did not have to do again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def made_up_photo(seed: int) -> Image.Image:
    """Two drawn cats in front of coarse noise."""
    from catgan.data.drawn import draw_cat

    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC)
    for left in (100, 900):
        side = int(random.integers(200, 600))
        cat = Image.fromarray(draw_cat(int(random.integers(0, 500)), 256)).resize((side, side))
        photo.paste(cat, (left, int(random.integers(0, 1200 - side))))
    return photo


def fill(folder: Path, photos: Path | None, count: int) -> None:
    """Put `count` photos into `folder`, few of them different."""
    if photos is None:
        originals = [folder / f"{seed:06d}.jpg" for seed in range(min(count, 40))]
        for seed, path in enumerate(originals):
            made_up_photo(seed).save(path, quality=90)
    else:
        found = sorted(path for path in photos.rglob("*") if path.is_file())
        originals = []
        for number, path in enumerate(found[:count]):
            originals.append(folder / f"{number:06d}{path.suffix}")
            shutil.copyfile(path, originals[-1])
    for number in range(len(originals), count):
        original = originals[number % len(originals)]
        os.link(original, folder / f"{number:06d}{original.suffix}")


class _Half(Exception):  # noqa: N818 - an interruption, as Ctrl-C is
    """Half of the photos are done."""


def measure(folder: Path, destination: Path, workers: int, *, interrupt: bool) -> dict[str, float]:
    """Prepare in this process; seconds, photos looked at, faces, peak memory in MiB."""
    from catgan.data.faces.prepare import prepare_faces
    from catgan.networks.imagenet import imagenet_classifier

    done_before, stopped = 0, 0

    def progress(done: int, total: int, faces: int, without: int) -> None:
        nonlocal stopped
        stopped = done
        if interrupt and done >= total // 2:
            raise _Half

    started = time.perf_counter()
    faces = 0
    with imagenet_classifier() as classify:
        try:
            report = prepare_faces(
                folder, destination, 128, classify, workers=workers, on_progress=progress
            )
            faces, done_before = report.kept, report.known
        except _Half:
            pass
    return {
        "seconds": time.perf_counter() - started,
        "photos": stopped - done_before,
        "faces": faces,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        folder, destination, workers, interrupt = arguments.run
        result = measure(
            Path(folder), Path(destination), int(workers), interrupt=interrupt == "half"
        )
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        fill(folder, arguments.photos, arguments.count)
        print("| workers | part | photos | photos/s | peak MiB |\n|---|---|---|---|---|")
        for workers in sorted({1, os.cpu_count() or 1}):
            destination = Path(temporary) / f"cats-{workers}"
            for part in ("half", "rest"):
                words = ["--run", folder, destination, str(workers), part]
                done = subprocess.run(
                    [sys.executable, __file__, *map(str, words)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                found = json.loads(done.stdout)
                rate = found["photos"] / found["seconds"]
                print(
                    f"| {workers} | {part} | {found['photos']:,} | {rate:.2f} | "
                    f"{found['memory']:,.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
