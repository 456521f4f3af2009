from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import make_run

from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.errors import CatganError
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import load_sampler

TOOL = Path(__file__).parents[2] / "tools" / "calibrate_checkpoint.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("calibrate_checkpoint", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calibrate_checkpoint(tool):
    return tool.calibrate_checkpoint


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


def test_mean_of_samples_becomes_that_of_photos(tool, tmp_path, capsys):
    photos = tmp_path / "cats"
    write_procedural_cats(photos, 40, 32)
    dataset = Dataset.open(photos)
    pixels = dataset.images[dataset.indices("train")].astype(float)
    target = (np.concatenate([pixels, pixels[:, :, ::-1]]).mean(0) / 127.5 - 1).transpose(2, 0, 1)
    np.testing.assert_allclose(tool.mean_photo(photos), target, atol=1e-12)

    run = make_run(tmp_path / "run", "projected-128")
    out = tmp_path / "matched"
    tool.calibrate_checkpoint(run, out, checkpoint="latest", images=512, photos=photos)
    low_res = target.reshape(3, 8, 4, 8, 4).mean((2, 4))
    off = []
    for path in (run, out):
        images = load_sampler(path, CPU, print, "latest")(range(1_000_000, 1_000_512)) / 127.5 - 1
        mean = images.mean(0).transpose(2, 0, 1).reshape(3, 8, 4, 8, 4).mean((2, 4))
        off.append(127.5 * abs(mean - low_res).mean())
    assert off[0] > 10 > 1 > off[1]
    assert capsys.readouterr().out.count("gray levels off") == 3

    classic = make_run(tmp_path / "classic", "lsgan-64")
    with pytest.raises(CatganError, match="no eigenfaces: leave out --match-mean"):
        tool.calibrate_checkpoint(
            classic, tmp_path / "no", checkpoint="latest", images=64, photos=photos
        )
