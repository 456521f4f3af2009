"""The commands that generate images, end to end."""

from __future__ import annotations

import gc
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
from catgan.cli.generation import MAX_NEW_OBJECTS
from catgan.errors import CatganError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a directory with an artifact, damaged ones, and a run."""
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
    """Make the artifact the bundled generator."""
    monkeypatch.setattr(
        "catgan.generation.generator.embedded_generator", lambda: home / "cats.onnx"
    )


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_sample_without_arguments_uses_the_bundled_generator(home, embedded):
    assert "8 images  cats.png" in catgan("sample")
    assert np.array_equal(read(home / "cats.png"), package.load("cats.onnx").grid(range(8)))


def test_sample_writes_a_grid_or_single_files(home):
    catgan("sample", "cats.onnx", "--seeds", "0-5", "--grid", "3x2", "-o", "grid.webp")
    assert read(home / "grid.webp").shape == (2 * SIDE + 2, 3 * SIDE + 4, 3)
    text = catgan("sample", "cats.onnx", "--seeds", "3,9", "-o", "each")
    assert "2 images, one file each" in text
    image = package.load("cats.onnx").sample([9])[0]
    assert np.array_equal(read(home / "each" / "seed000009.png"), image)


def test_sample_applies_size_and_truncation(home):
    text = catgan(
        "sample", "cats.onnx", "--seeds", "7", "--size", 32, "--truncation", 0.5, "-o", "a.png"
    )
    assert "8 px enlarged to 32 px (Lanczos)" in text
    image = package.load("cats.onnx").sample([7], 0.5)[0]
    expected = Image.fromarray(image).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(read(home / "a.png"), np.asarray(expected))


def test_show_needs_a_color_terminal(home, monkeypatch):
    assert "nothing is shown" in catgan("sample", "cats.onnx", "--seeds", "7", "--show")
    monkeypatch.delenv("NO_COLOR")
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor", width=80)
    with mock.patch("catgan.cli.generation.Output.console", console):
        catgan("sample", "cats.onnx", "--seeds", "7", "--show")
    assert out.getvalue().count("▀") == SIDE * SIDE // 2
    assert "\x1b[38;2;" in out.getvalue()


@pytest.mark.parametrize("command", ["sample", "morph", "edit"])
def test_sessions_are_made_in_kept_memory_with_few_collections(home, command):
    import onnxruntime

    before, seen = gc.get_threshold(), []
    make_session = onnxruntime.InferenceSession

    def observed(*args, **kwargs):
        seen.append((block.__enter__.called, block.__exit__.called, gc.get_threshold()[0]))
        return make_session(*args, **kwargs)

    with (
        mock.patch("catgan.cli.generation.kept_memory") as kept_memory,
        mock.patch("onnxruntime.InferenceSession", observed),
    ):
        block = kept_memory.return_value
        catgan(command, "cats.onnx")
    assert set(seen) == {(True, False, MAX_NEW_OBJECTS)}
    assert gc.get_threshold() == before


def test_sample_of_a_run(home):
    text = catgan("sample", "run", "--seeds", "0-3", "--truncation", 0.5, "-o", "run.png")
    assert "4 images  run.png" in text
    assert read(home / "run.png").shape == (66, 66, 3)


def test_morph_writes_a_loop(home):
    text = catgan("morph", "cats.onnx", "--seeds", "3,9,27", "--frames", 6, "-o", "m.gif")
    assert "3 seeds, 6 frames at 20 a second  m.gif" in text
    with Image.open(home / "m.gif") as image:
        assert (image.n_frames, image.info["loop"]) == (6, 0)


def test_edit_shows_all_directions_or_applies_moves(home):
    text = catgan("edit", "cats.onnx", "-o", "all.png")
    assert " 0  darker, 50.0 % of the variance" in text
    assert " 1  unnamed" in text
    assert read(home / "all.png").shape == (3 * SIDE + 4, 7 * SIDE + 12, 3)
    catgan("edit", "cats.onnx", "--seeds", "7", "--move", "0=+2", "--move", "2=-1", "-o", "e.png")
    cats = package.load("cats.onnx")
    overview = read(home / "all.png")
    for number, row in ((0, 0), (2, 2)):
        top = row * (SIDE + 2)
        expected = cats.sample([0], moves={number: 3})[0]
        assert np.array_equal(overview[top : top + SIDE, -SIDE:], expected)
    grid = read(home / "e.png")
    assert np.array_equal(grid[:, :SIDE], cats.sample([7])[0])
    assert np.array_equal(grid[:, SIDE + 2 :], cats.sample([7], moves={0: 2, 2: -1})[0])


def test_edit_overview_has_a_row_per_direction_and_seed(home):
    text = catgan("edit", "cats.onnx", "--seeds", "7,9", "-o", "both.png")
    assert "2 seeds, one row per direction and seed" in text
    grid, cats = read(home / "both.png"), package.load("cats.onnx")
    assert grid.shape == (6 * SIDE + 10, 7 * SIDE + 12, 3)
    for row, (number, seed) in enumerate([(0, 7), (0, 9), (1, 7), (1, 9), (2, 7), (2, 9)]):
        top = row * (SIDE + 2)
        expected = cats.sample([seed], moves={number: -3})[0]
        assert np.array_equal(grid[top : top + SIDE, :SIDE], expected)
    catgan("edit", "cats.onnx", "--seeds", "7,9", "--move", "1=2", "-o", "two.png")
    grid = read(home / "two.png")
    assert np.array_equal(grid[SIDE + 2 :, :SIDE], cats.sample([9])[0])
    assert np.array_equal(grid[SIDE + 2 :, SIDE + 2 :], cats.sample([9], moves={1: 2})[0])


def test_directory_names_may_contain_a_dot(home):
    (home / "cats.v2").mkdir()
    text = catgan("sample", "cats.onnx", "--seeds", "7", "-o", "cats.v2")
    assert "1 image, one file each" in text
    assert (home / "cats.v2" / "seed000007.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
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
        (("sample", "-o", "my cats", "--grid", "4x2"), "use -o 'my cats.png'"),
        (("sample", "-o", "my cats", "--show"), "use -o 'my cats.png'"),
        (("morph", "--seeds", "0-9", "--frames", "3"), "3 frames cannot show 10 seeds"),
        (("morph", "--seeds", "0-999999"), "60 frames cannot show 1,000,000 seeds"),
        (("edit", "--move", "0=+2", "--move", "00=-2"), "names direction 0 twice"),
        (("sample", "--size", "0"), "--size 0: expected 8 to 2,048"),
        (("sample", "--seeds", "0-99999999999"), "expected at most 1,000,000"),
        (("edit", "--seeds", " "), "invalid seed ' ': expected 7, 0-63 or 1,5,9-12"),
        (("sample", "--checkpoint", ""), "is empty"),
        (("morph", "-o", "text.onnx/m.gif"), "text.onnx/m.gif: cannot be written"),
        (("edit", "-o", "text.onnx/e.png"), "text.onnx/e.png: cannot be written"),
    ],
)
def test_output_that_cannot_be_written_is_rejected_before_generation(
    home, monkeypatch, arguments, expected
):
    pytest.importorskip("av")

    def synthesize(*_, **__):
        raise AssertionError("images were generated")

    monkeypatch.setattr("catgan.generation.generator.Generator.synthesize", synthesize)
    assert expected in catgan(arguments[0], "cats.onnx", *arguments[1:], code=2)


def test_latents_stand_for_seeds(home, tmp_path):
    cats = package.load("cats.onnx")
    file = tmp_path / "z.safetensors"
    cats.save_latents(file, cats.latents([3, 9, 27]))
    for command, suffix, *arguments in (
        ("sample", ".png", "--truncation", 0.5),
        ("morph", ".gif", "--frames", 6),
        ("edit", ".png"),
        ("edit", ".png", "--move", "0=2"),
    ):
        outputs = [tmp_path / f"{name}{suffix}" for name in ("latents", "seeds")]
        catgan(command, "cats.onnx", "--latents", file, *arguments, "-o", outputs[0])
        catgan(command, "cats.onnx", "--seeds", "3,9,27", *arguments, "-o", outputs[1])
        assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert "3 latents, 60 frames" in catgan("morph", "cats.onnx", "--latents", file)
    assert "3 images, one file each" in catgan("sample", "cats.onnx", "--latents", file, "-o", "z")
    assert sorted(path.name for path in (home / "z").iterdir()) == [
        "latent000000.png", "latent000001.png", "latent000002.png",
    ]  # fmt: skip
    assert np.array_equal(read(home / "z" / "latent000002.png"), cats.sample([27])[0])


def test_a_run_samples_the_latents_of_its_own_weights_alone(home, tmp_path):
    from catgan.generation.latents_file import write_latents
    from catgan.runs.device import choose_device
    from catgan.runs.sampler import load_sampler

    sampler = load_sampler(home / "run", choose_device("cpu"), print)
    mine, foreign = tmp_path / "mine.safetensors", tmp_path / "foreign.safetensors"
    write_latents(mine, sampler.latents([3, 9]), sampler.sha256)
    write_latents(foreign, sampler.latents([3, 9]), package.load("cats.onnx").sha256)
    catgan("sample", "run", "--latents", mine, "-o", "latents.png")
    catgan("sample", "run", "--seeds", "3,9", "-o", "seeds.png")
    assert (home / "latents.png").read_bytes() == (home / "seeds.png").read_bytes()
    text = catgan("sample", "run", "--latents", foreign, code=2)
    assert "its latents belong to the generator" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--latents", "z.safetensors", "--seeds", "7"), "leave one of them out"),
        (("--latents", "nowhere"), "nowhere: cannot be read"),
        (("--latents", "text.onnx"), "text.onnx: cannot be used as latents"),
        (("--latents", "short.onnx"), "short.onnx: cannot be used as latents"),
        (("--latents", "folder"), "folder: cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["sample", "morph", "edit"])
def test_other_latents_are_one_line_and_code_2(home, command, arguments, expected):
    cats = package.load("cats.onnx")
    cats.save_latents(home / "z.safetensors", cats.latents([3, 9]))
    assert expected in catgan(command, "cats.onnx", *arguments, code=2)


def test_info_prints_the_card(home, embedded):
    for text in (catgan("info", "cats.onnx"), catgan("info")):
        assert "tiny cats, 8 x 8 px" in text
        assert "license    MIT" in text
        assert "credit     Nobody" in text
        assert "3; 0 darker, 2 rounder" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("sample",), "no bundled generator"),
        (("info",), "no bundled generator"),
        (("web", "site"), "no bundled generator"),
        (("sample", "nowhere.onnx"), "cannot be read"),
        (("sample", "text.onnx"), "not an ONNX file"),
        (("sample", "short.onnx"), "damaged"),
        (("info", "short.onnx"), "damaged"),
        (("sample", "folder"), "not a run"),
        (("sample", "cats.onnx", "--seeds", "-1"), "invalid seed '-1'"),
        (("sample", "cats.onnx", "--seeds", "9-1"), "1-9"),
        (("sample", "cats.onnx", "--seeds", str(2**63)), f"expected at most {2**63 - 1}"),
        (("sample", "cats.onnx", "--seeds", "0-9999"), "too many"),
        (("sample", "cats.onnx", "--truncation", "1.5"), "from 0 to 1"),
        (("sample", "cats.onnx", "--truncation", "nan"), "from 0 to 1"),
        (("sample", "run", "--truncation", "-1"), "from 0 to 1"),
        (("sample", "cats.onnx", "--size", "4"), "expected 8 to"),
        (("sample", "cats.onnx", "--size", "99999"), "expected 8 to"),
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
def test_errors_are_one_line_and_exit_with_2(home, monkeypatch, arguments, expected):
    monkeypatch.setattr("catgan.generation.generator.embedded_generator", lambda: None)
    assert expected in catgan(*arguments, code=2)


def test_generation_needs_no_torch(home):
    import subprocess
    import sys

    script = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['onnx'] = sys.modules['jinja2'] = None\n"
        "sys.argv = ['catgan', *sys.argv[1:]]\n"
        "from catgan.cli.app import main\n"
        "main()\n"
    )
    without_pillow = script.replace("import sys\n", "import sys\nsys.modules['PIL'] = None\n")
    sample = ["sample", "cats.onnx", "--seeds", "7", "-o", "light.png"]
    subprocess.run([sys.executable, "-c", without_pillow, *sample], check=True, capture_output=True)
    for arguments in (
        ["morph", "cats.onnx", "--frames", "4", "-o", "light.gif"],
        ["edit", "cats.onnx", "-o", "light-edit.png"],
        ["info", "cats.onnx"],
    ):
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)


def test_library_raises_the_same_errors(home):
    with pytest.raises(CatganError):
        package.load("short.onnx")


def test_a_repeated_seed_is_one_file_or_two_cells_of_a_grid(home):
    sample = ("sample", "cats.onnx", "--seeds", "7,7")
    assert "1 image, one file each" in catgan(*sample, "-o", "twice")
    assert [path.name for path in (home / "twice").iterdir()] == ["seed000007.png"]
    assert "2 images  twice.png" in catgan(*sample, "-o", "twice.png")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_devices_are_rejected_as_output(home):
    text = catgan("sample", "cats.onnx", "-o", "/dev/full", code=2)
    assert "/dev/full: is neither a directory nor an image file" in text
    text = catgan("sample", "cats.onnx", "-o", "/dev/full/cats.png", code=2)
    assert "/dev/full is not a folder" in text


def test_next_command_of_web_quotes_the_path(home):
    site = mock.Mock(files=1, bytes=1)
    with mock.patch("catgan.web.site.write_site", return_value=site):
        text = catgan("web", "my site", "cats.onnx")
    assert "next     python -m http.server --directory 'my site'" in text
