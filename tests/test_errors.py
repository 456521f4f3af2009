"""How messages repeat what somebody wrote, and the commands that they print."""

from __future__ import annotations

import shlex
from types import SimpleNamespace

import pytest

from catgan.errors import shell_words

WORDS = ["plain", "my run", "it's", 'say "cat"', "$HOME", "a;b", "back\\slash", ""]


@pytest.mark.parametrize("word", WORDS)
def test_a_printed_word_is_one_word_again_in_a_shell(word):
    assert shlex.split(shell_words(word)) == [word]
    assert shlex.split(shell_words("catgan", word, "x")) == ["catgan", word, "x"]


def test_windows_paths_are_printed_as_its_shells_read_them(monkeypatch):
    monkeypatch.setattr("catgan.errors.os", SimpleNamespace(name="nt"))
    assert shell_words(r"C:\cats\run") == r"C:\cats\run"
    assert shell_words(r"C:\my cats\run", "x") == r'"C:\my cats\run" x'
