from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from small_runs import make_run

from catgan.errors import CatganError
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import load_sampler

TOOL = Path(__file__).parents[2] / "tools" / "settle_checkpoint.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def settle_checkpoint():
    spec = importlib.util.spec_from_file_location("settle_checkpoint", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.settle_checkpoint


def test_a_copy_has_the_weights_and_closer_measurements(settle_checkpoint, tmp_path):
    run = make_run(tmp_path / "run", "projected-128")
    out = tmp_path / "settled"
    settle_checkpoint(run, out, checkpoint="latest", images=512)
    old, new = (RunDirectory.open(path).checkpoints.load("latest", print) for path in (run, out))
    assert old.images == new.images
    measured = {"eigenfaces.level", "eigenfaces.decorrelation"}
    for part, tensors in old.tensors.items():
        for name, tensor in tensors.items():
            same = torch.equal(tensor, new.tensors[part][name])
            assert same != (part == "ema" and name in measured), (part, name)

    # Over the very images that it was settled on, amounts are uncorrelated.
    sampler = load_sampler(out, CPU, print, "latest")
    eigenfaces, amounts = sampler.generator.eigenfaces, []
    eigenfaces.norm.register_forward_hook(lambda *call: amounts.append(call[-1][:, :, 0, 0]))
    sampler(range(1_000_000, 1_000_512))
    drawn = (torch.cat(amounts) - eigenfaces.level) @ eigenfaces.decorrelation.T
    torch.testing.assert_close(torch.cov(drawn.T), torch.eye(len(drawn.T)), rtol=0, atol=0.01)

    with pytest.raises(CatganError, match="exists: name a new directory"):
        settle_checkpoint(run, out, checkpoint="latest", images=512)
