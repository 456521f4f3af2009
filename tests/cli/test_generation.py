"""The verbs that draw, as a person meets them."""

from __future__ import annotations

import io
import sys
from unittest import mock

import numpy as np
import pytest
from artifacts import SIDE, artifact, write
from command_line import catgan
from PIL import Image
from rich.console import Console
from small_runs import make_run

import catgan as package
from catgan.errors import CatganError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with an artifact, damaged ones, and a run."""
    home = tmp_path_factory.mktemp("home")
    write(home / "cats.onnx")
    write(home / "short.onnx", artifact()[:-100])
    write(home / "blind.onnx", artifact(directions=[]))
    for name in ("text.onnx", "plain"):
        (home / name).write_text("cats")
    (home / "folder").mkdir()
    make_run(home / "run", "dcgan-128")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("COLUMNS", "200")
        patch.setenv("NO_COLOR", "1")
        yield home


@pytest.fixture
def embedded(home, monkeypatch):
    """As if the package carried the artifact."""
    monkeypatch.setattr(
        "catgan.generation.generator.embedded_generator", lambda: home / "cats.onnx"
    )


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_sample_without_words_draws_the_package_s_cats(home, embedded):
    assert "8 cats  cats.png" in catgan("sample")
    assert np.array_equal(read(home / "cats.png"), package.load("cats.onnx").grid(range(8)))


def test_sample_draws_sheets_and_files_in_every_format(home):
    catgan("sample", "cats.onnx", "--seeds", "0-5", "--grid", "3x2", "-o", "sheet.webp")
    assert read(home / "sheet.webp").shape == (2 * SIDE + 2, 3 * SIDE + 4, 3)
    text = catgan("sample", "cats.onnx", "--seeds", "3,9", "-o", "each")
    assert "2 cats, one file each" in text
    cat = package.load("cats.onnx").sample([9])[0]
    assert np.array_equal(read(home / "each" / "seed000009.png"), cat)


def test_sizes_and_truncation_are_what_they_say(home):
    text = catgan(
        "sample", "cats.onnx", "--seeds", "7", "--size", 32, "--truncation", 0.5, "-o", "a.png"
    )
    assert "8 px enlarged to 32 px by Lanczos' filter" in text
    cat = package.load("cats.onnx").sample([7], 0.5)[0]
    expected = Image.fromarray(cat).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(read(home / "a.png"), np.asarray(expected))


def test_show_draws_in_a_terminal_and_says_so_elsewhere(home, monkeypatch):
    assert "nothing shown" in catgan("sample", "cats.onnx", "--seeds", "7", "--show")
    monkeypatch.delenv("NO_COLOR")
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor", width=80)
    with mock.patch("catgan.cli.generation.make_console", return_value=console):
        catgan("sample", "cats.onnx", "--seeds", "7", "--show")
    assert out.getvalue().count("▀") == SIDE * SIDE // 2
    assert "\x1b[38;2;" in out.getvalue()


def test_a_run_is_drawn_with_torch_as_before(home):
    text = catgan("sample", "run", "--seeds", "0-3", "--truncation", 0.5, "-o", "run.png")
    assert "4 cats  run.png" in text
    assert read(home / "run.png").shape == (66, 66, 3)


def test_morphs_run_round(home):
    text = catgan("morph", "cats.onnx", "--seeds", "3,9,27", "--frames", 6, "-o", "m.gif")
    assert "3 cats, 6 frames at 20 a second  m.gif" in text
    with Image.open(home / "m.gif") as image:
        assert (image.n_frames, image.info["loop"]) == (6, 0)


def test_edit_shows_directions_and_goes_along_them(home):
    text = catgan("edit", "cats.onnx", "-o", "all.png")
    assert " 0  darker, 50.0 % of the variance" in text
    assert " 1  not named yet" in text
    assert read(home / "all.png").shape == (3 * SIDE + 4, 7 * SIDE + 12, 3)
    catgan("edit", "cats.onnx", "--seeds", "7", "--move", "0=+2", "--move", "2=-1", "-o", "e.png")
    cats = package.load("cats.onnx")
    overview = read(home / "all.png")
    for number, row in ((0, 0), (2, 2)):
        top = row * (SIDE + 2)
        expected = cats.sample([0], moves={number: 3})[0]
        assert np.array_equal(overview[top : top + SIDE, -SIDE:], expected)
    page = read(home / "e.png")
    assert np.array_equal(page[:, :SIDE], cats.sample([7])[0])
    assert np.array_equal(page[:, SIDE + 2 :], cats.sample([7], moves={0: 2, 2: -1})[0])


def test_edit_shows_what_directions_do_to_every_seed(home):
    text = catgan("edit", "cats.onnx", "--seeds", "7,9", "-o", "both.png")
    assert "2 seeds, a row a direction and seed" in text
    page, cats = read(home / "both.png"), package.load("cats.onnx")
    assert page.shape == (6 * SIDE + 10, 7 * SIDE + 12, 3)
    for row, (number, seed) in enumerate([(0, 7), (0, 9), (1, 7), (1, 9), (2, 7), (2, 9)]):
        top = row * (SIDE + 2)
        expected = cats.sample([seed], moves={number: -3})[0]
        assert np.array_equal(page[top : top + SIDE, :SIDE], expected)
    catgan("edit", "cats.onnx", "--seeds", "7,9", "--move", "1=2", "-o", "two.png")
    page = read(home / "two.png")
    assert np.array_equal(page[SIDE + 2 :, :SIDE], cats.sample([9])[0])
    assert np.array_equal(page[SIDE + 2 :, SIDE + 2 :], cats.sample([9], moves={1: 2})[0])


def test_a_directory_may_have_a_dot_in_its_name(home):
    (home / "cats.v2").mkdir()
    assert "1 cat, one file each" in catgan("sample", "cats.onnx", "--seeds", "7", "-o", "cats.v2")
    assert (home / "cats.v2" / "seed000007.png").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sample", "--seeds", "0-4095", "--size", "2048"), "fewer seeds or a smaller --size"),
        (("sample", "--seeds", "0-9", "--grid", "1x10", "--size", "2048", "-o", "a.webp"), ".png"),
        (("morph", "--frames", "10000", "--size", "2048"), "fewer --frames"),
        (("morph", "--size", "33", "-o", "m.mp4"), "--size 34"),
        (("edit", "--seeds", "0-999"), "fewer --seeds"),
        (("edit", "--seeds", "0-99", "--size", "2048"), "fewer seeds or a smaller --size"),
        (("sample", "-o", "text.onnx/cats.png"), "text.onnx/cats.png: cannot be written"),
        (("sample", "-o", "text.onnx/cats"), "text.onnx/cats: cannot be written"),
        (("sample", "-o", "plain"), "plain: is neither a directory nor an image file (.png"),
        (("sample", "-o", "my cats", "--grid", "4x2"), "write -o 'my cats.png'"),
        (("sample", "-o", "my cats", "--show"), "write -o 'my cats.png'"),
        (("morph", "--seeds", "0-9", "--frames", "3"), "3 frames cannot show 10 seeds"),
        (("morph", "--seeds", "0-999999"), "60 frames cannot show 1,000,000 seeds"),
        (("edit", "--move", "0=+2", "--move", "00=-2"), "names direction 0 twice"),
        (("sample", "--size", "0"), "--size 0 is out of range"),
        (("sample", "--seeds", "0-99999999999"), "more than 1,000,000 at once"),
        (("edit", "--seeds", " "), "is no seed"),
        (("sample", "--checkpoint", ""), "is empty"),
        (("morph", "-o", "text.onnx/m.gif"), "text.onnx/m.gif: cannot be written"),
        (("edit", "-o", "text.onnx/e.png"), "text.onnx/e.png: cannot be written"),
    ],
)
def test_what_cannot_be_held_or_written_is_refused_before_anything_is_drawn(
    home, monkeypatch, words, expected
):
    pytest.importorskip("av")

    def procedural(*_, **__):
        raise AssertionError("drawn")

    monkeypatch.setattr("catgan.generation.generator.Generator.synthesize", procedural)
    assert expected in catgan(words[0], "cats.onnx", *words[1:], code=2)


def test_info_prints_the_card(home, embedded):
    for text in (catgan("info", "cats.onnx"), catgan("info")):
        assert "tiny cats, 8 x 8 px" in text
        assert "license    MIT" in text
        assert "credit     Nobody" in text
        assert "3; 0 darker, 2 rounder" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sample",), "carries no generator"),
        (("info",), "carries no generator"),
        (("web", "site"), "carries no generator"),
        (("sample", "nowhere.onnx"), "cannot be read"),
        (("sample", "text.onnx"), "no ONNX file"),
        (("sample", "short.onnx"), "damaged"),
        (("info", "short.onnx"), "damaged"),
        (("sample", "folder"), "not a run"),
        (("sample", "cats.onnx", "--seeds", "-1"), "is no seed"),
        (("sample", "cats.onnx", "--seeds", "9-1"), "1-9"),
        (("sample", "cats.onnx", "--seeds", str(2**63)), "largest seed"),
        (("sample", "cats.onnx", "--seeds", "0-9999"), "too many"),
        (("sample", "cats.onnx", "--truncation", "1.5"), "from 0 to 1"),
        (("sample", "cats.onnx", "--truncation", "nan"), "from 0 to 1"),
        (("sample", "run", "--truncation", "-1"), "from 0 to 1"),
        (("sample", "cats.onnx", "--size", "4"), "from 8 to"),
        (("sample", "cats.onnx", "--size", "99999"), "from 8 to"),
        (("sample", "cats.onnx", "--checkpoint", "best"), "leave them out"),
        (("sample", "cats.onnx", "-o", "cats.bmp"), ".png"),
        (("sample", "cats.onnx", "-o", "text.onnx/cats.png"), "cannot be written"),
        (("morph", "cats.onnx", "--seeds", "3"), "at least two"),
        (("morph", "cats.onnx", "--frames", "1"), "frames"),
        (("morph", "cats.onnx", "--fps", "0"), "--fps"),
        (("morph", "cats.onnx", "-o", "m.avi"), ".gif"),
        (("edit", "cats.onnx", "--move", "0"), "0=+2"),
        (("edit", "cats.onnx", "--move", "0=1e9"), "0=+2"),
        (("edit", "cats.onnx", "--move", "7=1"), "0 to 2"),
        (("edit", "blind.onnx"), "no directions"),
        (("edit", "run"), "catgan export run"),
        (("web", "folder", "short.onnx"), "damaged"),
    ],
)
def test_every_mistake_ends_in_one_line_and_code_2(home, monkeypatch, words, expected):
    monkeypatch.setattr("catgan.generation.generator.embedded_generator", lambda: None)
    assert expected in catgan(*words, code=2)


def test_drawing_needs_no_torch(home):
    import subprocess
    import sys

    script = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['onnx'] = sys.modules['jinja2'] = None\n"
        "sys.argv = ['catgan', *sys.argv[1:]]\n"
        "from catgan.cli.app import main\n"
        "main()\n"
    )
    for words in (
        ["sample", "cats.onnx", "--seeds", "7", "-o", "light.png"],
        ["morph", "cats.onnx", "--frames", "4", "-o", "light.gif"],
        ["edit", "cats.onnx", "-o", "light-edit.png"],
        ["info", "cats.onnx"],
    ):
        subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True)


def test_a_library_caller_gets_the_same_errors(home):
    with pytest.raises(CatganError):
        package.load("short.onnx")


def test_a_seed_that_is_named_twice_is_one_file(home):
    assert "1 cat, one file each" in catgan("sample", "cats.onnx", "--seeds", "7,7", "-o", "twice")
    assert [path.name for path in (home / "twice").iterdir()] == ["seed000007.png"]
    assert "2 cats  twice.png" in catgan("sample", "cats.onnx", "--seeds", "7,7", "-o", "twice.png")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_device_is_no_place_for_cats(home):
    text = catgan("sample", "cats.onnx", "-o", "/dev/full", code=2)
    assert "/dev/full: is neither a directory nor an image file" in text
    text = catgan("sample", "cats.onnx", "-o", "/dev/full/cats.png", code=2)
    assert "/dev/full is not a folder" in text


def test_the_next_step_of_a_site_can_be_pasted(home):
    site = mock.Mock(files=1, bytes=1)
    with mock.patch("catgan.web.site.write_site", return_value=site):
        text = catgan("web", "my site", "cats.onnx")
    assert "next     python -m http.server --directory 'my site'" in text
