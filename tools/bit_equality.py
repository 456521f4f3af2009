"""Check that a change of the code changes no result.

    git stash; python tools/bit_equality.py record before.json; git stash pop
    python tools/bit_equality.py compare before.json

For one recipe of each family: the weights, the EMA, the optimizer's state, the log and the sample
grid after 40 steps on procedural cats (float32, one thread). Then the bundled generator's samples
of seeds 0 to 63, and the scores of one evaluation. Values are compared, not names, so a renaming
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


def tensors_digest(path: Path) -> str:
    """Return one digest of the values in a safetensors file, independent of their names."""
    arrays = load_file(path).values()
    return digest(
        *sorted(digest(f"{a.dtype} {a.shape}".encode(), a.tobytes()).encode() for a in arrays)
    )


def numbers(value: Any) -> Iterator[str]:
    """Yield all numbers in a JSON document as exact text, in document order."""
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
    """Run `catgan` with one thread; exit with its output if it fails."""
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


def train(recipe: str, cats: Path, out: Path) -> dict[str, str]:
    """Return the digests of everything that a short run of `recipe` writes."""
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
    options = ["--from", "bundled"] if recipe == "transfer" else []
    for key, value in settings.items():
        options += ["--set", f"{key}={value}"]
    run("train", cats, "--recipe", recipe, "--out", out, *options)
    digests = {}
    for file in sorted((out / "checkpoints" / f"{STEPS * BATCH:09d}").glob("*.safetensors")):
        digests[f"{recipe} {file.stem}"] = tensors_digest(file)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    digests[f"{recipe} log"] = digest(" ".join(numbers(rows)).encode())
    with Image.open(out / "samples" / f"{STEPS * BATCH:09d}.png") as image:
        digests[f"{recipe} grid"] = digest(image.tobytes())
    return digests


def evaluate(reals: Path, run_directory: Path) -> str:
    """Return a digest of the scores of one evaluation."""
    run("evaluate", run_directory, "--against", reals, "--samples", 300, "--extractor", "raw-64")
    (file,) = run_directory.glob("evaluation/**/evaluation.json")
    scores = json.loads(file.read_text())["scores"]
    return digest(" ".join(numbers(scores)).encode())


def compute_digests() -> dict[str, str]:
    """Return all digests, by name."""
    digests: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        for size in (64, 128):
            write_procedural_cats(directory / f"cats-{size}", CATS, size)
            pixels = np.load(directory / f"cats-{size}" / "images.npy")
            digests[f"procedural cats, {size} px"] = digest(pixels.tobytes())
        for recipe in RECIPES:
            size = 64 if recipe in ("lsgan-64", "projected-128") else 128
            digests |= train(recipe, directory / f"cats-{size}", directory / recipe)
        digests["bundled samples"] = digest(catgan.load().sample(range(64)).tobytes())
        digests["evaluation"] = evaluate(directory / "cats-64", directory / "lsgan-64")
    return digests


def main() -> None:
    """Record the digests, or compare them with recorded ones; exit with 1 if any differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    after = compute_digests()
    if arguments.command == "record":
        arguments.file.write_text(json.dumps(after, indent=1))
        return
    before = json.loads(arguments.file.read_text())
    for name in dict.fromkeys([*before, *after]):
        same = before.get(name) == after.get(name)
        verdict = "same   " if same else "DIFFERS"
        print(f"{verdict}  {before.get(name, '-'):16}  {after.get(name, '-'):16}  {name}")
    sys.exit(before != after)


if __name__ == "__main__":
    main()
