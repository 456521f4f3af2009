"""What other frameworks make of the exports, each in an environment of its own (`make test-slow`).

They lie within the environment of the tests, one for each of requirements/jax.txt, tensorflow.txt
and triton.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import catgan
from PIL import Image

from catgan.exporters import export
from catgan.generation.generator import load_generator
from catgan.generation.latents import latents
from catgan.runs.sampler import load_sampler

HERE = Path(__file__).parent
SEEDS = 256
SHORT = [
    *("training.images=128", "output.log_images=64", "output.grid_seeds=4"),
    *("output.score_samples=0", "training.batch_size=8", "optimizer.generator_learning_rate=4e-3"),
]

DRAW = """
import sys, keras, numpy as np
file, latents, images = sys.argv[1:]
known = np.load(latents)
model = keras.models.load_model(file, safe_mode=True)
inputs = {"z": known["z"], "truncation": known["truncation"]}
np.save(images, model.predict(inputs, batch_size=16, verbose=0))
print(keras.backend.backend(), keras.__version__)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


def python_of(name):
    """The interpreter of an environment that `make test-slow` makes."""
    path = Path(sys.prefix) / name / "bin" / "python"
    if not path.exists():
        pytest.skip(f"no environment {name} (make test-slow makes it): NOT tested")
    return path


def run(python, *words, **settings):
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [python, *map(str, words)],
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout


def train(home, recipe):
    """A run of the whole recipe's networks, a few large steps long, on photos of nothing."""
    photos = home / "photos"
    photos.mkdir()
    for number in range(64):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).resize((160, 160), Image.Resampling.BICUBIC).save(
            photos / f"{number}.png"
        )
    words = [word for setting in SHORT for word in ("--set", setting)]
    catgan("train", photos, "--recipe", recipe, "--out", home / "run", *words)
    return home / "run"


@pytest.fixture(scope="module", params=["bundled", "dcgan-128", "lsgan-64"])
def exported(request, tmp_path_factory):
    """A .keras file, and a file of latents, truncations, and the images that have to be drawn."""
    home = tmp_path_factory.mktemp("frameworks")
    out, options = home / "cats.keras", {"format": "keras", "on_progress": lambda *_: None}
    if request.param == "bundled":
        reference = load_generator()
        z = reference.latents(range(SEEDS))
        export.export_artifact(None, out, **options)
    else:
        path = train(home, request.param)
        reference = load_sampler(path, torch.device("cpu"), print)
        z = latents(range(SEEDS), reference.config.latent_size)
        export.export_run(path, out, note=print, **options)
    truncation = np.where(np.arange(SEEDS) % 4 == 0, 0.5, 1.0).astype(np.float32)[:, None]
    images = np.concatenate(
        [
            reference.synthesize(row[None], float(psi))
            for row, psi in zip(z, truncation[:, 0], strict=True)
        ]
    )
    assert images.std(0).mean() > 1
    known = home / "known.npz"
    np.savez(known, z=z, truncation=truncation, images=images)
    return request.param, out, known


@pytest.mark.parametrize(
    ("backend", "environment"), [("torch", "."), ("jax", "jax"), ("tensorflow", "tensorflow")]
)
def test_every_backend_draws_the_same_images(exported, tmp_path, backend, environment):
    name, path, known = exported
    procedural = tmp_path / "drawn.npy"
    settings = {"KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    said = run(python_of(environment), "-c", DRAW, path, known, procedural, **settings)
    assert said.startswith(f"{backend} 3.")
    difference = abs(np.rint(255 * np.load(procedural)) - np.load(known)["images"].astype(int))
    print(f"{name} in {said.strip()}: largest {difference.max():.0f}, mean {difference.mean():.5f}")
    assert difference.max() <= 1
    assert difference.mean() <= 0.01


def test_all_that_needs_tensorflow():
    said = run(
        python_of("tensorflow"),
        *("-m", "pytest", "-q", "-rsP", "-p", "no:cacheprovider"),
        *(
            HERE / "test_litert_exporter.py",
            HERE / "test_guide.py",
            HERE.parent / "test_telemetry.py",
        ),
        PYTHONPATH=str(Path(export.__file__).parents[2]),
    )
    print(said)
    assert "NOT tested" not in said


CHECK_CONFIG = """
import importlib.util, sys
from google.protobuf import text_format
# By its file: the package around it imports clients of all kinds.
package = importlib.util.find_spec("tritonclient").submodule_search_locations[0]
sys.path.insert(0, package + "/grpc")
import model_config_pb2 as schema
config = text_format.Parse(open(sys.argv[1]).read(), schema.ModelConfig())
def shown(tensors):
    return [(t.name, schema.DataType.Name(t.data_type), list(t.dims)) for t in tensors]
print((config.name, config.platform, config.max_batch_size))
print(shown(config.input))
print(shown(config.output))
"""


def test_the_configuration_is_triton_s(tmp_path):
    export.export_artifact(None, tmp_path, format="triton", on_progress=lambda *_: None)
    said = run(python_of("triton"), "-c", CHECK_CONFIG, tmp_path / "cats" / "config.pbtxt")
    card = load_generator().card
    size, side = card.latent_size, card.resolution
    assert said.splitlines() == [
        "('cats', 'onnxruntime_onnx', 0)",
        f"[('z', 'TYPE_FP32', [-1, {size}]), ('truncation', 'TYPE_FP32', [1])]",
        f"[('images', 'TYPE_UINT8', [-1, {side}, {side}, 3])]",
    ]
