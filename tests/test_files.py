"""Names that any system takes."""

from __future__ import annotations

import unicodedata

import pytest

from catgan.files import MAX_NAME_BYTES, file_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("raw-64", "raw-64"),
        ("a/run at 8", "a-run-at-8"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("Kätzchen.onnx", "Kätzchen.onnx"),
        ("Fotos mit Müll", "Fotos-mit-Müll"),
        ("हिन्दी", "हिन्दी"),  # its vowels are marks, not letters
        ("🐱", "unnamed"),
        ("cats...", "cats"),
        ("NUL", "_NUL"),
        ("com1.onnx", "_com1.onnx"),
        ("LPT\N{SUPERSCRIPT TWO}", "_LPT\N{SUPERSCRIPT TWO}"),
        ("console", "console"),
        ("COM10", "COM10"),
        ("\udcff", "unnamed"),
        ("x" * 300, "x" * 120),
    ],
)
def test_names_become_one_harmless_part_of_a_path(text, name):
    assert file_name(text) == name


def test_a_name_is_the_same_however_its_umlauts_are_typed():
    decomposed = unicodedata.normalize("NFD", "Müll")
    assert decomposed != "Müll"
    assert file_name(decomposed) == "Müll"


def test_a_long_name_of_any_script_leaves_room_in_a_directory(tmp_path):
    name = file_name("猫" * 200)
    assert name == "猫" * (MAX_NAME_BYTES // 3)
    (tmp_path / f"{name}-000469856-12").mkdir()
