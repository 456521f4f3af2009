"""Coverage-guided fuzzing of the parsers with Atheris, one process after another.

python tests/fuzz/with_atheris.py [--seconds 600] [--out fuzz] [PARSER ...]

Every parser gets so many seconds, and an input at most 5 of the processor and 2 GiB of memory. What
is found is written to OUT/PARSER/crash-*, and the inputs that led somewhere new are kept in
OUT/PARSER/corpus for the next time. Ends with 1 when anything was found.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
for place in (HERE.parents[1] / "src", HERE.parent, HERE.parent / "evaluation"):
    sys.path.insert(0, str(place))

SECONDS_AN_INPUT, MEBIBYTES = 5, 2048
HANGS = 120  # seconds by the clock, which on a busy machine says nothing sooner
MAX_ARTIFACT_BYTES = 2**16  # of an input


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one parser in this process, until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["catgan", "tarfile", "tomllib", "PIL"]):
        from fuzz.targets import TARGETS, check

        target = next(target for target in TARGETS if target.name == name)
        for seed in target.seeds():  # imports what the parser imports
            with tempfile.TemporaryDirectory() as empty:
                target.parse(seed, Path(empty))
    place = Path(tempfile.mkdtemp())

    def one_input(data: bytes) -> None:
        shutil.rmtree(place)
        place.mkdir()
        began = time.process_time()
        check(target, data, place)
        assert time.process_time() - began < SECONDS_AN_INPUT, "too slow"

    if not target.text:
        atheris.Setup([sys.argv[0], *arguments], one_input)
    else:
        atheris.Setup([sys.argv[0], *arguments], one_input, custom_mutator=_mutate_json)
    atheris.Fuzz()


def _mutate_json(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time other values in a JSON document, which bytes would seldom make."""
    import atheris
    from fuzz.strategies import edit_json

    random = Random(seed)
    if random.random() < 0.5:
        try:
            changed = edit_json(data, random)
        except (ValueError, RecursionError, IndexError):
            return atheris.Mutate(data, most)
        if len(changed) <= most:
            return changed
    return atheris.Mutate(data, most)


def fuzz_all(names: list[str], seconds: int, out: Path) -> int:
    """Fuzz the parsers one after the other, each in its own process; how many failed."""
    from fuzz.targets import TARGETS

    targets = {target.name: target for target in TARGETS}
    unknown = set(names) - set(targets)
    if unknown:
        sys.exit(f"no parser {', '.join(sorted(unknown))}; there are {', '.join(targets)}")
    print(f"{'parser':12} {'inputs':>10} {'a second':>9} {'new':>6}  found", flush=True)
    failed = 0
    for name in names or targets:
        corpus, seeds = out / name / "corpus", out / name / "seeds"
        for directory in (corpus, seeds):
            directory.mkdir(parents=True, exist_ok=True)
        findings = HERE / "findings" / name
        known = [path.read_bytes() for path in findings.glob("*")] if findings.is_dir() else []
        for number, seed in enumerate([*targets[name].seeds(), *known]):
            (seeds / f"{number:02}").write_bytes(seed)
        before = set((out / name).glob("*-*"))
        command = [
            sys.executable,
            __file__,
            f"--only={name}",
            f"-max_total_time={seconds}",
            f"-timeout={HANGS}",
            f"-rss_limit_mb={MEBIBYTES}",
            f"-max_len={MAX_ARTIFACT_BYTES}",
            f"-artifact_prefix={out / name}/",
            "-print_final_stats=1",
            str(corpus),
            str(seeds),
        ]
        with (out / name / "log.txt").open("w") as log:
            ended = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        text = (out / name / "log.txt").read_text(errors="replace")
        found = sorted(path.name for path in set((out / name).glob("*-*")) - before)
        stats = {key: int(value) for key, value in re.findall(r"stat::(\w+):\s+(\d+)", text)}
        inputs = stats.get("number_of_executed_units", 0)
        verdict = ", ".join(found) or ("nothing" if ended == 0 else f"ended with {ended}: log.txt")
        print(
            f"{name:12} {inputs:10,} {stats.get('average_exec_per_sec', 0):9,} "
            f"{stats.get('new_units_added', 0):6,}  {verdict}",
            flush=True,
        )
        failed += bool(found) or ended != 0
    return failed


def main() -> None:
    """The command line above; `--only` is what it starts itself with."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("--only="):
        fuzz(sys.argv[1].removeprefix("--only="), sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help="all of them without")
    parser.add_argument("--seconds", type=int, default=600, help="for each parser (600)")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="findings and corpus (fuzz)")
    given = parser.parse_args()
    sys.exit(1 if fuzz_all(given.parsers, given.seconds, given.out) else 0)


if __name__ == "__main__":
    main()
