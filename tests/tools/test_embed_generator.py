from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_runs import FACTS, make_run

import catgan
from catgan.data.dataset import cache
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.errors import CatganError
from catgan.generation.artifact import CHECKSUM
from catgan.runs import data
from catgan.runs.artifact_weights import WEIGHTS_CHECKSUM, weights_sha256
from catgan.runs.directory import RunDirectory
from catgan.training import start
from catgan.training.starting_point import DISCRIMINATOR, load_starting_point
from catgan.training.transfer import FREEZE_IMAGES

TOOL = Path(__file__).parents[2] / "tools" / "embed_generator.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("embed_generator", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def embed(tool):
    return functools.partial(
        tool.embed, checkpoint="latest", name=None, direction_names=[], license=None, credit=None
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run", "projected-128")


@pytest.fixture
def few_seeds(monkeypatch):
    monkeypatch.setattr("catgan.exporters.export.SEEDS", 8)


def test_embedded_generator_samples_and_provides_training_data(
    embed, run, tmp_path, monkeypatch, few_seeds
):
    directory = tmp_path / "pretrained"
    directory.mkdir()
    path = embed(run, directory, name="House cats", direction_names=["0=lighter"])
    assert sorted(each.name for each in directory.iterdir()) == [
        "README.md",
        "discriminator.safetensors",
        "generator.onnx",
    ]
    monkeypatch.setattr("catgan.generation.generator.embedded_generator", lambda: path)
    monkeypatch.setattr(data, "embedded_generator", lambda: path)
    cats = catgan.load()
    assert cats.card.name == "House cats"
    assert cats.card.precision == "float16"
    assert cats.card.directions[0].name == "lighter"

    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBEDDED_COUNT", 30)
    settings = ["network.resolution=32", "output.score_samples=0"]
    plan = start.new_run(None, "lsgan-64", settings, tmp_path / "run", "cpu", lambda *_: None)
    assert plan.dataset.name == "generated-cats"
    assert (plan.dataset.images[:3] == cats.sample(range(3))).all()
    assert "Someone" in plan.dataset.credit
    facts = plan.run.facts()["dataset"]
    assert facts["name"] == "generated-cats"
    assert facts["credit"].startswith("Generated")
    # Generated images smaller than the training resolution are not used.
    larger = [*settings, "network.resolution=64"]
    plan = start.new_run(None, "lsgan-64", larger, tmp_path / "larger", "cpu", lambda *_: None)
    assert plan.dataset.name == "procedural-cats"


def test_run_on_procedural_cats_resumes_with_them(run, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBEDDED_COUNT", 30)
    monkeypatch.setattr(data, "embedded_generator", lambda: None)
    settings = ["network.resolution=32", "output.score_samples=0"]
    start.new_run(None, "lsgan-64", settings, tmp_path / "run", "cpu", lambda *_: None)
    monkeypatch.setattr(data, "embedded_generator", lambda: tmp_path / "new.onnx")
    plan = start.resume_run(tmp_path / "run", None, [], "cpu", lambda *_: None)
    assert plan.dataset.name == "procedural-cats"


def test_generators_too_large_or_without_a_license_are_rejected(
    tool, embed, run, tmp_path, monkeypatch, few_seeds
):
    monkeypatch.setattr(tool, "MAX_BYTES", 1_000)
    with pytest.raises(CatganError, match="but the package allows"):
        embed(run, tmp_path)
    monkeypatch.setattr(tool, "MAX_BYTES", 10**7)
    monkeypatch.setitem(FACTS["dataset"], "license", "unknown")
    other = make_run(tmp_path / "other", "dcgan-128")
    with pytest.raises(CatganError, match="license"):
        embed(other, tmp_path)
    assert not (tmp_path / "generator.onnx").exists()
    path = embed(other, tmp_path, license="CC0-1.0")
    assert catgan.load(path).card.license == "CC0-1.0"


# -- the discriminator beside it -------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(tool, run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("embedded")
    options = {"name": None, "direction_names": [], "license": None, "credit": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catgan.exporters.export.SEEDS", 8)
        tool.embed(run, directory, checkpoint="latest", **options)
    return directory


@pytest.fixture
def package(embedded, tmp_path, monkeypatch):
    """Return a directory with an embedded generator and discriminator, as in the package."""
    directory = shutil.copytree(embedded, tmp_path / "pretrained")
    generator = directory / "generator.onnx"
    monkeypatch.setattr("catgan.generation.generator.embedded_generator", lambda: generator)
    return directory


def rewrite(package, change=lambda state: state, *, another_generator=False, keep_checksum=False):
    """Change the weights of the discriminator, and their checksum unless `keep_checksum`."""
    path = package / DISCRIMINATOR
    with safetensors.safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["catgan"])
    state = change(safetensors.torch.load_file(path))
    if not keep_checksum:
        metadata[WEIGHTS_CHECKSUM] = weights_sha256(state)
    if another_generator:
        metadata[CHECKSUM] = "0" * 64
    path.write_bytes(safetensors.torch.save(state, {"catgan": json.dumps(metadata)}))


def one_weight(change):
    def changed(state):
        name = min(state)
        return state | {name: change(state[name])}

    return changed


def test_run_from_the_bundled_generator_starts_with_its_discriminator(
    package, run, tmp_path, monkeypatch
):
    monkeypatch.setattr("catgan.training.transfer.SAMPLES", 8)
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    trained = RunDirectory.open(run).checkpoints.load("latest", print).tensors["discriminator"]
    starting = load_starting_point("bundled", print)
    assert starting.discriminator.keys() == trained.keys()
    for name, tensor in starting.discriminator.items():
        assert torch.equal(tensor, trained[name].half().float()), name

    def start_run(name, *settings, resolution=32):
        write_procedural_cats(tmp_path / f"for-{name}", 12, resolution)
        settings = ["output.score_samples=0", f"network.resolution={resolution}", *settings]
        return start.new_run(
            tmp_path / f"for-{name}", None, settings, tmp_path / name, "cpu", lambda *_: None,
            "bundled",
        )  # fmt: skip

    plan = start_run("kept")
    assert plan.config.optimizer.generator_freeze_images == FREEZE_IMAGES
    assert any("keeps the discriminator of the source" in note for note in plan.notes)
    own = "optimizer.generator_freeze_images=64"
    plan = start_run("chosen", own)
    assert plan.config.optimizer.generator_freeze_images == 64
    plan = start_run("doubled", resolution=64)
    assert plan.config.optimizer.generator_freeze_images > FREEZE_IMAGES
    assert not any("keeps the discriminator of the source" in note for note in plan.notes)


def test_eye_heads_are_left_out(embed, tmp_path, monkeypatch, few_seeds):
    run = make_run(tmp_path / "run", "projected-128", settings=["network.eye_heads=true"])
    trained = RunDirectory.open(run).checkpoints.load("latest", print).tensors["discriminator"]
    (tmp_path / "pretrained").mkdir()
    generator = embed(run, tmp_path / "pretrained")
    monkeypatch.setattr("catgan.generation.generator.embedded_generator", lambda: generator)
    starting = load_starting_point("bundled", print)
    eye_heads = {name for name in trained if name.startswith("eye_heads.")}
    assert eye_heads
    assert starting.discriminator.keys() == trained.keys() - eye_heads
    for has_them in (True, False):
        network = dataclasses.replace(starting.network, eye_heads=has_them)
        assert starting.discriminator_for(network) is starting.discriminator


def test_package_without_a_discriminator_provides_the_generator_alone(package):
    (package / DISCRIMINATOR).unlink()
    assert load_starting_point("bundled", print).discriminator is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(
            lambda package: rewrite(package, one_weight(lambda t: t + 1), keep_checksum=True),
            "is damaged", id="wrong checksum",
        ),
        pytest.param(
            lambda package: rewrite(package, another_generator=True),
            "does not belong to the export",
            id="of another generator",
        ),
        pytest.param(
            lambda package: rewrite(package, one_weight(lambda t: t * torch.nan)), "not finite",
            id="NaN",
        ),
        pytest.param(
            lambda package: rewrite(package, one_weight(lambda t: t[None])), "do not fit",
            id="another shape",
        ),
        pytest.param(
            lambda package: (package / DISCRIMINATOR).write_bytes(
                (package / DISCRIMINATOR).read_bytes()[:-1]
            ),
            "cannot be read", id="cut off",
        ),
    ],
)  # fmt: skip
def test_damaged_bundled_discriminator_is_rejected_in_one_line(package, damage, reason):
    damage(package)
    with pytest.raises(CatganError, match=reason) as error:
        load_starting_point("bundled", print)
    assert "reinstall catgan" in str(error.value)
    assert str(error.value).isprintable()


def test_discriminators_too_large_or_without_a_float16_form_are_rejected(
    tool, embed, tmp_path, monkeypatch, few_seeds
):
    monkeypatch.setattr(tool, "MAX_DISCRIMINATOR_BYTES", 1_000)
    source = RunDirectory.open(make_run(tmp_path / "run", "projected-128"))
    directory = tmp_path / "pretrained"
    with pytest.raises(CatganError, match="but the package allows"):
        embed(source.path, directory)
    loaded = source.checkpoints.load("latest", print)
    weights = loaded.tensors["discriminator"]
    weights[min(weights)] = weights[min(weights)] * 0 + 1e6
    source.checkpoints.save(128, loaded.config, loaded.window, loaded.tensors, keep=1)
    with pytest.raises(CatganError, match="outside the range of float16"):
        embed(source.path, directory)
    assert not directory.exists()
