from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch
from small_runs import FACTS, make_run

from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.errors import CatganError
from catgan.networks.projected import correction, mirrored_eye
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import load_sampler

TOOL = Path(__file__).parents[2] / "tools" / "calibrate_checkpoint.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def calibrate_checkpoint():
    spec = importlib.util.spec_from_file_location("calibrate_checkpoint", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.calibrate_checkpoint


def test_copy_differs_in_the_calibration_only(calibrate_checkpoint, tmp_path):
    run = make_run(tmp_path / "run", "projected-128")
    out = tmp_path / "calibrated"
    calibrate_checkpoint(run, out, checkpoint="latest", images=512)
    old, new = (RunDirectory.open(path).checkpoints.load("latest", print) for path in (run, out))
    assert old.images == new.images
    calibrated = {"eigenfaces.coefficient_mean", "eigenfaces.decorrelation"}
    for part, tensors in old.tensors.items():
        for name, tensor in tensors.items():
            same = torch.equal(tensor, new.tensors[part][name])
            assert same != (part == "ema" and name in calibrated), (part, name)

    # Over the calibration images themselves, the coefficients are uncorrelated.
    sampler = load_sampler(out, CPU, print, "latest")
    eigenfaces, batches = sampler.generator.eigenfaces, []
    eigenfaces.norm.register_forward_hook(lambda *call: batches.append(call[-1][:, :, 0, 0]))
    sampler(range(1_000_000, 1_000_512))
    coefficients = (torch.cat(batches) - eigenfaces.coefficient_mean) @ eigenfaces.decorrelation.T
    covariance = torch.cov(coefficients.T)
    torch.testing.assert_close(covariance, torch.eye(len(covariance)), rtol=0, atol=0.01)

    with pytest.raises(CatganError, match="exists: name a new directory"):
        calibrate_checkpoint(run, out, checkpoint="latest", images=512)


@pytest.fixture
def photos(tmp_path):
    write_procedural_cats(tmp_path / "photos", 40, 32)
    return Dataset.open(tmp_path / "photos")


def run_on(photos, path, monkeypatch, recipe="projected-128", settings=()):
    facts = FACTS["dataset"] | {"identity": photos.identity}
    monkeypatch.setitem(FACTS, "dataset", facts)
    return make_run(path, recipe, settings=settings)


def test_a_correction_is_learned_from_the_photos(
    calibrate_checkpoint, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(correction, "STEPS", 3)
    monkeypatch.setattr(correction, "BATCH_SIZE", 16)
    run, out = run_on(photos, tmp_path / "run", monkeypatch), tmp_path / "corrected"
    calibrate_checkpoint(run, out, checkpoint="latest", images=64, dataset=photos.path, width=8)
    assert "learning the correction: 3 of 3" in capsys.readouterr().out

    old, new = (RunDirectory.open(path) for path in (run, out))
    assert old.config().network.coefficient_correction == 0
    expected = dataclasses.replace(old.config().network, coefficient_correction=8)
    assert new.config().network == expected
    old, new = (each.checkpoints.load("latest", print).tensors for each in (old, new))
    for part in ("generator", "ema"):  # in both: a step of the average would copy the former's
        added = new[part].keys() - old[part].keys()
        assert len(added) == 6
        assert all(name.startswith("eigenfaces.correction.") for name in added)
        assert new[part]["eigenfaces.correction.weight2"].abs().max() > 0
    # The generator of the copy has it, and images differ by it, a little.
    calibrated = tmp_path / "calibrated"
    calibrate_checkpoint(run, calibrated, checkpoint="latest", images=64)
    without, with_it = (load_sampler(path, CPU, print, "latest") for path in (calibrated, out))
    difference = abs(without(range(8)).astype(int) - with_it(range(8))).mean()
    assert 0 < difference < 20


def test_a_mirrored_eye_is_learned_from_the_photos(
    calibrate_checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(correction, "STEPS", 1)
    monkeypatch.setattr(correction, "BATCH_SIZE", 16)
    monkeypatch.setattr(mirrored_eye, "STEPS", 2)
    write_procedural_cats(tmp_path / "photos", 12, 64)
    photos, out = Dataset.open(tmp_path / "photos"), tmp_path / "mirrored"
    run = run_on(photos, tmp_path / "run", monkeypatch, settings=["network.resolution=64"])
    options = {"checkpoint": "latest", "images": 64, "width": 8, "mirrored_eye": True}
    with pytest.raises(CatganError, match="learns from photos: add --dataset"):
        calibrate_checkpoint(run, out, **options)
    calibrate_checkpoint(run, out, dataset=photos.path, **options)
    assert "learning axes of faces: 2 of 2" in capsys.readouterr().out
    assert RunDirectory.open(out).config().network.mirrored_eye
    tensors = RunDirectory.open(out).checkpoints.load("latest", print).tensors
    for part in ("generator", "ema"):
        assert tensors[part]["mirrored_eye.finder.weight4"].abs().max() > 0
    sampler = load_sampler(out, CPU, print, "latest")
    mirrored = sampler(range(4)).astype(int)
    sampler.generator.mirrored_eye = None
    changed = (sampler(range(4)).astype(int) != mirrored).any(3).any(0)
    assert changed[20:41, 29:55].any()
    assert not changed[:, :24].any()


def test_the_noise_of_the_first_map_is_multiplied_in_the_average_alone(
    calibrate_checkpoint, tmp_path
):
    run, out = make_run(tmp_path / "run", "projected-128"), tmp_path / "stronger"
    calibrate_checkpoint(run, out, checkpoint="latest", images=64, first_map=1.5)
    old, new = (RunDirectory.open(path).checkpoints.load("latest", print) for path in (run, out))
    for name in ("z_projection.weight", "gain.weight"):
        torch.testing.assert_close(new.tensors["ema"][name], 1.5 * old.tensors["ema"][name])
        assert torch.equal(new.tensors["generator"][name], old.tensors["generator"][name])
    for name in ("constant", "gain.bias", "blocks.0.gain.weight"):
        assert torch.equal(new.tensors["ema"][name], old.tensors["ema"][name])


def test_a_correction_needs_the_runs_own_photos_and_a_projected_generator(
    calibrate_checkpoint, photos, tmp_path, monkeypatch
):
    options = {"checkpoint": "latest", "images": 64, "dataset": photos.path}
    other = make_run(tmp_path / "other", "projected-128")
    with pytest.raises(CatganError, match="name that dataset"):
        calibrate_checkpoint(other, tmp_path / "out", **options)
    classic = run_on(photos, tmp_path / "classic", monkeypatch, "lsgan-64")
    with pytest.raises(CatganError, match="only generators of the projected family"):
        calibrate_checkpoint(classic, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
