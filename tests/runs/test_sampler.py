from __future__ import annotations

import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_runs import make_run

from catgan.config import load_recipe, override
from catgan.errors import CatganError
from catgan.generation.latents import latents
from catgan.networks.build import build_generator, pixel_range
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import BATCH_SIZE, Sampler, load_sampler, to_uint8
from catgan.training.loop import train

CPU = torch.device("cpu")


def sampler_of(recipe, *settings):
    config = override(load_recipe(recipe), list(settings)).network
    torch.manual_seed(0)
    reals = torch.rand(64, 3, config.resolution, config.resolution) * 2 - 1
    generator = build_generator(config, [reals])
    generator(torch.randn(16, config.latent_size))  # batch statistics that are not the start's
    return Sampler(generator, config, CPU)


@pytest.mark.parametrize("recipe", ["lsgan-64", "dcgan-128", "projected-128"])
def test_image_of_a_seed_does_not_depend_on_the_batch(recipe):
    sampler = sampler_of(recipe, "network.channels=32", "network.maximum_channels=256")
    batch = sampler(range(40))
    assert batch.shape == (40, sampler.config.resolution, sampler.config.resolution, 3)
    assert batch.dtype == np.uint8
    for seeds in ([7], [39, 7, 0], list(range(BATCH_SIZE + 1)), [5, 5]):
        assert np.array_equal(sampler(seeds), batch[seeds])


def test_image_is_the_generator_output_for_the_latents_of_the_seed():
    sampler = sampler_of("dcgan-128", "network.channels=4", "network.resolution=32")
    low, high = pixel_range(sampler.config)
    sampler.generator.eval()
    with torch.no_grad():
        pixels = sampler.generator(torch.from_numpy(latents([3], sampler.config.latent_size)))
    expected = (pixels[0].permute(1, 2, 0).numpy() - low) / (high - low) * 255
    assert np.abs(sampler([3])[0] - expected).max() <= 0.5 + 1e-3


def test_training_mode_is_kept_and_no_seeds_give_no_images():
    sampler = sampler_of("lsgan-64", "network.channels=4", "network.resolution=32")
    sampler.generator.train()
    assert sampler([]).shape == (0, 32, 32, 3)
    sampler([1])
    assert sampler.generator.training


def test_calibration_decorrelates_the_strongest_coefficients(monkeypatch):
    monkeypatch.setattr("catgan.networks.projected.eigenfaces.DECORRELATED_COMPONENTS", 8)
    small = ("network.channels=8", "network.maximum_channels=16", "network.latent_size=32")
    sampler = sampler_of("projected-128", *small)
    average = sampler.generator
    eigenfaces = average.eigenfaces
    torch.nn.init.orthogonal_(eigenfaces.components)
    eigenfaces.stds.fill_(0.1)
    with torch.no_grad():  # so that the first two coefficients correlate
        eigenfaces.components[1] = 0.8 * eigenfaces.components[0] + 0.6 * eigenfaces.components[1]
    coefficients = []
    eigenfaces.norm.register_forward_hook(lambda *call: coefficients.append(call[-1][:, :8, 0, 0]))
    average.train()
    for _ in range(2):  # only once for so many images
        assert sampler.calibrated(100, contextlib.nullcontext()) is sampler
    assert average.training
    found = torch.cat(coefficients).double()
    assert len(found) == 1024
    kept = (found - eigenfaces.coefficient_mean) @ eigenfaces.decorrelation.double().T
    torch.testing.assert_close(
        torch.cov(kept.T), torch.eye(8, dtype=torch.double), rtol=0, atol=0.01
    )
    assert not torch.allclose(eigenfaces.decorrelation, torch.eye(8), atol=0.01)
    sampler.calibrated(200, contextlib.nullcontext())
    assert len(torch.cat(coefficients)) == 2048


def test_calibration_changes_nothing_in_other_families():
    sampler = sampler_of("lsgan-64", "network.channels=4", "network.resolution=32")
    before = {name: tensor.clone() for name, tensor in sampler.generator.state_dict().items()}
    sampler.calibrated(100, contextlib.nullcontext())
    after = sampler.generator.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_pixels_are_rounded_and_clamped():
    pixels = torch.tensor([-1.5, -1.0, 0.0, 1.0, 2.0, -1 + 2 * 0.6 / 255]).view(1, 1, 1, 6)
    values = to_uint8(pixels.expand(1, 3, 1, 6), -1.0, 1.0)
    assert values[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 1]


@pytest.fixture(scope="module")
def run(tmp_path_factory, cats):
    from catgan.config import load_recipe, override

    settings = ["network.resolution=32", "network.channels=8", "network.maximum_channels=16"]
    settings += ["training.batch_size=8", "training.images=64", "output.score_samples=0"]
    config = override(load_recipe("dcgan-128"), settings)
    path = tmp_path_factory.mktemp("runs") / "run"
    run = RunDirectory.create(path, config, {"dataset": {}, "machine": {}})
    train(config, cats, run, _Silent(), device=CPU)
    return path


class _Silent:
    def __getattr__(self, name):
        return lambda *arguments: None


def test_samples_are_equal_in_another_process(run):
    ours = load_sampler(run, CPU, pytest.fail)(range(5))
    script = (
        "import sys, torch; from pathlib import Path; "
        "from catgan.runs.sampler import load_sampler; "
        "sys.stdout.buffer.write(load_sampler(Path(sys.argv[1]), torch.device('cpu'), print)"
        "(range(3, 5)).tobytes())"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", script, str(run)], capture_output=True, check=True
    ).stdout
    assert theirs == ours[3:].tobytes()


def test_sampler_uses_the_ema_weights(run):
    from safetensors.torch import load_file

    directory = RunDirectory.open(run)
    weights = load_file(directory.checkpoints.directory / "000000064" / "ema.safetensors")
    state = load_sampler(run, CPU, pytest.fail).generator.state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in weights)


def test_directory_without_a_run_is_a_one_line_error(tmp_path):
    with pytest.raises(CatganError, match="not a run"):
        load_sampler(tmp_path, CPU, print)


def test_invalid_arguments_are_one_line_errors():
    sampler = sampler_of("lsgan-64", "network.channels=8", "network.resolution=32")
    size = sampler.config.latent_size
    for seeds in ([-1], [True], [1.5], 7, "7", None):
        with pytest.raises(CatganError, match="seed"):
            sampler(seeds)
    for truncation in ("a", None, float("nan"), True, 2):
        with pytest.raises(CatganError, match="from 0 to 1"):
            sampler([7], truncation=truncation)
    for z in (np.full((1, size), np.nan), np.zeros((1, size + 1)), np.zeros(size), "z"):
        with pytest.raises(CatganError, match="latents"):
            sampler.synthesize(z)
    assert np.array_equal(sampler(np.array([7], np.uint8), truncation=np.float32(1)), sampler([7]))


def test_run_is_opened_by_str_or_path(tmp_path):
    run = make_run(tmp_path / "run", "dcgan-128", images=64)
    expected = load_sampler(run, CPU, print)([7])
    assert np.array_equal(load_sampler(str(run), CPU, print, 64)([7]), expected)
    with pytest.raises(CatganError, match="got 3: pass its directory"):
        load_sampler(3, CPU, print)
