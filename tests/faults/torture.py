"""Kills real training processes at random moments, and resumes them, until it has done so often.

    make torture                                                # 300 kills
    PYTHONPATH=tests python -m faults.torture --kills 20        # a first look
    PYTHONPATH=tests python -m faults.torture --table           # the injected faults instead

A run is begun by `python -m catgan train`, killed by SIGKILL after a random time, resumed by
`--resume`, killed again, and so on to its end; then it is compared to the bit with one that nobody
disturbed, and the next run begins. The moments are drawn evenly over the life of a process: its
imports, the reading of the run, the steps, every kind of writing, the end. Ends with code 1 if
anything was not as docs/concepts/determinism.md promises.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from faults.faults import FAULTS, CannotInflictError
from faults.scene import Scene, Stage, differences, leftovers, settings

from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.runs.directory import RunDirectory, is_run

IMAGES, CHECKPOINT = 960, 80  # of a run; between two checkpoints
WORDS = settings(
    training__images=IMAGES,
    output__checkpoint_images=CHECKPOINT,
    output__sheet_images=160,
)


@dataclass
class MetricAverager:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    runs: int = 0
    different: list[str] = field(default_factory=list)


def process(data: Path, run: Path) -> list[str]:
    """The command that a person would give next."""
    if is_run(run):
        return [sys.executable, "-m", "catgan", "train", str(data), "--resume", str(run)]
    words = [sys.executable, "-m", "catgan", "train", str(data), "--recipe", "quick-64"]
    return [*words, "--out", str(run), *WORDS]


def wait(words: list[str], seconds: float | None) -> tuple[int | None, str]:
    """The exit code and error of a process, or None if it was killed after so many seconds."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            _, error = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            return None, ""
        return running.returncode, error.strip()


def state(run: Path) -> tuple[int, int]:
    """Images that the log has seen, and images of the last checkpoint."""
    if not is_run(run):
        return 0, 0
    directory = RunDirectory.open(run)
    rows = directory.rows()
    saved = directory.checkpoints.pointer("latest")
    return (rows[-1]["images"] if rows else 0), (int(saved) if saved else 0)


def moment(run: Path, moved: bool) -> str:
    """Where a kill struck, by what it left."""
    left = leftovers(run) if run.exists() else []
    if not is_run(run):
        return "before the run's directory was made"
    if any(name.startswith(".partial-") for name in left):
        return "while a checkpoint was written or removed"
    if left:
        return "while another file was written"
    return "between two writes, training" if moved else "before the first step, or without one"


def kill_and_resume(kills: int, seed: int, place: Path) -> MetricAverager:
    """The whole experiment."""
    averager, moments, data = MetricAverager(), random.Random(seed), place / "cats"
    write_procedural_cats(data, 60, 32)
    straight = place / "straight"
    began = time.monotonic()
    code, error = wait(process(data, straight), None)
    if code:
        raise SystemExit(error)
    whole = time.monotonic() - began
    began = time.monotonic()
    wait(process(data, straight), None)  # takes no step: all of it is start and end
    start = time.monotonic() - began
    life = (
        start + (whole - start) / 4
    )  # a process's chance to reach the end from its beginning: none
    print(f"a process starts in {start:.1f} s, the run takes {whole:.1f} s", flush=True)
    while sum(averager.kills.values()) < kills:
        run = place / f"run-{averager.runs}"
        averager.runs += 1
        code = None
        while code is None:
            enough = sum(averager.kills.values()) >= kills
            before = state(run)
            code, error = wait(
                process(data, run), None if enough else moments.uniform(0.02 * life, life)
            )
            seen, saved = state(run)
            if code is None:
                averager.kills[moment(run, (seen, saved) != before)] += 1
                averager.lost.append(seen - saved)
            elif code:
                averager.rejected.append(error)
        if code == 0:
            found = differences(run, straight) + leftovers(run)
            averager.different += [f"{run.name}: {what}" for what in found]
    return averager


def report(averager: MetricAverager) -> bool:
    """Print what happened; whether all is as promised."""
    print("\n| killed | times |\n|---|---|")
    for what, times in averager.kills.most_common():
        print(f"| {what} | {times} |")
    print(f"| in all | {sum(averager.kills.values())} |")
    print(f"\nruns: {averager.runs} of {IMAGES} images, a checkpoint every {CHECKPOINT}")
    print(f"could not resume: {len(averager.rejected)}")
    print(f"not the straight run to the bit: {len(averager.different)}")
    most, mean = max(averager.lost, default=0), sum(averager.lost) / max(len(averager.lost), 1)
    print(f"images lost by a kill, to be trained on again: at most {most}, mean {mean:.1f}")
    for line in averager.rejected + averager.different:
        print(f"  {line}")
    return not averager.rejected and not averager.different and most <= CHECKPOINT


def what_was_seen(scene: Scene, error: str, said: list[str]) -> str:
    """The line that a person read, without this machine's paths and numbers."""
    told = [line for line in said if "kimg" not in line and not line.startswith("catgan ")]
    line = error or next((line for line in told if "corrupt" in line or "latest" in line), "")
    line = line or next((line for line in told if line.startswith(("finished", "stopped"))), "")
    line = line.replace(str(scene.run), "RUN").replace(str(scene.data), "CATS")
    since = r"process \d+ since [-\d]+ \d\d:\d\d:\d\d"
    line = re.sub(since, "process 4711 since 2026-11-22 09:30:00", line)
    return re.sub(r"kill \d+", "kill 4711", line)


def table(place: Path) -> bool:
    """Inflict every fault and print what the user saw; whether all is as promised."""
    stage, sound = Stage(place), True
    print("| fault | code | what the command said | resumed afterwards |\n|---|---|---|---|")
    for fault in FAULTS:
        scene = stage.scene()
        try:
            with fault.inflict(scene):
                ended = scene.resume(*fault.words)
        except CannotInflictError as error:
            print(f"| {fault.name} | | left out: {error} | |")
            continue
        after = "bit-equal"
        if not fault.mendable:
            after = "no"
        elif (fault.code and scene.resume().code) or differences(scene.run, scene.straight):
            after, sound = "FAILED", False
        sound = sound and ended.code == fault.code
        line = what_was_seen(scene, ended.error, ended.said)
        line = f"`{line.replace('`', '')}`" if line else "(nothing)"
        print(f"| {fault.name} | {ended.code} | {line} | {after} |", flush=True)
    return sound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="catgan-torture-") as directory:
        place = Path(directory)
        if arguments.table:
            sound = table(place)
        else:
            began = time.monotonic()
            sound = report(kill_and_resume(arguments.kills, arguments.seed, place))
            print(f"took {(time.monotonic() - began) / 60:.0f} min")
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
