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
CORE = [
    "test_files.py",
    "test_locks.py",
    *(f"data/dataset/test_{name}.py" for name in ("cache", "dataset", "prepare")),
    *(f"data/reading/test_{name}.py" for name in ("sources", "tars")),
    "data/dataset/test_writer.py",
    "data/faces/test_journal.py",
    "runs/test_lock.py",
    "runs/test_directory.py",
    "runs/test_checkpoint.py",
    "training/test_loop.py::test_resume_after_kill_9_is_bit_exact[lsgan-64]",
    "training/test_loop.py::test_the_log_has_all_metrics[dcgan-128]",
    "generation/test_artifact.py",
    "generation/test_generator.py",
    "generation/test_grid.py",
]
TOO_LONG = [
    "runs/test_checkpoint.py::test_no_flipped_bit_of_a_manifest_changes_what_is_read",
    "test_locks.py::test_processes_that_remove_the_file_take_turns",  # ask 20 times a second
]
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


def test_the_core_needs_no_posix():
    ended = without_posix(
        *("-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *(f"--deselect=tests/{test}" for test in TOO_LONG),
        *(str(TESTS / test) for test in CORE),
        f"--rootdir={TESTS.parent}",
    )
    assert ended.returncode == 0, ended.stdout[-10_000:] + ended.stderr
    assert not SKIPPED.search(ended.stdout), ended.stdout
    assert len(re.findall(r"^SKIPPED ", ended.stdout, re.MULTILINE)) < 10
