"""Whole runs: exact resume after every kind of end, logs, failures."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from catgan.config import override, to_toml
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import dataset_images
from catgan.evaluation.quick import reals_statistics
from catgan.networks.base import BaseGenerator
from catgan.networks.build import build_generator
from catgan.runs import sampler as sampling
from catgan.runs.checkpoint import PARTS, read_checkpoint
from catgan.runs.directory import RunDirectory
from catgan.training import guard, initialize, loop, losses
from catgan.training.guard import TrainingFailedError
from catgan.training.loop import train

FACTS = {"dataset": {"name": "cats"}, "machine": {}}
CPU = torch.device("cpu")


class Silent:
    """A display that records notes and can act at a step."""

    def prepare(self, what, done, total):
        self.prepared = {**getattr(self, "prepared", {}), what: (done, total)}

    def __init__(self, at=None, act=None):
        self.notes, self.rows, self.at, self.act, self.ended = [], [], at, act, False

    def begin(self, images, total):
        self.began = (images, total)

    def step(self, images):
        if images == self.at:
            self.act()

    def row(self, row):
        self.rows.append(row)

    def score(self, row):
        self.scores = [*getattr(self, "scores", []), row["score"]]

    def note(self, text):
        self.notes.append(text)

    def end(self):
        self.ended = True


def new_run(path, config):
    return RunDirectory.create(path, config, FACTS)


def repeatable_rows(run):
    return [{k: v for k, v in row.items() if k != "machine"} for row in run.rows()]


def assert_same_run(one: RunDirectory, other: RunDirectory):
    """Assert that weights, EMA, optimizers and log rows are bit-equal."""
    assert one.checkpoints.pointer("latest") == other.checkpoints.pointer("latest")
    a, b = (read_checkpoint(r.checkpoints.directory / r.checkpoints.pointer("latest"))
            for r in (one, other))  # fmt: skip
    assert a.window == b.window
    for part in PARTS:
        assert a.tensors[part].keys() == b.tensors[part].keys()
        assert a.tensors[part], part
        for name in a.tensors[part]:
            assert torch.equal(a.tensors[part][name], b.tensors[part][name]), (part, name)
    assert repeatable_rows(one) == repeatable_rows(other)
    assert len(repeatable_rows(one)) > 1
    last = int(one.checkpoints.pointer("latest"))
    assert one.grid_path(last).read_bytes() == other.grid_path(last).read_bytes()


@pytest.fixture(scope="module")
def finished():
    """Uninterrupted runs, by configuration."""
    return {}


@pytest.fixture
def straight(tmp_path, tiny_config, cats, finished, tmp_path_factory):
    """A copy of an uninterrupted run of `tiny_config`."""
    key = to_toml(tiny_config)
    if key not in finished:
        run = new_run(tmp_path_factory.mktemp("finished") / "run", tiny_config)
        outcome = train(tiny_config, cats, run, Silent(), device=CPU)
        assert outcome.finished
        assert outcome.images == 320
        finished[key] = run.path
    shutil.copytree(finished[key], tmp_path / "straight")
    return RunDirectory.open(tmp_path / "straight")


CHILD = """
import os, signal, sys
from pathlib import Path
import torch
from catgan.data.dataset.dataset import Dataset
from catgan.runs import sampler as sampling
from catgan.training import initialize, loop
from catgan.training.starting_point import load_starting_point
from catgan.runs.directory import RunDirectory
sys.path.insert(0, {tests!r})
from test_loop import Silent
run = RunDirectory.open(Path({run!r}))
initialize.STATISTICS_IMAGES = {reals}
sampling.CALIBRATION_SEEDS = {seeds}
act = lambda: os.kill(os.getpid(), signal.{signal})
data = Dataset.open({data!r})
named = {starting!r}
outcome = loop.train(
    run.config(), data, run, Silent({at}, act), device=torch.device("cpu"),
    starting=named and load_starting_point(named, print),
)
print(outcome.images, outcome.signal)
"""


def run_child(run, cats, at, signal_name, starting=None):
    script = CHILD.format(
        tests=str(Path(__file__).parent),
        run=str(run.path),
        data=str(cats.path),
        at=at,
        reals=initialize.STATISTICS_IMAGES,
        seeds=sampling.CALIBRATION_SEEDS,
        signal=signal_name,
        starting=starting,
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )


def test_resume_after_kill_9_is_bit_exact(tmp_path, tiny_config, cats, straight):
    broken = new_run(tmp_path / "broken", tiny_config)
    child = run_child(broken, cats, at=17 * 8, signal_name="SIGKILL")
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert broken.checkpoints.names() == ["000000080"]
    assert broken.rows()[-1]["images"] == 120  # rows after the checkpoint are written again
    display = Silent()
    outcome = train(tiny_config, cats, broken, display, device=CPU, resume=True)
    assert outcome.finished
    assert display.began == (80, 320)
    assert_same_run(straight, broken)


def test_a_signal_saves_a_checkpoint_and_resume_is_bit_exact(tmp_path, tiny_config, cats, straight):
    name = {"lsgan-64": "SIGINT", "dcgan-128": "SIGTERM"}[tiny_config.recipe]
    broken = new_run(tmp_path / "broken", tiny_config)
    child = run_child(broken, cats, at=136, signal_name=name)
    assert child.returncode == 0, child.stderr
    assert child.stdout.split() == ["136", str(int(getattr(signal, name)))]
    assert child.stderr == ""
    assert broken.checkpoints.pointer("latest") == "000000136"
    train(tiny_config, cats, broken, Silent(), device=CPU, resume=True)
    assert_same_run(straight, broken)


def test_killed_before_the_first_checkpoint_a_run_restarts(tmp_path, tiny_config, cats, straight):
    broken = new_run(tmp_path / "broken", tiny_config)
    run_child(broken, cats, at=48, signal_name="SIGKILL")
    assert broken.checkpoints.names() == []
    assert broken.rows()
    train(tiny_config, cats, broken, Silent(), device=CPU, resume=True)
    assert_same_run(straight, broken)


def test_a_corrupt_last_checkpoint_costs_only_its_images(tmp_path, tiny_config, cats, straight):
    broken = new_run(tmp_path / "broken", tiny_config)
    train(tiny_config, cats, broken, Silent(), device=CPU)
    newest = broken.checkpoints.directory / broken.checkpoints.pointer("latest")
    data = (newest / "ema.safetensors").read_bytes()
    (newest / "ema.safetensors").write_bytes(data[:-4] + b"1234")
    display = Silent()
    train(tiny_config, cats, broken, display, device=CPU, resume=True)
    assert display.began == (240, 320)
    assert "corrupt" in display.notes[0]
    assert_same_run(straight, broken)


def test_stopping_by_the_clock_and_a_longer_run(tmp_path, tiny_config, cats, straight):
    run = new_run(tmp_path / "run", tiny_config)
    outcome = train(tiny_config, cats, run, Silent(), device=CPU, minutes=0)
    assert outcome == loop.Outcome(0, finished=False)
    half = override(tiny_config, ["training.images=160"])
    assert train(half, cats, run, Silent(), device=CPU, resume=True).images == 160
    assert train(tiny_config, cats, run, Silent(), device=CPU, resume=True).images == 320
    assert_same_run(straight, run)


def test_resuming_a_finished_run_changes_nothing(straight, tiny_config, cats):
    before = straight.log.read_bytes()
    outcome = train(tiny_config, cats, straight, Silent(), device=CPU, resume=True)
    assert outcome.finished
    assert straight.log.read_bytes() == before


def test_the_log_has_all_metrics(straight):
    rows = straight.rows()
    assert [row["images"] for row in rows] == list(range(40, 321, 40))
    for row in rows:
        assert row["machine"]["images_per_second"] > 0
        assert row["machine"]["memory_mib"] > 50
        assert 0 <= row["real_accuracy"] <= 1
        assert math.isfinite(row["discriminator_loss"])
    assert list(straight.grids()) == [0, 160, 320]
    assert straight.report.read_text().count("data:image/webp") == 3


def test_nan_stops_the_run_and_keeps_good_checkpoints(tmp_path, tiny_config, cats, monkeypatch):
    run = new_run(tmp_path / "run", tiny_config)
    calls = {"count": 0}
    real = losses.generator_loss

    def poisoned(kind, real_outputs, outputs):
        calls["count"] += 1
        return real(kind, real_outputs, outputs) * (math.nan if calls["count"] > 15 else 1.0)

    monkeypatch.setattr(losses, "generator_loss", poisoned)
    display = Silent()
    with pytest.raises(
        TrainingFailedError, match=r"before 160 images: values of the log \(dis"
    ) as error:
        train(tiny_config, cats, run, display, device=CPU)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    assert display.ended
    assert run.checkpoints.names() == ["000000080"]
    weights = read_checkpoint(run.checkpoints.directory / "000000080").tensors["ema"]
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    for line in run.log.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in the log"))


def test_a_run_that_fails_before_its_first_step_releases_the_lock(
    tmp_path, tiny_config, cats, monkeypatch
):
    """The lock was once kept, and the terminal's cursor hidden."""

    def fail(*_):
        raise KeyboardInterrupt

    run, display = new_run(tmp_path / "run", tiny_config), Silent()
    monkeypatch.setattr(loop, "initial_networks", fail)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config, cats, run, display, device=CPU)
    assert display.ended
    RunDirectory.open(run.path).lock.acquire()


def test_not_finite_weights_are_never_saved(tmp_path, tiny_config, cats, monkeypatch):
    """The loss of that step is finite, its gradient is not."""
    run = new_run(tmp_path / "run", tiny_config)
    calls = {"count": 0}
    real = losses.generator_loss

    def poisoned(kind, real_outputs, outputs):
        calls["count"] += 1
        loss = real(kind, real_outputs, outputs)
        if calls["count"] == 20:
            loss.register_hook(lambda gradient: gradient * math.nan)
        return loss

    monkeypatch.setattr(losses, "generator_loss", poisoned)
    with pytest.raises(TrainingFailedError, match="before 160 images: weights of generator"):
        train(tiny_config, cats, run, Silent(), device=CPU)
    assert run.checkpoints.names() == ["000000080"]


def test_scored_runs_keep_the_best_and_resume_exactly(tmp_path, tiny_config, cats):
    config = override(tiny_config, ["output.score_samples=16", "training.images=240"])
    reals = reals_statistics(dataset_images(cats), load_extractor("raw-64"))
    straight = new_run(tmp_path / "straight", config)
    train(config, cats, straight, Silent(), device=CPU, reals=reals)
    broken = new_run(tmp_path / "broken", config)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, cats, broken, Silent(136, stop), device=CPU, reals=reals)
    train(config, cats, broken, Silent(), device=CPU, reals=reals, resume=True)
    assert_same_run(straight, broken)
    scores = {row["images"]: row["score"] for row in straight.rows() if "score" in row}
    assert list(scores) == [80, 160, 240]
    best = min(scores, key=scores.get)
    assert straight.checkpoints.pointer("best") == f"{best:09d}"
    assert straight.rows()[-1]["scored_by"] == "FD-raw-64"


def test_every_training_image_is_shown_equally_often(tmp_path, tiny_config, cats, monkeypatch):
    shown = []
    real = loop.batch_indices

    def remember(seed, images, batch, count):
        indices = real(seed, images, batch, count)
        shown.extend(indices.tolist())
        return indices

    monkeypatch.setattr(loop, "batch_indices", remember)
    config = override(tiny_config, ["training.images=120"])
    train(config, cats, new_run(tmp_path / "run", config), Silent(), device=CPU)
    count = len(cats.indices("train"))
    assert sorted(set(shown[:count])) == list(range(count))
    assert max(np.bincount(shown)) - min(np.bincount(shown)) <= 1


def test_another_seed_is_another_run(tmp_path, tiny_config, cats, straight):
    config = override(tiny_config, ["training.seed=1"])
    other = new_run(tmp_path / "other", config)
    train(config, cats, other, Silent(), device=CPU)
    assert repeatable_rows(other) != repeatable_rows(straight)


# -- the projected family --------------------------------------------------------------------------


def checkpoint_of(run, name=None):
    return read_checkpoint(run.checkpoints.directory / (name or run.checkpoints.pointer("latest")))


def test_the_loss_on_eyes_changes_the_generator(tmp_path, tiny_config, cats):
    weights = {}
    for weight in (0, 1):
        settings = ["training.images=8", f"loss.eye_colors={weight}"]
        config = override(tiny_config, settings)
        run = new_run(tmp_path / str(weight), config)
        assert train(config, cats, run, Silent(), device=CPU).finished
        weights[weight] = checkpoint_of(run).tensors
    without, with_it = weights.values()
    pairs = [
        (without["generator"][name], with_it["generator"][name]) for name in without["generator"]
    ]
    assert sum(not torch.equal(*pair) for pair in pairs) > 5


def test_projected_resume_is_bit_exact(tmp_path, projected_config, cats_64):
    """Including statistics, penalties, averages, the guard's rows and the loss on eyes."""
    config = override(projected_config, ["loss.eye_colors=1e-6"])
    straight = new_run(tmp_path / "straight", config)
    assert train(config, cats_64, straight, Silent(), device=CPU).finished

    killed = new_run(tmp_path / "killed", config)
    child = run_child(killed, cats_64, at=16, signal_name="SIGKILL")
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert killed.checkpoints.names() == ["000000012"]
    display = Silent()
    train(config, cats_64, killed, display, device=CPU, resume=True)
    assert display.began == (12, 24)
    assert_same_run(straight, killed)

    stopped = new_run(tmp_path / "stopped", config)
    shorter = override(config, ["training.images=20"])
    assert train(shorter, cats_64, stopped, Silent(), device=CPU).images == 20
    train(config, cats_64, stopped, Silent(), device=CPU, resume=True)
    assert_same_run(straight, stopped)

    # Heads learn; mixing and scales stay; the frozen backbone is not saved.
    before, after = (checkpoint_of(straight, name) for name in straight.checkpoints.names())
    for name, tensor in after.tensors["discriminator"].items():
        frozen = name.startswith(("projection.", "frequencies.", "colors."))
        if frozen or tensor.dim() > 1:  # this loss ignores a common offset of the logits
            assert torch.equal(tensor, before.tensors["discriminator"][name]) == frozen, name
    assert not any("network" in name for name in after.tensors["discriminator"])
    assert not any(".projection." in f".{name}" for name in after.tensors["optimizer"])
    for row in repeatable_rows(straight):
        assert all(math.isfinite(value) for value in row.values())
        assert row["diversity"] > 0


def test_samples_of_a_projected_run_are_calibrated(
    tmp_path, projected_config, cats_64, monkeypatch
):
    """Scores and grids; checkpoints are tested below."""
    calibrations = []

    def remember(sampler, seeds, *others):
        calibrations.append((len(seeds), sampler.generator.eigenfaces.decorrelation.clone()))
        return real(sampler, seeds, *others)

    real = sampling.Sampler.__call__
    monkeypatch.setattr(sampling.Sampler, "__call__", remember)
    settings = ["training.images=12", "output.score_samples=16", "output.grid_seeds=4"]
    config = override(projected_config, settings)
    reals = reals_statistics(dataset_images(cats_64), load_extractor("raw-64"))
    run = new_run(tmp_path / "run", config)
    train(config, cats_64, run, Silent(), device=CPU, reals=reals)
    saved = checkpoint_of(run).tensors["ema"]["eigenfaces.decorrelation"]
    none = torch.eye(len(saved))
    assert not torch.equal(saved, none)
    (begun, first), *later = calibrations
    assert begun == 4
    assert torch.equal(first, none)  # before training there is nothing to measure
    assert {count for count, _ in later} == {4, 16}
    assert all(torch.equal(matrix, saved) for _, matrix in later)


def test_the_ema_of_a_projected_run_is_the_recursion_over_its_weights(
    tmp_path, projected_config, cats_64, monkeypatch
):
    steps = []
    real = loop.update_ema

    def remember(average, model, decay):
        if not steps:
            steps.append((0.0, copy.deepcopy(average.state_dict())))
        steps.append((decay, copy.deepcopy(model.state_dict())))
        real(average, model, decay)

    monkeypatch.setattr(loop, "update_ema", remember)
    config = override(projected_config, ["training.images=12", "training.ema_ramp=0.5"])
    run = new_run(tmp_path / "run", config)
    train(config, cats_64, run, Silent(), device=CPU)
    assert len(steps) == 1 + 3
    tensors = checkpoint_of(run).tensors
    for name, average in tensors["ema"].items():
        if not average.is_floating_point():  # a count of batches
            assert average == steps[-1][1][name]
            continue
        if name in (
            "eigenfaces.coefficient_mean",
            "eigenfaces.decorrelation",
        ):  # calibrated, not averaged
            assert not torch.equal(average, steps[0][1][name])
            continue
        expected = torch.zeros(())
        for decay, state in steps:
            expected = decay * expected + (1 - decay) * state[name].double()
        torch.testing.assert_close(average.double(), expected, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(tensors["ema"][n], tensors["generator"][n]) for n in tensors["ema"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_projected_run_trains_in_both_precisions(
    tmp_path, projected_config, cats_64, precision, request
):
    if precision == "bfloat16":
        request.getfixturevalue("bfloat16")
    settings = [f"training.precision={precision}", "training.images=16"]
    config = override(projected_config, settings)
    run = new_run(tmp_path / "run", config)
    train(config, cats_64, run, Silent(), device=CPU)
    before, after = (checkpoint_of(run, name) for name in ("000000012", "000000016"))
    mixing = after.tensors["discriminator"]["projection.across_scales.0.weight"]
    assert str(mixing.dtype) == f"torch.{precision}"
    for part in ("generator", "ema", "optimizer"):
        floating = [x for x in after.tensors[part].values() if x.is_floating_point()]
        assert len(floating) > 10
        assert all(x.dtype == torch.float32 for x in floating)
    assert any(
        not torch.equal(x, before.tensors["generator"][name])
        for name, x in after.tensors["generator"].items()
    )


# -- what else a run may ask for -------------------------------------------------------------------


def test_a_collapsed_generator_stops_the_run(tmp_path, tiny_config, cats, monkeypatch):
    class One(BaseGenerator):
        """The same image for every seed."""

        def __init__(self, network, reals=None):
            super().__init__()
            self.inner = build_generator(network, reals)

        def forward(self, z):
            return self.inner(torch.ones_like(z))

        def synthesize(self, style):
            return self(style)

    monkeypatch.setattr(guard, "WARMUP_IMAGES", 100)
    monkeypatch.setattr(guard, "ROWS_WATCHED", 3)
    monkeypatch.setattr(initialize, "build_generator", One)
    run, display = new_run(tmp_path / "run", tiny_config), Silent()
    with pytest.raises(TrainingFailedError, match="collapsed: for 3 rows up to 120 ") as error:
        train(tiny_config, cats, run, display, device=CPU)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    assert display.ended
    assert run.checkpoints.names() == ["000000080"]
    assert [row["images"] for row in run.rows()] == [40, 80]
    assert all(row["diversity"] < 1e-3 for row in run.rows())


def test_only_a_projected_run_needs_statistics_images(
    tmp_path, tiny_config, projected_config, cats, cats_64, monkeypatch
):
    indices, chosen = loop.batch_indices, []

    def remember(seed, images_seen, count, length):
        chosen.append((images_seen, count))
        return indices(seed, images_seen, count, length)

    monkeypatch.setattr(loop, "batch_indices", remember)
    expected_calls = [(0, len(cats_64.indices("train"))), (0, 8)]
    for name, config, data, at_first in (
        ("classic", override(tiny_config, ["training.images=16"]), cats, []),
        ("projected", override(projected_config, ["training.images=8"]), cats_64, expected_calls),
    ):
        config = override(config, ["training.precision=float32"])
        chosen.clear()
        train(config, data, new_run(tmp_path / name, config), Silent(), device=CPU)
        size = config.training.batch_size
        assert chosen == [*at_first, (0, size), (size, size)]


def test_the_classic_families_may_be_penalized_and_relativistic(tmp_path, tiny_config, cats):
    settings = ["loss.penalty=1", "loss.penalty_final=0.1", "loss.penalty_images=100"]
    settings += ["loss.discriminator=relativistic", "loss.generator=relativistic"]
    runs = []
    for name, chosen in (("with", settings), ("without", settings[3:])):
        config = override(tiny_config, [*chosen, "training.images=40"])
        runs.append(new_run(tmp_path / name, config))
        assert train(config, cats, runs[-1], Silent(), device=CPU).finished
    assert repeatable_rows(runs[0]) != repeatable_rows(runs[1])


def test_a_single_photo_can_be_memorized(tmp_path, tiny_config, cats, monkeypatch):
    """Real images do not differ either, so the guard must not stop the run."""
    only = cats.indices("train")[:1]
    monkeypatch.setattr(type(cats), "indices", lambda self, split: only)
    config = override(tiny_config, ["training.images=40"])
    run = new_run(tmp_path / "run", config)
    assert train(config, cats, run, Silent(), device=CPU).finished
