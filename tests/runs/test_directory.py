from __future__ import annotations

import json
import re
from random import Random

import numpy as np
import pytest
from fuzz.strategies import edit_json

from catgan.config import Config, override
from catgan.errors import CatganError
from catgan.pages import figure_svg
from catgan.runs import report
from catgan.runs.directory import RunDirectory, is_run
from catgan.runs.report import write_report

FACTS = {"dataset": {"name": "cats"}, "machine": {"threads": 2}}


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", Config(), FACTS)


def test_create_and_open_round_trip(run):
    opened = RunDirectory.open(run.path)
    assert opened.config() == Config()
    assert opened.facts() == FACTS
    assert is_run(run.path)
    longer = override(Config(), ["training.images=7"])
    opened.update_config(longer)
    assert run.config() == longer


def test_create_does_not_touch_existing_files(run, tmp_path):
    with pytest.raises(CatganError, match="--resume"):
        RunDirectory.create(run.path, Config(), FACTS)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CatganError, match="cannot be written"):
        RunDirectory.create(tmp_path / "file", Config(), FACTS)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("kept", range(6))
def test_create_after_a_killed_create(run, tmp_path, kept):
    """At whatever point it was killed: its leftovers are worth nothing."""
    left = ["samples", "checkpoints", ".lock", ".lock.json", "run.json", ".config.toml.partial-7"]
    path = tmp_path / "killed"
    path.mkdir()
    for name in left[: kept + 1]:
        if "." in name:
            (path / name).write_text("{")
        else:
            (path / name).mkdir()
    with pytest.raises(CatganError, match=r"start it again, catgan train \.\.\. --out"):
        RunDirectory.open(path)
    assert RunDirectory.create(path, Config(), FACTS).facts() == FACTS
    (tmp_path / "mine" / "samples").mkdir(parents=True)
    (tmp_path / "mine" / "samples" / "cat.png").write_text("mine")
    with pytest.raises(CatganError, match="not empty"):
        RunDirectory.create(tmp_path / "mine", Config(), FACTS)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["samples"]


def test_clean_removes_leftovers_of_killed_writers(run):
    run.append_row({"images": 10})
    run.grid_path(10).write_bytes(b"")
    before = sorted(run.path.rglob("*"))
    (run.path / ".report.html.partial-7").write_text("<ht")
    (run.path / "samples" / ".000000010.png.partial-7").write_text("")
    run.clean()
    assert sorted(run.path.rglob("*")) == before


def test_disk_errors_are_one_line_with_the_resume_command(run, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("catgan.files.os.fsync", full)
    for write in (
        lambda: run.append_row({"images": 1}),
        lambda: run.rewind(0),
        lambda: run.update_config(Config()),
        lambda: run.save_grid(0, np.zeros((4, 4, 3), np.uint8)),
        lambda: run.write(run.report, b""),
    ):
        with pytest.raises(CatganError, match=r"No space left on device.*--resume") as error:
            write()
        assert "\n" not in str(error.value)


def test_log_skips_a_torn_line_and_rewinds(run):
    for images in (10, 20, 30):
        run.append_row({"images": images, "loss": 1 / images})
        run.grid_path(images).write_bytes(b"")
    with run.log.open("a") as file:
        file.write('{"images": 40, "lo')
    assert [row["images"] for row in run.rows()] == [10, 20, 30]
    run.rewind(20)
    assert [row["images"] for row in run.rows()] == [10, 20]
    assert run.rows()[0]["loss"] == 0.1
    assert list(run.grids()) == [10, 20]
    assert run.log.read_text().count("\n") == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"dataset": 1, "machine": {}}', "[" * 10_000])
def test_damaged_facts_are_a_one_line_error(run, text):
    (run.path / "run.json").write_text(text)
    with pytest.raises(CatganError, match=r"run\.json cannot be read"):
        run.facts()


def test_binary_configuration_is_a_one_line_error(run):
    (run.path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CatganError, match=r"config\.toml"):
        run.config()


def test_printed_commands_are_quoted_for_the_shell(tmp_path, monkeypatch):
    run = RunDirectory.create(tmp_path / "my run", Config(), FACTS)
    with pytest.raises(CatganError, match=r"catgan train --resume '[^']*/my run'$"):
        RunDirectory.create(run.path, Config(), FACTS)
    (tmp_path / "half a run" / "samples").mkdir(parents=True)
    with pytest.raises(CatganError, match=r"--out '[^']*/half a run'$"):
        RunDirectory.open(tmp_path / "half a run")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("catgan.files.os.fsync", full)
    with pytest.raises(CatganError, match=r"--resume '[^']*/my run'$"):
        run.write(run.report, b"")


def test_path_below_a_file_is_a_one_line_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CatganError, match=r"not a folder|Not a directory"):
            RunDirectory.create(path, Config(), FACTS)


def test_training_images_cannot_be_fewer_than_seen(run):
    (run.path / "checkpoints" / "000000160").mkdir()
    (run.path / "checkpoints" / "latest").write_text("000000160")
    with pytest.raises(CatganError, match=r"images = 1 is less than the 160 images"):
        run.update_config(override(Config(), ["training.images=1"]))
    assert run.config() == Config()
    for images in (160, 161):
        run.update_config(override(Config(), [f"training.images={images}"]))
        assert run.config().training.images == images


ROW = {
    "images": 10,
    "discriminator_loss": 1.0,
    "generator_loss": 2.0,
    "real_accuracy": 0.5,
    "generated_accuracy": 0.5,
    "diversity": 1.0,
    "machine": {"images_per_second": 5.0, "memory_mib": 100, "unix_time": 1.0},
}
SCORE = {"images": 10, "score": 5.0, "scored_by": "FD-lite2"}
DAMAGED = [
    ROW | {"images": -1},
    ROW | {"images": True},
    ROW | {"images": 10**400},
    ROW | {"images": 2**63},
    ROW | {"generator_loss": "low"},
    ROW | {"real_accuracy": float("nan")},
    ROW | {"diversity": None},
    ROW | {"machine": None},
    ROW | {"machine": []},
    ROW | {"machine": {"images_per_second": "fast", "memory_mib": 1}},
    ROW | {"machine": {"images_per_second": float("inf"), "memory_mib": 1}},
    ROW | {"machine": {"images_per_second": 1.0, "memory_mib": "much"}},
    SCORE | {"score": float("nan")},
    SCORE | {"score": "good"},
    SCORE | {"scored_by": 5},
    SCORE | {"scored_by": "FD\x1b[31m\0"},
    SCORE | {"scored_by": "F" * 5_000},
    ROW | {"overfitting": "none"},
    ROW | {"overfitting": None},
    ROW | {"overfitting": [0.5]},
    ROW | {"overfitting": True},
    ROW | {"overfitting": float("nan")},
    ROW | {"overfitting": float("-inf")},
    ROW | {"overfitting": 10**400},
]
INCOMPLETE = [
    {key: value for key, value in ROW.items() if key != "machine"},
    {key: value for key, value in ROW.items() if key != "real_accuracy"},
    ROW | {"machine": {}},
    ROW | {"machine": {"images_per_second": 0, "memory_mib": 1}},
    ROW | {"machine": {"images_per_second": 5e-324, "memory_mib": 1}},
    {"images": 10, "score": 5.0},
]


@pytest.mark.parametrize("row", DAMAGED)
def test_damaged_rows_are_skipped(run, row):
    with run.log.open("a") as file:
        file.write(f"{json.dumps(ROW)}\n{json.dumps(row)}\n{json.dumps(SCORE)}\n")
    assert run.rows() == [ROW, SCORE]


@pytest.mark.parametrize("rows", [DAMAGED, *([row] for row in INCOMPLETE)])
def test_damaged_rows_are_left_out_of_the_report(run, rows):
    later = [ROW | {"images": 20}, SCORE | {"images": 20}]
    with run.log.open("a") as file:
        for each in (ROW, SCORE, *rows, *later):
            file.write(json.dumps(each) + "\n")
    write_report(run)
    text = run.report.read_text()
    assert "<dd>20</dd>" in text  # images seen
    assert "5.0 img/s" in text


def test_overfitting_beyond_float_range_is_skipped(run):
    run.append_row(ROW)
    with run.log.open("a") as file:
        file.write(json.dumps(ROW | {"overfitting": 0.5}).replace("0.5}", "1e400}") + "\n")
    assert "1e400" in run.log.read_text()
    assert run.rows() == [ROW]


def test_report_is_written_for_arbitrary_rows(run):
    """One log whose rows have values of any type anywhere."""
    random = Random(0)
    valid = [json.dumps(row).encode() for row in (ROW | {"overfitting": 0.5}, SCORE)]
    lines = [edit_json(random.choice(valid), random) for _ in range(2_000)]
    ends = [ROW | {"images": n, "overfitting": 0.5} for n in (20, 30)]
    ends += [SCORE | {"images": n} for n in (20, 30)]
    run.log.write_bytes(b"\n".join([*lines, *(json.dumps(row).encode() for row in ends)]) + b"\n")
    assert 200 < len(run.rows()) < 1_900
    write_report(run)
    text = run.report.read_text()
    for title in ("Losses", "Overfitting of the discriminator (r_v)", "Score"):
        assert f"<h2>{title}</h2>" in text


def test_report_shows_the_best_score_and_when(run):
    _, _ = report_of(run, [ROW])
    assert "Best" not in run.report.read_text()
    rows = curve("score", [0.5, 0.25, 0.25, 0.75], scored_by="held-out KD-lite2", samples=100)
    text, _ = report_of(run, [*rows, ROW | {"images": 40}])
    assert "<dt>Best held-out KD-lite2</dt><dd>0.25 at 20 images</dd>" in text


def report_of(run, rows):
    """The text of the report, and the y ticks of its last chart."""
    for row in rows:
        run.append_row(row)
    write_report(run)
    text = run.report.read_text()
    axis = text.rpartition('id="matplotlib.axis_2"')[2]
    ticks = re.findall(r"<text[^>]*>([\d.−-]+)</text>", axis)
    return text, [float(tick.replace("−", "-")) for tick in ticks]


def curve(key, values, **more):
    return [{"images": 10 * n, key: value} | more for n, value in enumerate(values, start=1)]


def test_overfitting_curve_uses_rows_that_have_it(run):
    rows = [ROW | each for each in curve("overfitting", [-0.4, 0.2, 1e30, -1e30])]
    text, ticks = report_of(run, [ROW, *rows])
    assert "<h2>Overfitting of the discriminator (r_v)</h2>" in text
    assert "the discriminator rates held-out photos as real as training photos" in text
    assert (min(ticks), max(ticks)) == (-1.0, 2.0)


@pytest.mark.parametrize("count", [0, 1])
def test_overfitting_curve_needs_two_rows(run, count):
    with_it = [ROW | each for each in curve("overfitting", [0.5] * count)]
    text, _ = report_of(run, [ROW, *with_it, ROW | {"images": 30}])
    assert "Losses" in text
    assert "Overfitting" not in text


def test_negative_kernel_distance_is_in_the_chart(run):
    rows = curve("score", [0.004, -0.002, 0.001], scored_by="held-out KD-lite2")
    text, ticks = report_of(run, rows)
    assert min(ticks) <= -0.002
    assert "held-out KD-lite2: kernel distance" in text
    assert "images held out from training" in text
    assert "can be slightly negative" in text
    assert "biased upwards" not in text
    assert "Fréchet" not in text


def test_frechet_chart_starts_at_zero(run):
    text, ticks = report_of(run, curve("score", [40.0, 30.0], scored_by="FD-lite2"))
    assert ticks[0] == 0
    assert "FD-lite2: Fréchet distance of 1000 generated images to training images" in text
    assert "kernel" not in text


def test_chart_shows_only_scores_of_the_last_kind(run):
    """A resumed run may be scored differently than before."""
    rows = [
        *curve("score", [4_000.0, 3_000.0], scored_by="FD-lite2"),
        *curve("score", [0.02, 0.01], scored_by="held-out KD-lite2"),
    ]
    _, ticks = report_of(run, rows)
    assert max(ticks) < 1


@pytest.mark.parametrize(
    ("loss", "score"), [(1, 100), (-1234.5, 0.0026), (1e-4, 2.6e-4), (1e6, -2.6e-4), (5e9, 43210)]
)
def test_charts_have_room_for_their_labels(run, monkeypatch, loss, score):
    """Their margins are fixed, and what lies outside of the figure is not shown."""
    figures = []
    monkeypatch.setattr(
        report, "figure_svg", lambda figure, *, crop: figures.append(figure) or figure_svg(figure)
    )
    for n in range(1, 9):
        losses = {"discriminator_loss": loss * n, "generator_loss": -loss * n, "overfitting": n - 4}
        run.append_row(ROW | {"images": 125_000 * n} | losses)
        run.append_row(SCORE | {"images": 125_000 * n, "score": score * n})
    write_report(run)
    assert len(figures) == 3
    for figure in figures:
        width, height = figure.get_size_inches()
        shown = figure.get_tightbbox()
        assert 0 <= shown.x0 < shown.x1 <= width
        assert 0 <= shown.y0 < shown.y1 <= height


def test_score_names_are_escaped(run):
    text, _ = report_of(run, curve("score", [2.0, 1.0], scored_by=r"$\nonsense{$ <b>"))
    assert "&lt;b&gt;" in text
    assert "<b>" not in text


def test_report_of_a_run_with_undecodable_name(run, tmp_path, monkeypatch):
    named = RunDirectory(run.path)
    monkeypatch.setattr(named, "path", type(run.path)(f"{run.path}\udcff"))
    monkeypatch.setattr(named, "config", lambda: Config())
    monkeypatch.setattr(named, "facts", lambda: FACTS)
    write_report(named)
    assert r"run\udcff" in named.report.read_text()
