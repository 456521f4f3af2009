from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from small_runs import make_run

from catgan.errors import CatganError
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
