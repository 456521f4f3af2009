"""The command line, end to end: help, first runs, one-line errors."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from command_line import catgan
from faces_photos import photo_of
from PIL import Image

from catgan.data.faces.decisions import write_decisions
from catgan.data.faces.gates import FLOORS

TINY = [
    "network.resolution=32", "network.channels=4", "network.maximum_channels=8",
    "network.latent_size=8", "training.batch_size=8", "training.images=48",
    "output.log_images=16", "output.grid_seeds=4", "output.score_samples=0",
]  # fmt: skip
COMMANDS = (
    "prepare", "inspect", "download", "train", "sample", "morph", "edit", "info", "export", "web",
    "evaluate", "compare", "recipes",
)  # fmt: skip
SETTINGS = ["--recipe", "lsgan-64", *(arg for setting in TINY for arg in ("--set", setting))]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with photos, a dataset made of them, and a run."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("CATGAN_CACHE_DIR", str(home / "cache"))
        patch.setenv("COLUMNS", "200")
        patch.setenv("NO_COLOR", "1")
        make(home)
        yield home


def make(home):
    (home / "photos").mkdir()
    for index in range(30):
        pixels = np.random.default_rng(index).integers(0, 256, (50, 40, 3), np.uint8)
        Image.fromarray(pixels).save(home / "photos" / f"{index:02d}.png")
    (home / "photos" / "notes.txt").write_text("not an image")
    (home / "photos" / "copy.png").write_bytes((home / "photos" / "03.png").read_bytes())
    text = catgan("prepare", "photos", "cats", "--size", 32)
    assert "notes.txt" in text
    assert "copy.png" in text
    assert "30 images at 32 px" in text
    assert "1 rejected, 1 duplicates" in text
    assert "catgan train cats --recipe lsgan-64 --set network.resolution=32" in text
    text = catgan("train", "cats", "-o", "run", *SETTINGS)
    assert "finished after 48 images" in text


def imported(*arguments):
    """Run a command in a new process; return its output, and the modules it has imported."""
    script = (
        "import sys\n"
        "from catgan.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    output, _, modules = done.stdout.rstrip().rpartition("\n")
    return output, set(modules.split())


def test_help_imports_nothing_heavy():
    output, modules = imported("--help")
    heavy = {"torch", "matplotlib", "PIL", "numpy", "onnxruntime", "filelock", "jinja2"}
    assert not heavy & modules
    for command in COMMANDS:
        assert command in output


def test_command_imports_no_other_command():
    _, modules = imported("recipes")
    commands = {name for name in modules if name.startswith("catgan.cli.")}
    assert commands == {"catgan.cli.app", "catgan.cli.console", "catgan.cli.recipes"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    assert "--help" in catgan(command, "--help")


def test_version_is_the_packages():
    import catgan as package

    assert catgan("--version").strip() == f"catgan {package.__version__}"


def test_recipes_are_listed_and_printed():
    text = catgan("recipes")
    for name in ("dcgan-128", "lsgan-64", "projected-128", "transfer", "quick-64"):
        assert name in text
    assert 'generator = "bce"' in catgan("recipes", "lsgan-64")


def test_train_prints_its_settings_and_the_next_command(home):
    text = catgan("train", "--resume", "run", "--set", "training.images=64")
    first, *_, last = text.splitlines()
    assert re.match(r"catgan \S+: lsgan-64, 32 px, on \d+ images of photos; cpu, \d threads", first)
    assert "img/s" in text
    assert last.startswith("next     catgan sample run")
    assert (home / "run" / "report.html").exists()


def test_train_names_skipped_files(home):
    text = catgan("train", "photos", "-o", "raw", *SETTINGS, "--minutes", 0)
    assert "2 files of photos were left out" in text
    assert "notes.txt" in text
    assert "copy.png: the same file as 03.png" in text


def test_out_of_memory_and_disk_full_are_one_line_errors(home):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with mock.patch("catgan.training.loop.train", fail):
        assert "batch_size" in catgan("train", "cats", "-o", "big", *SETTINGS, code=2)
    with mock.patch("catgan.training.loop.train", mock.Mock(side_effect=OSError(28, "full"))):
        text = catgan("train", "cats", "-o", "full", *SETTINGS, code=2)
        assert "catgan: error: train: full: make room on that disk" in text


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "bad"), OSError("odd"), RuntimeError("x")])
def test_bugs_keep_their_traceback(home, error):
    with (
        mock.patch("catgan.config.recipe_text", mock.Mock(side_effect=error)),
        pytest.raises(type(error)),
    ):
        catgan("recipes", "lsgan-64")


def test_out_of_memory_while_restoring_is_a_one_line_error(home):
    error = RuntimeError("Error(s) in loading state_dict: ... CUDA out of memory. Tried to ...")
    with mock.patch("torch.nn.Module.load_state_dict", mock.Mock(side_effect=error)):
        assert "out of memory: to train, lower" in catgan("sample", "run", "--seeds", "7", code=2)


def test_printed_commands_quote_paths_with_spaces(home):
    text = catgan("train", "cats", "-o", "my run", *SETTINGS, "--minutes", 0)
    assert text.splitlines()[-1] == "next     catgan train --resume 'my run'"
    text = catgan("train", "cats", "-o", "my run", *SETTINGS, code=2)
    assert text.rstrip().endswith("catgan train --resume 'my run'")
    assert "catgan export 'my run'," in catgan("info", "my run", code=2)
    shutil.copytree(home / "cats", home / "lost cats")
    catgan("train", "lost cats", "-o", "of lost", *SETTINGS, "--minutes", 0)
    shutil.rmtree(home / "lost cats")
    text = catgan("train", "--resume", "of lost", code=2)
    assert text.rstrip().endswith("catgan train NEW_PATH --resume 'of lost'")
    text = catgan("train", "--resume", "my run", "--set", "training.images=8")
    assert text.splitlines()[-1] == "next     catgan sample 'my run' --seeds 0-63 -o cats.png"


def test_training_images_cannot_be_fewer_than_seen(home):
    catgan("train", "cats", "-o", "seen", *SETTINGS)
    before = (home / "seen" / "config.toml").read_text()
    text = catgan("train", "--resume", "seen", "--set", "training.images=1", code=2)
    assert "training.images = 1 is less than the 48 images that the run has seen" in text
    assert (home / "seen" / "config.toml").read_text() == before
    assert "finished after 48 images of 48" in catgan("train", "--resume", "seen")


def test_every_file_of_a_run_is_documented(home):
    """Every file of a trained, evaluated, exported run is in docs/reference/formats.md."""
    settings = [*SETTINGS, "--minutes", 0]
    if find_spec("tensorboard"):
        settings.append("--tensorboard")
    catgan("train", "cats", "-o", "whole", *settings)
    catgan("evaluate", "whole", "--against", "cats", "--samples", 12, "--extractor", "raw-64")
    with mock.patch("catgan.exporters.export.SEEDS", 8):
        catgan("export", "whole")
    text = (Path(__file__).parents[2] / "docs" / "reference" / "formats.md").read_text("utf-8")
    section = text.split("## The run directory")[1].split("\n## ")[0]
    run = home / "whole"
    for path in run.iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        assert f"`{name}`" in section, name
    for path in (run / "checkpoints" / "000000000", run / "export"):
        assert all(f"`{each.name}`" in section for each in path.iterdir()), path


def test_minutes_must_be_a_number_of_at_least_zero(home):
    text = catgan("train", "cats", "-o", "never", *SETTINGS, "--minutes", "nan", code=2)
    assert "invalid --minutes nan" in text
    assert not (home / "never").exists()
    catgan("train", "cats", "-o", "never", *SETTINGS, "--minutes", "-1", code=2, by_typer=True)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_run_directory_cannot_be_a_device(home):
    for path in ("/dev/full", "/dev/full/run"):
        text = catgan("train", "cats", "-o", path, *SETTINGS, code=2)
        assert "/dev/full is not a folder" in text or "Not a directory" in text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals and pipes")
def test_closed_output_pipe_has_no_traceback():
    command = [sys.executable, "-m", "catgan", "recipes"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_failed_training_is_one_line_and_code_3(home):
    from catgan.training.guard import TrainingFailedError

    fail = mock.Mock(side_effect=TrainingFailedError("bad: training collapsed: start anew"))
    with mock.patch("catgan.training.loop.train", fail):
        text = catgan("train", "cats", "-o", "bad", *SETTINGS, code=3)
    assert text.splitlines()[-1] == "catgan: error: bad: training collapsed: start anew"


def test_sample_writes_a_grid_or_one_file_per_seed(home):
    catgan("sample", "run", "--seeds", "0-5", "--grid", "3x2", "-o", "grid.png")
    catgan("sample", "run", "--seeds", "4,1", "-o", "cats/alone")
    names = sorted(path.name for path in (home / "cats" / "alone").iterdir())
    assert names == ["seed000001.png", "seed000004.png"]
    grid = np.asarray(Image.open(home / "grid.png"))
    assert grid.shape == (66, 100, 3)
    alone = np.asarray(Image.open(home / "cats" / "alone" / "seed000004.png"))
    assert np.array_equal(grid[34:66, 34:66], alone)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("prepare", "nowhere", "new"), "nowhere"),
        (("prepare", "photos", "cats", "--size", "32"), "cats"),
        (("prepare", "photos", "new", "--size", "100"), "100"),
        (("prepare", "photos", "new", "--size", "256"), "smaller"),
        (("train", "nowhere"), "nowhere"),
        (("train", "cats"), "--set network.resolution=32"),
        (("train", "cats", "--recipe", "lsgan"), "lsgan-64"),
        (("train", "cats", "--set", "network.resolutoin=32"), "network.resolution"),
        (("train", "cats", "--set", "network.resolution=33"), "try 32"),
        (("train", "cats", "-o", "run", *SETTINGS), "--resume"),
        (("train", "cats", "--device", "gpu"), "cuda"),
        (("train", "--resume", "photos"), "not a run"),
        (("train", "--resume", "run", "--recipe", "lsgan-64"), "leave out"),
        (("train", "--resume", "run", "--set", "training.batch_size=4"), "training.batch_size"),
        (("sample", "run", "--seeds", "9-1"), "1-9"),
        (("sample", "run", "-o", "cats.txt"), ".png"),
        (("sample", "run", "--seeds", "0-3", "--grid", "3x3"), "9"),
        (("sample", "run", "--seeds", "0-3", "--grid", "2x2", "-o", "d"), "d.png"),
        (("sample", "run", "--checkpoint", "123"), "000000"),
        (("evaluate", "run", "--against", "nowhere"), "nowhere"),
        (("evaluate", "run", "--against", "cats", "--extractor", "inceptoin"), "inception"),
        (("evaluate", "run", "--against", "cats", "--inception", "no.pt"), "no.pt"),
        (("recipes", "nothing"), "choose from"),
        (("recipes", ""), "is empty"),
        (("train", ""), "is empty"),
        (("prepare", "photos", ""), "is empty"),
        (("sample", "run", "-o", ""), "is empty"),
        (("sample", "run", "--checkpoint", ""), "is empty"),
        (("info", "photos"), "not a run: name an exported .onnx file"),
    ],
)
def test_user_errors_are_one_line_and_code_2(home, arguments, expected):
    text = catgan(*arguments, code=2)
    assert text.startswith("catgan: error: ")
    assert len(text.strip().splitlines()) == 1
    assert expected in text


def test_usage_errors_are_code_2(home):
    for arguments in (
        ("trian",),
        ("sample", "run", "--sedes", "1"),
        ("train", "--minutes", "x"),
    ):
        catgan(*arguments, code=2, by_typer=True)


def test_missing_train_extra_names_the_remedy(home):
    script = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "import catgan.extras as extras\n"
        "extras.find_spec = lambda name: None if name == 'torch' else real(name)\n"
        "sys.argv = ['catgan', 'train']\n"
        "from catgan.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=home, check=False
    )
    assert done.returncode == 2
    assert "torch" in done.stderr
    assert "catgan[train]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def roll(tmp_path_factory):
    """A folder with two photos of procedural cats and one of a wall."""
    folder = tmp_path_factory.mktemp("roll") / "photos"
    folder.mkdir()
    for name, index in (("one", 8), ("two", 13)):
        Image.fromarray(photo_of((index, 140, 60, 200))).save(folder / f"{name}.png")
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(folder / "wall.png")
    return folder


# Procedural cats are neither photographed, nor as sharp as photos, nor framed like them.
PROCEDURAL_GATES = [
    arg for gate in ("cat=0", "sharpness=0", "close=99") for arg in ("--gate", gate)
]


def test_faces_are_found_inspected_and_trained_on(roll, tmp_path, monkeypatch):
    monkeypatch.setitem(FLOORS, "cat", 0.0)
    cats = tmp_path / "cats"
    text = catgan("prepare", roll, cats, "--size", 32, "--faces", *PROCEDURAL_GATES)
    assert "2 cat faces at 32 px from 2 of 3 photos" in text
    assert "wall.png: no cat face found" in text
    assert f"next     catgan train {cats}" in text
    text = catgan("inspect", cats, "--extractor", "raw-64")
    assert "2 images of 32 px" in text
    assert (tmp_path / "cats-inspect.html").exists()
    assert "finished after" in catgan("train", cats, "-o", tmp_path / "run", *SETTINGS)
    like = ("--like", tmp_path / "run")
    text = catgan("inspect", cats, "--extractor", "raw-64", *like, code=2)
    assert "cats: expected at least 24 images to compare, found 2" in text


def test_inspect_compares_with_the_data_of_a_run(home):
    """The noise that the run was trained on is like itself; nearly black images are not."""
    (home / "plain").mkdir()
    for index in range(30):
        color = tuple(np.random.default_rng(index).integers(0, 30, 3).tolist())
        Image.new("RGB", (40, 40), color).save(home / "plain" / f"{index:02d}.png")
    catgan("prepare", "plain", "plain-cats", "--size", 32)
    same = catgan("inspect", "cats", "--extractor", "raw-64", "--like", "run")
    assert "likeness these are the same images" in same
    other = catgan("inspect", "plain-cats", "--extractor", "raw-64", "--like", "run")
    assert re.search(r"likeness 0% of these images resemble photos \(two halves", other)
    assert "Similar to the data of a generator?" in (home / "plain-cats-inspect.html").read_text()


def test_inspect_compares_with_the_generated_cats_of_a_run(home, monkeypatch):
    monkeypatch.setattr("catgan.data.dataset.cache.EMBEDDED_COUNT", 40)
    catgan("train", "-o", "no-photos", *SETTINGS, "--set", "training.images=8")
    text = catgan("inspect", "cats", "--extractor", "raw-64", "--like", "no-photos")
    assert "of these images resemble generated-cats" in text
    assert "note" not in text
    text = catgan("inspect", "cats", "--extractor", "raw-64", "--like", "photos")
    assert "these are the same images as those of photos" in text


def test_empty_holdout_is_noted(home, roll, tmp_path, monkeypatch):
    monkeypatch.setitem(FLOORS, "cat", 0.0)
    (home / "few").mkdir()
    for name in ("00", "01"):
        (home / "few" / f"{name}.png").write_bytes((home / "photos" / f"{name}.png").read_bytes())
    note = "note     none of 2 images is held out (each photo is with probability 0.1)"
    assert note in catgan("prepare", "few", "few-cats", "--size", 32)
    assert "is held out" not in catgan("prepare", "few", "all", "--size", 32, "--holdout", 0)
    text = catgan("prepare", roll, tmp_path / "faces", "--size", 32, "--faces", *PROCEDURAL_GATES)
    assert note in text


def test_prepare_faces_checks_paths_before_the_search(roll, tmp_path, monkeypatch):
    """The search may take an hour."""
    stop = mock.Mock(side_effect=AssertionError("searched"))
    monkeypatch.setattr("catgan.data.faces.prepare.find_faces", stop)
    monkeypatch.chdir(tmp_path)
    assert "already exists" in catgan("prepare", roll, ".", "--faces", code=2)
    assert "already exists" in catgan("prepare", roll, "/", "--faces", code=2)
    assert "holdout fraction 2" in catgan("prepare", roll, "d", "--faces", "--holdout", 2, code=2)
    assert "give 0.02 or more" in catgan("prepare", roll, "d", "--faces", *PROCEDURAL_GATES, code=2)
    (tmp_path / "d-decisions.json").write_text("{")
    assert "not a file of decisions" in catgan("prepare", roll, "d", "--faces", "--review", code=2)
    review = ("prepare", roll, "e", "--faces", "--review", "--decisions")
    assert "no/d.json: no is not a folder" in catgan(*review, "no/d.json", code=2)
    assert "cannot be read" in catgan(*review, ".", code=2)
    text = catgan(*review, "x" * 250, code=2)
    assert "File name too long): choose another path with --decisions" in text
    assert [path.name for path in tmp_path.iterdir()] == ["d-decisions.json"]


def test_inspect_checks_its_page_before_the_work(home):
    with mock.patch("catgan.inspect.inspection.inspect_dataset") as never:
        text = catgan("inspect", "cats", "--extractor", "raw-64", "-o", "no/page.html", code=2)
        assert "no is not a folder: create it, or choose another with --out" in text
        # A folder; a name too long for what is written beside; where even root may not write.
        rejected = ["cats", "x" * 250 + ".html"]
        if sys.platform == "linux":
            rejected.append("/proc/page.html")
        for page in rejected:
            text = catgan("inspect", "cats", "--extractor", "raw-64", "-o", page, code=2)
            assert f"{page}: cannot be written (" in text
            assert "choose another path with --out" in text
        assert not never.called
    with mock.patch("catgan.extras.find_spec", lambda name: None if name == "cv2" else 1):
        assert "this needs cv2, not installed" in catgan("inspect", "cats", code=2)


def test_next_command_quotes_the_dataset_path(home):
    (home / "my cats").mkdir()
    (home / "my cats" / "a.png").write_bytes((home / "photos" / "03.png").read_bytes())
    text = catgan("prepare", "my cats", "of $me", "--size", 32)
    assert "next     catgan train 'of $me' --recipe" in text


def test_unmatched_decisions_are_noted(roll, tmp_path, monkeypatch):
    monkeypatch.setitem(FLOORS, "cat", 0.0)
    write_decisions(tmp_path / "d.json", {"0123456789abcdef@1,2": True})
    text = catgan("prepare", roll, tmp_path / "cats", "--size", 32, "--faces", *PROCEDURAL_GATES,
                  "--decisions", tmp_path / "d.json")  # fmt: skip
    assert "note     1 of the decisions are about faces that were not found" in text


def test_interrupted_search_says_that_it_resumes(roll, tmp_path):
    stop = mock.Mock(side_effect=KeyboardInterrupt)
    with mock.patch("catgan.data.faces.prepare.find_faces", stop):
        text = catgan("prepare", roll, tmp_path / "cats", "--faces", code=130)
    assert "the same command resumes" in text


def test_invalid_data_arguments_are_one_line_errors(roll, tmp_path):
    cats = tmp_path / "cats"
    assert "add --faces" in catgan("prepare", roll, cats, "--gate", "cat=1", code=2)
    assert "add --faces" in catgan("prepare", roll, cats, "--review", code=2)
    assert "did you mean cat" in catgan("prepare", roll, cats, "--faces", "--gate", "cta=1", code=2)
    none = tmp_path / "none.json"
    assert "cannot be read" in catgan("prepare", roll, cats, "--faces", "--decisions", none, code=2)
    assert "is not a dataset" in catgan("inspect", roll, code=2)
    assert "afhq-cat" in catgan("download", "dogs", code=2)
    with mock.patch("sys.stdin", mock.Mock(isatty=lambda: False)):
        assert "--accept-license" in catgan("download", "afhq-cat", "-o", cats, code=2)
    with mock.patch("catgan.extras.find_spec", lambda name: None if name == "cv2" else 1):
        assert "catgan[prepare]" in catgan("prepare", roll, cats, "--faces", code=2)


def test_early_stopping_says_why_and_checks_memorization(tmp_path, monkeypatch):
    from catgan.data.synthetic.procedural import write_procedural_cats

    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("catgan.training.memorization.SAMPLES", 16)
    write_procedural_cats(tmp_path / "cats", 60, 32)
    scores = mock.Mock(side_effect=[0.5, 0.1, 0.2, 0.3, 0.4])
    measured = "catgan.evaluation.quick.squared_mmd"
    with mock.patch(measured, scores):
        text = catgan(
            "train", tmp_path / "cats", "-o", tmp_path / "run", *SETTINGS,
            "--set", "training.images=64", "--set", "output.checkpoint_images=8",
            "--set", "training.early_stopping_images=16", "--set", "output.score_samples=16",
        )  # fmt: skip
    assert "held-out KD-lite2 0.1 after 16 images" in text
    assert "finished after 32 images of 64: the score on held-out photos has not improved" in text
    assert "best     after 16 images, by the score on held-out photos" in text
    assert re.search(r"copying  samples lie \S+% \w+ \w+ training photos .*; 0 exact copies", text)
    assert text.splitlines()[-1].startswith("next     catgan sample ")
    assert " --checkpoint best " in text.splitlines()[-1]
