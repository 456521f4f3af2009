"""The core of the suite, without what only POSIX systems have: see without_posix/sitecustomize.py.

It shows that the core asks for no such module and for no start of processes by copying them, and
that it holds where locks are files. It does not show what an open file forbids on Windows: that is
for the tests beside what is concerned (test_files.py, test_locks.py, data/dataset/test_writer.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CORE = {
    "files": ["test_files.py", "test_locks.py"],
    "data": [
        *(f"data/dataset/test_{name}.py" for name in ("cache", "dataset", "prepare", "writer")),
        *(f"data/reading/test_{name}.py" for name in ("sources", "tars")),
        "data/faces/test_journal.py",
    ],
    "runs": [f"runs/test_{name}.py" for name in ("lock", "directory", "checkpoint")],
    "training": [
        "training/test_loop.py::test_resume_after_kill_9_is_bit_exact[lsgan-64]",
        "training/test_loop.py::test_the_log_has_all_metrics[dcgan-128]",
    ],
    "generation": [f"generation/test_{name}.py" for name in ("artifact", "generator", "grid")],
}
MAX_SKIPPED = {"data": 7, "files": 2, "runs": 2, "training": 2, "generation": 2}
TOO_LONG = "test_flipped_bits_of_a_manifest_are_detected"  # of "runs"
# Only what POSIX itself is the subject of may be skipped, and what is skipped elsewhere, too.
SKIPPED = re.compile(
    r"^SKIPPED \[\d+\] \S+ (?!POSIX: |REAL DATA MISSING|root may ).*$", re.MULTILINE
)


def without_posix(*words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(TESTS / "without_posix"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("module", ["fcntl", "termios", "pwd", "grp", "resource"])
def test_the_modules_are_really_gone(module):
    ended = without_posix("-c", f"import subprocess, multiprocessing, {module}")
    assert "ModuleNotFoundError" in ended.stderr


def test_processes_are_started_afresh():
    script = "import multiprocessing; print(multiprocessing.get_start_method())"
    assert without_posix("-c", script).stdout == "spawn\n"


@pytest.mark.parametrize("part", CORE)
def test_the_core_needs_no_posix(part):
    ended = without_posix(
        *("-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"),
        f"--deselect=tests/runs/test_checkpoint.py::{TOO_LONG}",
        *(str(TESTS / test) for test in CORE[part]),
        f"--rootdir={TESTS.parent}",
    )
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    assert bool(re.search(r"\b1 deselected\b", ended.stdout)) == (part == "runs"), ended.stdout
    assert not SKIPPED.search(ended.stdout), ended.stdout
    assert len(re.findall(r"^SKIPPED ", ended.stdout, re.MULTILINE)) <= MAX_SKIPPED[part]
