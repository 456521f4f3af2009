"""Measure step time, resume time and memory with a thousand to a million images.

    python benchmarks/large_data.py [--counts 1000 10000 100000 1000000] [--steps 24]

Writes datasets of black images at 128 px as sparse files, which take no disk space, trains the
default recipe on each for some steps, and resumes the run. The result is useless, but reading,
sorting, shuffling, checking and caching cost as much as with photos. The step time is the median
over each process's steps after the fourth. "starts" and "resumes" are the times from the start of
the process to its first step. Memory is the peak anonymous memory of the resumed process (RssAnon,
Linux only), which excludes the page cache of the image file; it includes the cached features of
real images, which have their own limit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from catgan.config import load_recipe
from catgan.data.dataset.dataset import DESCRIPTION, FORMAT, FORMAT_VERSION, IMAGES

RECIPE = "projected-128"
WARMUP_STEPS = 4  # of each process, which are slower


def write_black_dataset(path: Path, count: int, side: int) -> None:
    """Write a dataset of `count` black images, every tenth held out."""
    path.mkdir()
    with (path / IMAGES).open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + count * side * side * 3)
    digest, image = hashlib.sha256(), bytes(side * side * 3)
    for _ in range(count):
        digest.update(image)
    records = [
        {
            "source": f"photos/{number:08}.jpg",
            "sha256": hashlib.sha256(b"%d" % number).hexdigest(),
            "crop": [0, 0, side, side],
            "split": "train" if number % 10 else "holdout",
        }
        for number in range(count)
    ]
    description = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "tool": "benchmarks/large_data.py",
        "name": f"{count} black images",
        "license": "CC0-1.0",
        "credit": "nobody",
        "resolution": side,
        "count": count,
        "identity": digest.hexdigest(),
        "images": records,
        "rejected": [],
        "duplicates": [],
    }
    (path / DESCRIPTION).write_text(json.dumps(description))


def train(run: Path, *arguments: object) -> tuple[float, list[float], int]:
    """Run `catgan train`; return seconds to the first step and of each step, and peak MiB."""
    log = run / "log.jsonl"
    known = len(log.read_text().splitlines()) if log.exists() else 0
    started, memory = time.time(), 0
    command = [sys.executable, "-m", "catgan", "train", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            memory = max(memory, _anonymous_mib(process.pid))
            time.sleep(0.05)
        if process.returncode:
            output.seek(0)
            sys.exit(output.read())
    lines = [json.loads(line) for line in log.read_text().splitlines()[known:]]
    machine = [line["machine"] for line in lines if "machine" in line]
    batch = load_recipe(RECIPE).training.batch_size
    steps = [batch / each["images_per_second"] for each in machine]
    return machine[0]["unix_time"] - steps[0] - started, steps[WARMUP_STEPS:], memory


def _anonymous_mib(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon")), 0)


def main() -> None:
    """Write the datasets, train, resume, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10**n for n in (3, 4, 5, 6)])
    parser.add_argument("--steps", type=int, default=24)
    arguments = parser.parse_args()
    if arguments.steps <= WARMUP_STEPS:
        parser.error(f"--steps {arguments.steps}: expected more than {WARMUP_STEPS} warm-up steps")
    config = load_recipe(RECIPE)
    batch, side = config.training.batch_size, config.network.resolution
    images = arguments.steps * batch
    settings = [
        f"output.log_images={batch}",
        f"output.checkpoint_images={images}",
        f"output.grid_images={100 * images}",
        "output.score_samples=0",
    ]
    print(f"{'images':>9s} {'starts':>8s} {'step':>9s} {'resumes':>8s} {'step':>9s} {'memory':>9s}")
    with tempfile.TemporaryDirectory() as temporary:
        for count in arguments.counts:
            data, run = Path(temporary, f"data-{count}"), Path(temporary, f"run-{count}")
            write_black_dataset(data, count, side)
            options = [option for setting in settings for option in ("--set", setting)]
            new_run = [data, "--recipe", RECIPE, "--out", run, *options]
            start_seconds, steps, _ = train(run, *new_run, "--set", f"training.images={images}")
            resume_seconds, resumed_steps, memory = train(
                run, "--resume", run, "--set", f"training.images={2 * images}"
            )
            print(
                f"{count:9,} {start_seconds:6.1f} s {statistics.median(steps):7.3f} s "
                f"{resume_seconds:6.1f} s {statistics.median(resumed_steps):7.3f} s "
                f"{memory:5,} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
