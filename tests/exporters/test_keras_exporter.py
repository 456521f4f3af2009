from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import catgan
from catgan.errors import CatganError
from catgan.exporters import export
from catgan.exporters.keras_model import keras_model
from catgan.exporters.keras_runtime import load_keras
from catgan.generation.foreign import read_card
from catgan.runs.sampler import load_sampler

if not find_spec("keras"):
    pytest.skip("Keras is not installed: its format is NOT tested", allow_module_level=True)
keras = load_keras()  # on torch; a plain import would ask for TensorFlow
FAMILIES = ("dcgan-128", "lsgan-64", "projected-128", "refined")


def export_to(run, out, **options):
    options = {"format": "keras", "note": print, "on_progress": lambda *_: None} | options
    return export.export_run(run, out, **options)


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    home = tmp_path_factory.mktemp("keras")
    return {each: export_to(runs[each], home / f"{each}.keras").path for each in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_draws_what_torch_draws(runs, exported, family):
    sampler = load_sampler(runs[family], torch.device("cpu"), print)
    model = keras.models.load_model(exported[family], safe_mode=True)
    z = sampler.latents(range(100, 120))  # others than those that the export compared
    for truncation in (1.0, 0.6):
        column = np.full((len(z), 1), truncation, np.float32)
        images = model.predict_on_batch({"z": z, "truncation": column})
        theirs = sampler.synthesize(z, truncation).astype(int)
        assert abs(np.rint(255 * images) - theirs).max() <= 1
    assert theirs.std(0).mean() > 0.2


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_are_built_in(exported, family):
    model = keras.models.load_model(exported[family], safe_mode=True)
    names = {type(layer).__name__ for layer in model.layers}
    assert all(getattr(keras.layers, name, None) for name in names)
    assert "Lambda" not in names


def test_truncation_pulls_toward_a_mean_that_is_not_zero(runs):
    sampler = load_sampler(runs["dcgan-128"], torch.device("cpu"), print)
    generator = sampler.generator.eval().to(memory_format=torch.contiguous_format)
    mean, z = torch.randn(1, 8), torch.randn(3, 8)
    model = keras_model(generator, sampler.config, mean)
    half = np.full((3, 1), 0.5, np.float32)
    images = model.predict_on_batch({"z": z.numpy(), "truncation": half})
    with torch.no_grad():
        expected = generator((z + mean) / 2).permute(0, 2, 3, 1).numpy()
    assert np.allclose(images, expected, atol=1e-5)


def test_the_card_is_inside(exported):
    card = read_card(exported["lsgan-64"])
    assert (card.precision, card.license) == ("float32", "CC BY-NC 4.0")
    assert card.parity["seeds"] == 8


def test_an_onnx_file_is_exported_again(runs, tmp_path):
    for family in ("lsgan-64", "projected-128"):
        out = tmp_path / family / "a.onnx"
        export.export_run(runs[family], out, note=print, on_progress=lambda *_: None)
        done = export.export_artifact(
            out, out.with_suffix(".keras"), format="keras", on_progress=lambda *_: None
        )
        assert done.parity.reference == "its .onnx file"
        assert read_card(done.path).name == catgan.load(out).card.name


def test_a_file_that_is_no_export_is_kept(runs, tmp_path):
    out = tmp_path / "mine.keras"
    out.write_bytes(b"mine")
    with pytest.raises(CatganError, match="no export's"):
        export_to(runs["dcgan-128"], out)
    assert out.read_bytes() == b"mine"
