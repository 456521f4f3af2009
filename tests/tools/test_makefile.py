"""`make` creates the environment with the requested Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
OURS = f"{sys.version_info.major}.{sys.version_info.minor}"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@pytest.fixture
def make(tmp_path):
    """Return a function that runs make for the environment, with `-n` by default."""
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "pyproject.toml").touch()

    def run(made_by=None, python=sys.executable, options=("-n",)):
        if made_by:
            (tmp_path / ".venv").mkdir()
            (tmp_path / ".venv" / "pyvenv.cfg").write_text(f"home = x\nversion = {made_by}.1\n")
            (tmp_path / ".venv" / "installed").touch()
        return subprocess.run(
            ["make", *options, ".venv/installed", *([f"PYTHON={python}"] if python else [])],
            cwd=tmp_path,
            env={
                name: value
                for name, value in os.environ.items()
                if "MAKE" not in name and name != "PYTHON"
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_environment_of_another_python_is_recreated(make):
    assert f"{sys.executable} -m venv --clear .venv" in make("3.2").stdout


def test_environment_of_this_python_is_kept(make):
    assert "is up to date" in make(OURS).stdout


def test_environment_is_kept_if_no_python_is_requested(make):
    assert "is up to date" in make("3.2", python=None).stdout


def test_environment_is_created_if_no_python_is_requested(make):
    assert "python3 -m venv" in make(python=None).stdout


def test_environment_is_created(make):
    assert f"{sys.executable} -m venv" in make().stdout


@pytest.mark.parametrize("body", ["exit 1", "exit 127"])
def test_outdated_or_missing_python_is_one_line(make, tmp_path, body):
    old = tmp_path / "old-python"
    if body != "exit 127":
        old.write_text(f"#!/bin/sh\n{body}\n")
        old.chmod(0o755)
    done = make(made_by=OURS, python=old, options=())
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        f"{old} is not Python 3.11 or newer: name one, as in make test PYTHON=python3.12"
    )
    assert (tmp_path / ".venv" / "installed").exists()
