"""Shell commands in messages."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

import pytest

from catgan.errors import shell_words

ARGUMENTS = ["plain", "my run", "it's", 'say "cat"', "$HOME", "a;b", "back\\slash", ""]


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_shell_splits_into_the_same_arguments(argument):
    assert shlex.split(shell_words(argument)) == [argument]
    assert shlex.split(shell_words("catgan", argument, "x")) == ["catgan", argument, "x"]


def test_windows_quoting(monkeypatch):
    monkeypatch.setattr("catgan.errors.os", SimpleNamespace(name="nt"))
    assert shell_words(r"C:\cats\run") == r"C:\cats\run"
    assert shell_words(r"C:\my cats\run", "x") == r'"C:\my cats\run" x'
