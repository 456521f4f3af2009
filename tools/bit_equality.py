"""Show that a change of the code changes no result.

    git stash; python tools/bit_equality.py record before.json; git stash pop
    python tools/bit_equality.py compare before.json

For one recipe of each family: the weights, the EMA, the optimizer's state, the log and the sample
grid after 40 steps on procedural cats (float32, one thread). Then the bundled generator's samples
of seeds 0 to 63, and the scores of one evaluation. Names do not count, values do, so a renaming
compares equal. Machine facts and times are left out. Both sides must run on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

import catgan
from catgan.data.synthetic.procedural import write_procedural_cats

STEPS, BATCH = 40, 8
CATS = 320
RECIPES = ("dcgan-128", "lsgan-64", "projected-128", "transfer")
TIMES_AND_MACHINE = {"machine", "seconds", "unix_time", "created", "fingerprint"}


def digest(*parts: bytes) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of all parts."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def tensors(path: Path) -> str:
    """Return one digest of the values in a safetensors file, whatever their names."""
    arrays = load_file(path).values()
    return digest(
        *sorted(digest(f"{a.dtype} {a.shape}".encode(), a.tobytes()).encode() for a in arrays)
    )


def numbers(value: Any) -> Iterator[str]:
    """Yield all numbers in a JSON document, in order of their place, as exact text."""
    if isinstance(value, dict):
        for key in value:
            if key not in TIMES_AND_MACHINE:
                yield from numbers(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield repr(float(value))


def run(*arguments: str | Path | int) -> None:
    """Run `catgan` with one thread; its output is shown only if it fails."""
    command = [sys.executable, "-m", "catgan", *map(str, arguments)]
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def trained(recipe: str, cats: Path, out: Path) -> dict[str, str]:
    """Return digests of everything that a short run of `recipe` leaves."""
    settings = {
        "training.images": STEPS * BATCH,
        "training.batch_size": BATCH,
        "training.precision": "float32",
        "output.score_samples": 0,
        "output.log_images": 2 * BATCH,
        "output.grid_images": STEPS * BATCH,
        "output.checkpoint_images": STEPS * BATCH,
    }
    if recipe == "projected-128":  # smaller, and so faster
        settings |= {"network.resolution": 64, "network.channels": 96, "loss.penalty": 3.0}
        settings |= {"loss.penalty_final": 0.1, "loss.penalty_images": 40_000}
    if recipe == "transfer":
        settings |= {
            "optimizer.generator_freeze_images": 10 * BATCH,
            "optimizer.generator_ramp_images": 10 * BATCH,
        }
    changes = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    start = ["--from", "bundled"] if recipe == "transfer" else []
    run("train", cats, "--recipe", recipe, "--out", out, *start, *changes)
    found = {}
    for file in sorted((out / "checkpoints" / f"{STEPS * BATCH:09d}").glob("*.safetensors")):
        found[f"{recipe} {file.stem}"] = tensors(file)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    found[f"{recipe} log"] = digest(" ".join(numbers(rows)).encode())
    with Image.open(out / "samples" / f"{STEPS * BATCH:09d}.png") as image:
        found[f"{recipe} grid"] = digest(image.tobytes())
    return found


def evaluated(reals: Path, run_directory: Path) -> str:
    """Return a digest of the scores of one evaluation."""
    run("evaluate", run_directory, "--against", reals, "--samples", 300, "--extractor", "raw-64")
    (file,) = run_directory.glob("evaluation/**/evaluation.json")
    scores = json.loads(file.read_text())["scores"]
    return digest(" ".join(numbers(scores)).encode())


def results() -> dict[str, str]:
    """Return all digests."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for size in (64, 128):
            write_procedural_cats(folder / f"cats-{size}", CATS, size)
            pixels = np.load(folder / f"cats-{size}" / "images.npy")
            found[f"procedural cats, {size} px"] = digest(pixels.tobytes())
        for recipe in RECIPES:
            size = 64 if recipe in ("lsgan-64", "projected-128") else 128
            found |= trained(recipe, folder / f"cats-{size}", folder / recipe)
        found["bundled samples"] = digest(catgan.load().sample(range(64)).tobytes())
        found["evaluation"] = evaluated(folder / "cats-64", folder / "lsgan-64")
    return found


def main() -> None:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    found = results()
    if given.command == "record":
        given.file.write_text(json.dumps(found, indent=1))
        return
    before = json.loads(given.file.read_text())
    for name in dict.fromkeys([*before, *found]):
        same = before.get(name) == found.get(name)
        verdict = "same   " if same else "DIFFERS"
        print(f"{verdict}  {before.get(name, '-'):16}  {found.get(name, '-'):16}  {name}")
    sys.exit(before != found)


if __name__ == "__main__":
    main()
