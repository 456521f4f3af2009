"""The environment is of the Python that was asked for."""

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
    """Ask make what it would do about the environment (`-n`), or let it do it."""
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


def test_the_environment_of_another_python_is_made_anew(make):
    assert f"{sys.executable} -m venv --clear .venv" in make("3.2").stdout


def test_the_environment_of_this_python_is_kept(make):
    assert "is up to date" in make(OURS).stdout


def test_an_environment_is_kept_when_no_python_is_asked_for(make):
    assert "is up to date" in make("3.2", python=None).stdout


def test_the_first_environment_of_no_python_in_particular_is_made(make):
    assert "python3 -m venv" in make(python=None).stdout


def test_the_first_environment_is_made(make):
    assert f"{sys.executable} -m venv" in make().stdout


@pytest.mark.parametrize("body", ["exit 1", "exit 127"])
def test_an_old_or_missing_python_is_one_line(make, tmp_path, body):
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
