"""The verb that ships, as a person meets it."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec

import pytest
from artifacts import card
from command_line import catgan
from foreign_files import keras_file, tflite_file
from small_runs import FACTS, make_run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory with a run, in which few seeds are compared."""
    make_run(tmp_path / "run", "dcgan-128")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("catgan.exporters.export.SEEDS", 8)
    return tmp_path


def test_export_then_draw(home):
    text = catgan("export", "run", "--name", "Mine", "--direction", "0=lighter coat")
    assert "float16" in text
    assert "over 8 seeds at most" in text
    assert "--license" not in text
    where = "run/export/generator.onnx"
    assert f"next     catgan sample {where}" in text
    assert "Mine, 32 x 32 px" in catgan("info", where)
    assert "0 lighter coat" in catgan("info", where)
    assert "1 cat  one.png" in catgan("sample", where, "--seeds", 7, "-o", "one.png")


def test_unknown_license_can_be_said(home, monkeypatch):
    monkeypatch.setitem(FACTS, "dataset", {"name": "mine", "to train on": 60})
    make_run(home / "mine", "dcgan-128")
    assert "license  unknown: export again with --license" in catgan("export", "mine")
    words = ("export", "mine", "--license", "CC0-1.0", "--credit", "My sister")
    assert "unknown" not in catgan(*words)
    text = catgan("info", "mine/export/generator.onnx")
    assert "license    CC0-1.0" in text
    assert "credit     My sister" in text
    assert "license: cc0-1.0" in (home / "mine" / "export" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("folder",), "not a run"),
        (("file",), "file is not a run"),
        (("run", "--precision", "half"), "float16"),
        (("run", "-o", "cats.pt"), ".onnx"),
        (("run", "--checkpoint", "123"), "000000064"),
        (("run", "--direction", "lighter"), "NUMBER=NAME"),
        (("run", "--direction", "0=a", "--direction", "00=b"), "names direction 0 twice"),
        (("run", "--direction", "0=a\x1b[2Jb"), "one line of letters"),
        (("run", "--name", " "), "the name ' ' cannot stand on a card"),
        (("run", "--name", "two\nlines"), "one line of letters"),
        (("run", "--name", "\udcff"), "one line of letters"),
        (("run", "--name", "x" * 2_001), "at most 2,000"),
        (("run", "--credit", "a\x07b"), "the credit 'a\\x07b' cannot stand"),
        (("run", "--license", " "), "the license ' ' cannot stand"),
        (("run", "--checkpoint", ""), "is empty"),
        (("run", "-o", "\udcff.onnx"), "a name of letters that can be shown"),
        (("run", "--direction", "50=lighter"), "0 to 7"),
        (("run", "--license", "MIT"), "'CC BY-NC 4.0'; leave out --license"),
        (("run", "--credit", "me"), "'Someone <who@draws>'; leave out --credit"),
    ],
)
def test_every_mistake_ends_in_one_line_and_code_2(home, words, expected):
    assert expected in catgan("export", *words, code=2)
    assert not (home / "run" / "export").exists()


def test_export_without_its_modules_names_the_remedy(home, monkeypatch):
    def without_onnx(name):
        return None if name == "onnxscript" else find_spec(name)

    monkeypatch.setattr("catgan.extras.find_spec", without_onnx)
    assert "catgan[train]" in catgan("export", "run", code=2)


@pytest.mark.parametrize(
    ("format", "missing", "remedy"),
    [
        ("keras", "keras", "catgan[keras]"),
        ("litert", "tensorflow", "catgan[litert]"),
        ("litert", "ai_edge_litert", "catgan[litert]"),
    ],
)
def test_a_format_without_its_modules_names_the_remedy(home, monkeypatch, format, missing, remedy):  # noqa: A002
    monkeypatch.setattr("catgan.extras.find_spec", lambda name: None if name == missing else 1)
    text = catgan("export", "run", "--format", format, code=2)
    assert f"this needs {missing}, not installed: pip install '{remedy}'" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "--format", "pdf"), "no format 'pdf': choose from onnx, keras, litert, triton"),
        (("run", "--format", ""), "an argument is empty"),
        (("run", "--format", "triton", "-o", "file"), "a model repository is a directory"),
        (("run", "--format", "triton", "--precision", "bf16"), "choose from float16, float32"),
        (("bundled",), "is an .onnx file already"),
        (("bundled", "--format", "triton", "--checkpoint", "best"), "are for a run"),
        (("bundled", "--format", "triton", "--license", "MIT"), "are for a run"),
        (("bundled", "--format", "triton", "--name", " "), "cannot stand on a card"),
        (("lost.onnx", "--format", "triton"), "cannot be read"),
        (("cut.onnx", "--format", "triton"), "no ONNX file"),
        (("cats.keras", "--format", "triton"), "is not a run"),
    ],
)
def test_mistakes_about_formats_end_in_one_line(home, words, expected):
    (home / "cut.onnx").write_bytes(b"mine")
    (home / "cats.keras").write_bytes(b"mine")
    before = sorted(home.rglob("*"))
    assert expected in catgan("export", *words, code=2)
    assert sorted(home.rglob("*")) == before


@pytest.mark.skipif(not find_spec("keras"), reason="Keras is not installed: NOT tested")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--precision", "int8"), "no precision 'int8' in --format keras: choose from float32"),
        (("-o", "cats.onnx"), "this format is a .keras file"),
        (("-o", "cats.h5"), "this format is a .keras file"),
        (("-o", "file/cats.keras"), "cannot be written"),
        (("-o", "mine.keras"), "is there already, and no export's"),
        (("-o", "pipe.keras"), "it is a device or a pipe"),
    ],
)
def test_mistakes_about_keras_end_in_one_line(home, words, expected):
    (home / "mine.keras").write_text("mine")
    if "pipe.keras" in words:
        if not hasattr(os, "mkfifo"):
            pytest.skip("POSIX: this system has no named pipes")
        os.mkfifo(home / "pipe.keras")
    before = sorted(home.rglob("*"))
    assert expected in catgan("export", "run", "--format", "keras", *words, code=2)
    assert sorted(home.rglob("*")) == before
    assert (home / "mine.keras").read_text() == "mine"


@pytest.mark.skipif(not find_spec("keras"), reason="Keras is not installed: NOT tested")
def test_export_to_keras_then_info(home):
    text = catgan("export", "run", "--format", "keras", "--name", "Mine")
    assert "next     catgan info run/export/generator.keras" in text
    assert "Mine, 32 x 32 px" in catgan("info", "run/export/generator.keras")
    catgan("export", "run", "--format", "keras", "--name", "Again")  # an export may be replaced
    assert "Again, 32 x 32 px" in catgan("info", "run/export/generator.keras")


@pytest.mark.parametrize("ending", ["keras", "tflite"])
def test_foreign_and_damaged_files_are_one_line_of_info(home, ending):
    make = {"keras": keras_file, "tflite": tflite_file}[ending]
    path = home / f"cats.{ending}"
    path.write_bytes(make(card()))
    assert "tiny cats" in catgan("info", path)
    assert "is for another framework" in catgan("sample", path, code=2)
    path.write_bytes(make(card())[:-9])
    assert "damaged" in catgan("info", path, code=2)
    path.write_bytes(make(card(name="\x1b[2J")))
    assert "\x1b" not in catgan("info", path)
    for name in ("lost", "\udcff", "x" * 300):
        assert "cannot be read" in catgan("info", f"{name}.{ending}", code=2)
    (home / f"folder.{ending}").mkdir()
    assert "cannot be read" in catgan("info", f"folder.{ending}", code=2)


def test_commands_about_an_export_can_be_pasted(home):
    (home / "run").rename(home / "my run")
    text = catgan("export", "my run")
    assert "next     catgan sample 'my run/export/generator.onnx' --seeds" in text
    (home / "my run" / "export" / "README.md").write_text("mine")
    text = catgan("export", "my run", code=2)
    assert "with --out 'my run/export/generator/generator.onnx'" in text


def test_a_device_or_pipe_is_no_place_for_an_export(home):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    for name in ("pipe.onnx", "pipe.safetensors"):
        os.mkfifo(home / name)
        text = catgan("export", "run", "-o", "pipe.onnx", code=2)
        assert "it is a device or a pipe" in text
        (home / name).unlink()


def test_a_number_of_images_that_is_none_is_said_to_be_the_run_s(home):
    path = home / "run" / "run.json"
    for wrong in ("many", -1, None):
        facts = json.loads(path.read_text())
        facts["dataset"]["to train on"] = wrong
        path.write_text(json.dumps(facts))
        text = catgan("export", "run", code=2)
        assert 'run/run.json: the number of images "to train on" is' in text
