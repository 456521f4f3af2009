"""Starting points: weights are read back exactly, with their license and credit."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from command_line import catgan as command
from PIL import Image
from processors import PROBED, seen_as
from small_runs import make_run
from tiny_runs import TINY_PROJECTED

import catgan
from catgan.config import load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.errors import CatganError
from catgan.evaluation.metrics.path_length import path_length
from catgan.exporters import directions, export
from catgan.exporters.document import data_facts
from catgan.generation import artifact as artifact
from catgan.generation.card import MAX_ANCESTORS, describe_lineage, read_lineage
from catgan.networks.build import build_generator
from catgan.runs import artifact_weights
from catgan.runs import checkpoint as checkpoint_module
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import Sampler
from catgan.training import starting_point
from catgan.training.initialize import initial_networks
from catgan.training.loop import train
from catgan.training.start import new_run, resume_run
from catgan.training.starting_point import load_starting_point

sys.path.insert(0, str(Path(__file__).parent))
from test_loop import Silent, assert_same_run, run_child

CPU = torch.device("cpu")
FAMILIES = ("dcgan-128", "lsgan-64", "projected-128")
REFINED = [
    "network.resolution=128",
    "network.refinements=2",
    "network.coefficient_correction=16",
    "network.mirrored_eye=true",
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """By recipe, a run and its float32 export."""
    home = tmp_path_factory.mktemp("sources")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "SEEDS", 4)
        patch.setattr(directions, "SAMPLES", 64)
        for recipe in FAMILIES:
            run = make_run(home / recipe, recipe)
            done = export.export_run(
                run, home / f"{recipe}-file" / "cats.onnx", precision="float32",
                note=print, on_progress=lambda *_: None,
            )  # fmt: skip
            found[recipe] = (run, done.path)
        found["refined"] = (make_run(home / "refined", "projected-128", settings=REFINED), None)
    return found


def generated(starting, seeds=range(20, 32)):
    generator = build_generator(starting.network)
    generator.load_state_dict(starting.generator)
    return Sampler(generator, starting.network, CPU)(seeds).astype(int)


@pytest.mark.parametrize("recipe", FAMILIES)
def test_weights_from_a_run_or_a_file_generate_the_same_images(sources, recipe):
    run, file = sources[recipe]
    expected = catgan.load(file).sample(range(20, 32)).astype(int)
    from_run, from_file = (load_starting_point(str(path), print) for path in (run, file))
    for starting in (from_run, from_file):
        assert abs(generated(starting) - expected).max() <= 1
    assert from_run.discriminator is not None
    assert from_file.discriminator is None
    assert from_file.network == from_run.network


@pytest.mark.parametrize(
    ("which", "precision"),
    [("projected-128", "float32"), ("projected-128", "float16"), ("refined", "float16")],
)
def test_a_projected_generator_is_read_back_from_its_graph_alone(
    sources, tmp_path, which, precision
):
    run, _ = sources[which]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "SEEDS", 4)
        patch.setattr(directions, "SAMPLES", 64)
        file = export.export_run(
            run, tmp_path / "cats.onnx", precision=precision, note=print,
            on_progress=lambda *_: None,
        ).path  # fmt: skip
    file.with_suffix(".safetensors").unlink()
    starting = load_starting_point(str(file), print)
    expected = catgan.load(file).sample(range(20, 32)).astype(int)
    assert abs(generated(starting) - expected).max() <= 1
    assert expected.std(0).mean() > 1
    # In training, normalization uses batch statistics: it must be unchanged, too.
    generator = build_generator(starting.network)
    generator.load_state_dict(starting.generator)
    z = torch.randn(256, starting.network.latent_size, generator=torch.Generator().manual_seed(1))
    norm = (generator.refinements[-1].block if which == "refined" else generator.blocks[0]).norm
    found = {}
    norm.register_forward_hook(
        lambda module, inputs, output: found.setdefault(module.training, output)
    )
    with torch.no_grad():
        generator.eval()(z)
        generator.train()(z)
    assert (found[True] - found[False]).abs().mean() < 0.1 * found[False].abs().mean()


def test_a_graph_that_lacks_weights_is_not_filled_up_with_random_ones(sources, tmp_path):
    """As in a graph with 8-bit weights."""
    run, _ = sources["projected-128"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "SEEDS", 4)
        patch.setattr(export, "require_parity", lambda *_: None)
        patch.setattr(directions, "SAMPLES", 64)
        file = export.export_run(
            run, tmp_path / "cats.onnx", precision="int8", note=print,
            on_progress=lambda *_: None,
        ).path  # fmt: skip
    file.with_suffix(".safetensors").unlink()
    with pytest.raises(CatganError, match="export the run again as float16"):
        load_starting_point(str(file), print)


@pytest.fixture(scope="module")
def bundled():
    return load_starting_point("bundled", print)


def test_bundled_weights_generate_the_same_images_within_one_gray_level(bundled):
    expected = catgan.load().sample(range(20, 32)).astype(int)
    assert abs(generated(bundled) - expected).max() <= 1
    assert bundled.lineage[0].license == "CC BY-NC 4.0"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nowhere", "expected bundled, an exported .onnx file, or the directory of a run"),
        ("", "expected bundled"),
        ("nowhere.onnx", "cannot be read"),
        ("run@best2", "no checkpoint"),
    ],
)
def test_an_invalid_source_is_one_line(sources, tmp_path, monkeypatch, text, reason):
    monkeypatch.chdir(sources["lsgan-64"][0].parent)
    with pytest.raises(CatganError, match=reason) as error:
        load_starting_point(text.replace("run@", "lsgan-64@"), print)
    assert "\n" not in str(error.value)


def test_a_classic_file_without_its_weights_says_what_is_missing(sources, tmp_path):
    file = tmp_path / "cats.onnx"
    file.write_bytes(sources["lsgan-64"][1].read_bytes())
    with pytest.raises(CatganError, match=r"needs the \.safetensors"):
        load_starting_point(str(file), print)


def test_weights_of_another_export_are_rejected(sources, tmp_path):
    file = tmp_path / "cats.onnx"
    file.write_bytes(sources["lsgan-64"][1].read_bytes())
    other = sources["dcgan-128"][1].with_suffix(".safetensors")
    file.with_suffix(".safetensors").write_bytes(other.read_bytes())
    with pytest.raises(CatganError, match="does not belong to the export beside it"):
        load_starting_point(str(file), print)


# -- what a stranger's file may hold ---------------------------------------------------------------


def rewritten(sources, tmp_path, edit=None, config=None):
    """Return a copy of the exported projected generator, edited, with valid checksums.

    `edit` is given the ONNX graph, `config` replaces settings of the card's networks.
    """
    document = catgan.load(sources["projected-128"][1]).card.document
    model = onnx.load(sources["projected-128"][1])
    del model.metadata_props[:]
    if edit:
        edit(model.graph)
    card = json.loads(json.dumps({k: v for k, v in document.items() if k != artifact.CHECKSUM}))
    card["config"]["network"].update(config or {})
    if config:
        card["directions"] = []
    file = tmp_path / "cats.onnx"
    file.write_bytes(artifact.seal(model.SerializeToString(), card))
    return file


def weight_of(graph, name):
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def replace_weight(graph, name, values):
    weight_of(graph, name).CopyFrom(onnx.numpy_helper.from_array(np.asarray(values), name))


def merged_layer(graph):
    """Return the names of the first layer's weight and bias."""
    return next(
        node.input[1:]
        for node in graph.node
        if node.op_type == "Gemm" and list(weight_of(graph, node.input[2]).dims) == [32 * 16]
    )


def folded_norm(graph):
    return next(
        node.input[1:]
        for node in graph.node
        if node.op_type == "Conv"
        and len(node.input) == 3
        and weight_of(graph, node.input[1]).dims[1] == 1
    )


TO_RGB = "generator.to_rgb.weight"


def spoil(number):
    def edit(graph):
        values = onnx.numpy_helper.to_array(weight_of(graph, TO_RGB)).copy()
        values.flat[0] = number
        replace_weight(graph, TO_RGB, values)

    return edit


def dims(*sizes):
    def edit(graph):
        tensor = weight_of(graph, TO_RGB)
        del tensor.dims[:]
        tensor.dims.extend(sizes)

    return edit


def of_type(kind):
    def edit(graph):
        values = onnx.numpy_helper.to_array(weight_of(graph, TO_RGB))
        replace_weight(graph, TO_RGB, values.astype(kind))

    return edit


def name_twice(graph):
    graph.initializer.add().CopyFrom(weight_of(graph, TO_RGB))


def one_row_for_all(graph):
    name = merged_layer(graph)[0]
    replace_weight(graph, name, onnx.numpy_helper.to_array(weight_of(graph, name))[:1])


def one_bias_for_all(graph):
    name = folded_norm(graph)[1]
    replace_weight(graph, name, onnx.numpy_helper.to_array(weight_of(graph, name))[:1])


def read_another_file(graph):
    tensor = weight_of(graph, TO_RGB)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")


def take_inputs_away(graph):
    for node in graph.node:
        if node.op_type in ("Gemm", "Conv", "MatMul"):
            del node.input[1:]


def no_more_weights(graph):
    del graph.initializer[:]


UNREADABLE = "a generator cannot be read from its graph"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        pytest.param(spoil(np.nan), "not finite", id="NaN"),
        pytest.param(spoil(-np.inf), "not finite", id="infinite"),
        pytest.param(dims(2**62, 2**62), UNREADABLE, id="dimensions that no memory holds"),
        pytest.param(dims(-1, -1), UNREADABLE, id="negative dimensions"),
        pytest.param(dims(*[1] * 100), UNREADABLE, id="a hundred dimensions"),
        pytest.param(of_type(np.float64), UNREADABLE, id="float64"),
        pytest.param(of_type(np.int64), UNREADABLE, id="whole numbers"),
        pytest.param(name_twice, UNREADABLE, id="one name twice"),
        pytest.param(one_row_for_all, UNREADABLE, id="one row for a whole layer"),
        pytest.param(one_bias_for_all, UNREADABLE, id="one bias for all channels"),
        pytest.param(read_another_file, "would read another file", id="another file"),
        pytest.param(take_inputs_away, UNREADABLE, id="layers without weights"),
        pytest.param(no_more_weights, UNREADABLE, id="nothing"),
    ],
)
def test_weights_of_a_hostile_graph_are_one_line(sources, tmp_path, monkeypatch, edit, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(2**16))
    with pytest.raises(CatganError, match=reason) as error:
        load_starting_point(str(rewritten(sources, tmp_path, edit)), print)
    assert str(error.value).isprintable()


def test_a_cyclic_graph_terminates(sources, tmp_path):
    """ONNX Runtime rejects it, but its weights can be read."""

    def bite_its_tail(graph):
        layers = [node for node in graph.node if node.op_type == "LeakyRelu"]
        for layer in layers:
            layer.input[0] = layer.output[0]
        assert layers

    file = rewritten(sources, tmp_path, bite_its_tail)
    assert load_starting_point(str(file), print).network.latent_size == 8


ENORMOUS = {"resolution": 256, "channels": 4096, "maximum_channels": 8192, "latent_size": 4096}


@pytest.fixture
def built(monkeypatch):
    """Record the devices on which generators are built."""
    devices = []

    def build(network, *rest):
        devices.append(torch.empty(0).device.type)
        assert devices[-1] == "meta" or network.channels <= 8, "gigabytes"
        return build_generator(network, *rest)

    monkeypatch.setattr(artifact_weights, "build_generator", build)
    return devices


@pytest.mark.parametrize("kind", ["graph", "weights", "run"])
def test_oversized_networks_are_not_built(sources, tmp_path, built, kind):
    """A file of some hundred kilobytes asks for 14 GB."""
    if kind == "run":
        path = make_run(tmp_path / "run", "projected-128")
        (manifest,) = path.glob("checkpoints/*/manifest.json")
        about = json.loads(manifest.read_text())
        about["config"]["network"].update(ENORMOUS)
        about["checksum"] = checkpoint_module._manifest_checksum(about)
        manifest.write_text(json.dumps(about))
    else:
        path = rewritten(sources, tmp_path, config=ENORMOUS)
    if kind == "weights":
        beside(path, sources["projected-128"][1].with_suffix(".safetensors"))
    with pytest.raises(CatganError, match="do not fit" if kind != "graph" else UNREADABLE):
        load_starting_point(str(path), print)
    assert set(built) == {"meta"}


def beside(file, weights, change=lambda state: state):
    """Write changed `weights` of another export next to `file`, as if they were its own."""
    state = change(safetensors.torch.load_file(weights))
    about = {artifact.CHECKSUM: catgan.load(file).card.document[artifact.CHECKSUM]}
    data = safetensors.torch.save(state, metadata={"catgan": json.dumps(about)})
    file.with_suffix(".safetensors").write_bytes(data)


def all_but(name, change):
    return lambda state: state | {name: change(state[name])}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(all_but("constant", lambda t: t * np.nan), "not finite", id="NaN"),
        pytest.param(all_but("constant", lambda t: t.double() + 1e300), "not finite", id="float64"),
        pytest.param(
            all_but("blocks.0.norm.running_var", lambda t: -1 - t), "not finite",
            id="a negative variance",
        ),
        pytest.param(all_but("constant", lambda t: t.to(torch.int8)), "do not fit", id="int8"),
        pytest.param(all_but("constant", lambda t: t > 0), "do not fit", id="truth values"),
        pytest.param(
            all_but("constant", lambda t: t.to(torch.complex64)), "do not fit", id="complex"
        ),
        pytest.param(all_but("constant", lambda t: t[:, :1]), "do not fit", id="another shape"),
        pytest.param(lambda s: s | {"\x1b[31m": torch.ones(1)}, "do not fit", id="one too many"),
        pytest.param(lambda s: {"constant": s["constant"]}, "do not fit", id="most are missing"),
    ],
)  # fmt: skip
def test_hostile_weights_beside_a_file_are_one_line(sources, tmp_path, change, reason):
    file = rewritten(sources, tmp_path)
    beside(file, sources["projected-128"][1].with_suffix(".safetensors"), change)
    with pytest.raises(CatganError, match=reason) as error:
        load_starting_point(str(file), print)
    assert str(error.value).isprintable()


def test_halved_weights_beside_a_file_are_taken_as_what_a_generator_holds(sources, tmp_path):
    file = rewritten(sources, tmp_path)
    halve = lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()}  # noqa: E731
    beside(file, sources["projected-128"][1].with_suffix(".safetensors"), halve)
    starting = load_starting_point(str(file), print)
    expected = build_generator(starting.network).state_dict()
    assert {k: v.dtype for k, v in starting.generator.items()} == {
        k: v.dtype for k, v in expected.items()
    }


@pytest.mark.parametrize("part", ["ema", "discriminator"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [(lambda t: t[:1], "(do|does) not fit"), (lambda t: t * np.nan, "not finite")],
)
def test_a_run_with_other_weights_than_its_networks_is_one_line(tmp_path, part, change, reason):
    """A misfit of the discriminator was once found only after the new run was created."""
    run = RunDirectory.open(make_run(tmp_path / "run", "lsgan-64"))
    loaded = run.checkpoints.load("latest", print)
    # Safetensors gives the tensors in no fixed order, and one convolution has a single output.
    convolutions = (name for name, t in loaded.tensors[part].items() if t.dim() == 4 and len(t) > 1)
    name = min(convolutions)
    loaded.tensors[part][name] = change(loaded.tensors[part][name])
    run.checkpoints.save(128, loaded.config, loaded.window, loaded.tensors, keep=1)
    with pytest.raises(CatganError, match=reason):
        load_starting_point(str(run.path), print)


def test_names_in_a_run_cannot_write_to_the_terminal(tmp_path):
    run = make_run(tmp_path / "run", "lsgan-64")
    record = json.loads((run / "run.json").read_text())
    record["dataset"] |= {"name": "cats\x1b[2J", "license": "MIT\r\n", "credit": "A\u202e"}
    ancestor = {
        "name": "x\x1b]0;y\x07",
        "recipe": "\x1b",
        "images": 7,
        "data": "\x9b",
        "license": "\0",
    }
    record["lineage"] = [ancestor | {"credit": "\b"}]
    (run / "run.json").write_text(json.dumps(record))
    lineage = load_starting_point(str(run), print).lineage
    assert describe_lineage(lineage).isprintable()
    assert all(str(value).isprintable() for each in lineage for value in vars(each).values())
    assert (lineage[0].data, lineage[1].images) == ("cats", 7)


def test_a_lineage_that_is_too_long_is_rejected(tmp_path):
    """Otherwise the new run could neither be resumed nor exported."""
    run = make_run(tmp_path / "run", "lsgan-64")
    record = json.loads((run / "run.json").read_text())
    ancestor = dict.fromkeys(("name", "recipe", "data", "license", "credit"), "x")
    for count, fits in ((MAX_ANCESTORS - 1, True), (MAX_ANCESTORS, False)):
        record["lineage"] = [ancestor | {"images": 1}] * count
        (run / "run.json").write_text(json.dumps(record))
        if fits:
            lineage = load_starting_point(str(run), print).lineage
            assert len(read_lineage([vars(each) for each in lineage])) == MAX_ANCESTORS
        else:
            with pytest.raises(CatganError, match="50 starts in a row"):
                load_starting_point(str(run), print)


# -- a run that starts from them -------------------------------------------------------------------

SETTINGS = [
    "training.precision=float32",
    "training.batch_size=4",
    "training.images=32",
    "output.log_images=8",
    "output.grid_images=16",
    "output.checkpoint_images=16",
    "output.checkpoints_kept=9",
    "output.grid_seeds=4",
    "output.score_samples=0",
    "optimizer.generator_freeze_images=8",
    "optimizer.generator_ramp_images=8",
]


def compute_little(patch):
    patch.setattr("catgan.training.initialize.STATISTICS_IMAGES", 8)
    patch.setattr("catgan.training.transfer.SAMPLES", 8)
    patch.setattr("catgan.runs.sampler.CALIBRATION_SEEDS", range(100, 164))


@pytest.fixture
def few(monkeypatch, tmp_path):
    compute_little(monkeypatch)
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))


def begin(data, out, start_from, settings=SETTINGS):
    return new_run(data.path, None, settings, out, "cpu", lambda *_: None, start_from)


def follow(plan, display=None, **options):
    return train(
        plan.config, plan.dataset, plan.run, display or Silent(), device=CPU,
        precision=plan.precision, starting=plan.starting, resume=plan.resume, **options,
    )  # fmt: skip


def checkpoint(run, name):
    return run.checkpoints.load(str(int(name)), print).tensors


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cats, cats_64):
    """Two projected runs: one of six steps at 64 px, one of eight steps at 32 px."""
    with seen_as(PROBED) as precision:  # the runs that start from it are float32
        config = override(load_recipe("projected-128"), [*TINY_PROJECTED, precision])
    shape = ["resolution=32", "channels=8", "maximum_channels=16", "latent_size=8"]
    smaller = [*SETTINGS, *(f"network.{each}" for each in shape)]
    facts = {"name": "photos", "license": "CC BY 4.0", "credit": "Ann"}
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        compute_little(patch)
        for name, each, data, described in (
            ("source", config, cats_64, facts),
            ("small", override(load_recipe("projected-128"), smaller), cats, {}),
        ):
            run = RunDirectory.create(home / name, each, {"dataset": described, "machine": {}})
            train(each, data, run, Silent(), device=CPU)
    return home


@pytest.fixture
def source(trained, tmp_path):
    """A copy of a projected run of six steps at 64 px."""
    return RunDirectory.open(shutil.copytree(trained / "source", tmp_path / "source"))


def test_a_run_from_a_run_freezes_the_generator_first_and_records_its_source(
    few, source, cats_64, tmp_path
):
    write_procedural_cats(tmp_path / "others", 12, 64)
    plan = begin(Dataset.open(tmp_path / "others"), tmp_path / "run", str(source.path))
    assert plan.config.recipe == "transfer"
    assert plan.config.network == source.config().network
    assert any("starts from source" in note for note in plan.notes)
    assert follow(plan).finished
    learned = source.checkpoints.load("latest", print).tensors
    first = checkpoint(plan.run, "0")
    for name, tensor in learned["ema"].items():
        adapted = name in ("eigenfaces.mean", "eigenfaces.stds", "eigenfaces.log_strength_std")
        measured = name in ("eigenfaces.coefficient_mean", "eigenfaces.decorrelation")
        assert measured or torch.equal(tensor, first["ema"][name]) != adapted, name
    for name, tensor in learned["discriminator"].items():
        assert torch.equal(tensor, first["discriminator"][name]), name
    (ancestor,) = plan.run.facts()["lineage"]
    assert (ancestor["license"], ancestor["images"]) == ("CC BY 4.0", 24)


def test_a_frozen_generator_does_not_change(few, source, cats_64, tmp_path):
    settings = [*SETTINGS, "output.checkpoint_images=8"]
    plan = begin(cats_64, tmp_path / "run", f"{source.path}@latest", settings)
    follow(plan)
    begun, frozen, thawed = (checkpoint(plan.run, name) for name in ("0", "8", "16"))
    weights = [n for n in begun["generator"] if n.endswith(("weight", "bias", "constant"))]
    assert all(torch.equal(begun["generator"][n], frozen["generator"][n]) for n in weights)
    assert any(not torch.equal(begun["generator"][n], thawed["generator"][n]) for n in weights)
    heads = [n for n in begun["discriminator"] if n.startswith("heads")]
    moved = [not torch.equal(begun["discriminator"][n], frozen["discriminator"][n]) for n in heads]
    assert any(moved)


def test_killed_and_resumed_transfer_is_bit_exact(few, source, cats_64, tmp_path):
    settings = [*SETTINGS, "augment.views=3", "augment.zoom=0.2"]
    straight = begin(cats_64, tmp_path / "straight", str(source.path), settings)
    follow(straight)
    broken = begin(cats_64, tmp_path / "broken", str(source.path), settings)
    child = run_child(broken.run, cats_64, at=20, signal_name="SIGKILL", starting=str(source.path))
    assert child.returncode == -9, child.stderr
    follow(resume_run(broken.run.path, None, [], "cpu", lambda *_: None))
    assert_same_run(straight.run, broken.run)

    early = begin(cats_64, tmp_path / "early", str(source.path), settings)  # before a checkpoint
    resumed = resume_run(early.run.path, None, [], "cpu", lambda *_: None)
    assert resumed.starting is not None
    follow(resumed)
    assert_same_run(straight.run, early.run)


def test_a_changed_source_is_rejected(few, source, cats_64, tmp_path):
    plan = begin(cats_64, tmp_path / "run", str(source.path))
    record = json.loads((plan.run.path / "run.json").read_text())
    record["from"]["sha256"] = "0" * 64
    (plan.run.path / "run.json").write_text(json.dumps(record))
    plan.run.lock.release()
    with pytest.raises(CatganError, match="has other weights now"):
        resume_run(plan.run.path, None, [], "cpu", lambda *_: None)


@pytest.mark.parametrize(
    ("recipe", "settings", "reason"),
    [
        ("lsgan-64", [], "is of the projected family: leave out --recipe"),
        (None, ["network.channels=4"], "keeps its networks: leave out --set network"),
    ],
)
def test_networks_that_differ_from_the_source_are_rejected(
    few, source, cats_64, tmp_path, recipe, settings, reason
):
    with pytest.raises(CatganError, match=reason):
        new_run(
            cats_64.path, recipe, [*SETTINGS, *settings], tmp_path / "run", "cpu",
            lambda *_: None, str(source.path),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


# -- twice the resolution --------------------------------------------------------------------------

DOUBLED = [*SETTINGS, "network.resolution=64"]


@pytest.fixture
def small(trained, tmp_path):
    """A copy of a projected run of eight steps at 32 px."""
    return RunDirectory.open(shutil.copytree(trained / "small", tmp_path / "small"))


def test_a_run_of_twice_the_resolution_starts_with_upsampled_images(few, small, cats_64, tmp_path):
    plan = begin(cats_64, tmp_path / "run", str(small.path), DOUBLED)
    old, new = small.config().network, plan.config.network
    assert (old.resolution, new.resolution, new.refinements) == (32, 64, 1)
    assert new == dataclasses.replace(old, resolution=64, refinements=1)
    assert any("from 32 to 64 px" in note for note in plan.notes)
    display = Silent()
    assert follow(plan, display).finished
    assert display.rows
    first, last = checkpoint(plan.run, "0"), checkpoint(plan.run, "32")

    # The source's weights, with what adapting to the photos changed of the eigenfaces.
    learned = small.checkpoints.load("latest", print).tensors
    kept = {name: first["ema"][name] for name in learned["ema"]}
    for name, tensor in learned["ema"].items():
        assert name.startswith("eigenfaces.") or torch.equal(tensor, kept[name]), name
    source, doubled = build_generator(old), build_generator(new)
    source.load_state_dict(kept)
    doubled.load_state_dict(first["ema"])
    z = torch.randn(4, new.latent_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = source.eval()(z).double().atanh(), doubled.eval()(z).double().atanh()
    expected = torch.nn.functional.interpolate(before, scale_factor=2, mode="bicubic")
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=0)

    # All new layers learn, although inner convolutions may still be frozen.
    fresh = [n for n in first["generator"] if n.startswith("refinements.") and "noise.m" not in n]
    assert all(not torch.equal(first["generator"][n], last["generator"][n]) for n in fresh)
    heads = {name: x.shape for name, x in first["discriminator"].items()}
    assert heads != {name: x.shape for name, x in learned["discriminator"].items()}


def test_feature_resolution_may_differ_from_the_source(few, source, cats_64, tmp_path):
    settings = [*SETTINGS, "network.feature_resolution=256"]
    plan = begin(cats_64, tmp_path / "run", str(source.path), settings)
    was = source.config().network
    assert was.feature_resolution == 128
    assert plan.config.network == dataclasses.replace(was, feature_resolution=256)
    note = "has network.feature_resolution=128: --set network.feature_resolution=128 keeps it"
    assert any(each.startswith("starts a new disc") and each.endswith(note) for each in plan.notes)
    assert follow(plan).finished
    learned = source.checkpoints.load("latest", print).tensors
    first = checkpoint(plan.run, "0")
    weights = [n for n in learned["ema"] if not n.startswith("eigenfaces.")]
    assert all(torch.equal(learned["ema"][name], first["ema"][name]) for name in weights)
    heads = {name: tensor.shape for name, tensor in first["discriminator"].items()}
    assert heads != {name: tensor.shape for name, tensor in learned["discriminator"].items()}


def test_eye_heads_are_added_to_a_discriminator_and_left_out(few, source, cats_64, tmp_path):
    """Whichever of the two runs has them, all other weights begin with those of the source."""
    settings = [*SETTINGS, "network.feature_resolution=128"]  # as the source
    plan = begin(
        cats_64, tmp_path / "with", str(source.path), [*settings, "network.eye_heads=true"]
    )
    assert plan.config.network.eye_heads
    assert "keeps the discriminator of the source, with new eye heads" in plan.notes
    assert follow(plan).finished
    learned = source.checkpoints.load("latest", print).tensors["discriminator"]
    first, last = (checkpoint(plan.run, at)["discriminator"] for at in ("0", "32"))
    added = first.keys() - learned.keys()
    assert added == {name for name in first if name.startswith("eye_heads.")}
    assert added
    assert all(torch.equal(learned[name], first[name]) for name in learned)
    assert all(not torch.equal(first[name], last[name]) for name in added)

    with_them = str(plan.run.path)
    plan = begin(cats_64, tmp_path / "kept", with_them, [*settings, "network.eye_heads=true"])
    assert "keeps the discriminator of the source" in plan.notes

    plan = begin(
        cats_64, tmp_path / "256", with_them, [*SETTINGS, "network.feature_resolution=256"]
    )
    was = "network.feature_resolution=128"
    note = f"starts a new discriminator, as the source's has {was}: --set {was} keeps it"
    assert note in plan.notes

    plan = begin(cats_64, tmp_path / "without", with_them, settings)
    assert not plan.config.network.eye_heads
    note = "without its eye heads: --set network.eye_heads=true keeps them"
    assert f"keeps the discriminator of the source {note}" in plan.notes
    assert follow(plan).finished
    without = checkpoint(plan.run, "0")["discriminator"]
    assert without.keys() == learned.keys()
    assert all(torch.equal(last[name], without[name]) for name in without)


def test_inner_convolutions_thaw_after_new_layers(few, small, cats_64, tmp_path):
    settings = [*DOUBLED, "optimizer.generator_thaw_images=999"]
    plan = begin(cats_64, tmp_path / "run", str(small.path), settings)
    follow(plan)
    first, last = (checkpoint(plan.run, name)["generator"] for name in ("0", "32"))
    moved = {n for n in first if n.endswith("weight") and not torch.equal(first[n], last[n])}
    assert {"to_rgb.weight", "refinements.0.to_rgb.weight"} < moved
    assert {"refinements.0.block.convolution.weight", "blocks.0.norm.weight"} < moved
    assert not any(n.startswith("blocks.") and "convolution" in n for n in moved)


def test_killed_and_resumed_doubled_run_is_bit_exact(few, small, cats_64, tmp_path):
    straight = begin(cats_64, tmp_path / "straight", str(small.path), DOUBLED)
    follow(straight)
    broken = begin(cats_64, tmp_path / "broken", str(small.path), DOUBLED)
    child = run_child(broken.run, cats_64, at=20, signal_name="SIGKILL", starting=str(small.path))
    assert child.returncode == -9, child.stderr
    follow(resume_run(broken.run.path, None, [], "cpu", lambda *_: None))
    assert_same_run(straight.run, broken.run)

    early = begin(cats_64, tmp_path / "early", str(small.path), DOUBLED)
    follow(resume_run(early.run.path, None, [], "cpu", lambda *_: None))
    assert_same_run(straight.run, early.run)


def test_a_doubled_run_can_be_exported_sampled_and_doubled_again(
    few, small, cats_64, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "SEEDS", 4)
    monkeypatch.setattr(directions, "SAMPLES", 64)
    plan = begin(cats_64, tmp_path / "run", str(small.path), DOUBLED)
    follow(plan)
    done = export.export_run(  # its new RGB layer is still zero
        plan.run.path, tmp_path / "out" / "cats.onnx", checkpoint="0", precision="float32",
        note=print, on_progress=lambda *_: None,
    )  # fmt: skip
    assert done.parity.largest <= 1
    assert "64 x 64 px" in " ".join(command("info", done.path).split())
    images = catgan.load(done.path).sample(range(20, 32)).astype(int)
    assert images.shape == (12, 64, 64, 3)
    done.files["weights"].unlink()
    starting = load_starting_point(str(done.path), print)
    assert abs(generated(starting) - images).max() <= 1

    write_procedural_cats(tmp_path / "large", 12, 128)
    settings = [*SETTINGS, "network.resolution=128", "network.feature_resolution=256"]
    again = begin(Dataset.open(tmp_path / "large"), tmp_path / "again", str(done.path), settings)
    network = again.config.network
    assert (network.resolution, network.refinements, network.feature_resolution) == (128, 2, 256)
    generator = build_generator(network)
    generator.load_state_dict(generator.state_dict() | starting.generator)
    large = Sampler(generator, network, CPU)(range(20, 32)).astype(int)
    small_again = large.reshape(12, 64, 2, 64, 2, 3).mean((2, 4))
    assert abs(small_again - images).mean() < 1


def test_a_run_leaves_out_what_was_added_to_its_source_after_training(sources, cats_64, tmp_path):
    """It was learned for the source's weights and photos; everything else is kept."""
    run, _ = sources["refined"]
    starting = load_starting_point(str(run), print)
    assert starting.network.coefficient_correction == 16
    stripped = starting.without_layers_added_after_training()
    left_out = starting.generator.keys() - stripped.generator.keys()
    corrections = {name for name in left_out if ".correction." in name}
    assert len(corrections) == 6
    assert len(left_out) == 6 + 10
    assert all(name.startswith("mirrored_eye.") for name in left_out - corrections)
    assert abs(generated(stripped) - generated(starting)).max() > 2
    assert load_starting_point("bundled", print).without_layers_added_after_training().generator

    write_procedural_cats(tmp_path / "large", 12, 128)
    settings = [*SETTINGS, "network.resolution=128"]
    plan = begin(Dataset.open(tmp_path / "large"), tmp_path / "run", str(run), settings)
    assert plan.config.network.coefficient_correction == 0
    assert not plan.config.network.mirrored_eye
    resumed = resume_run(plan.run.path, None, [], "cpu", lambda *_: None)  # before a checkpoint
    assert resumed.starting.sha256 == plan.starting.sha256
    for setting in ("coefficient_correction=8", "mirrored_eye=true"):
        with pytest.raises(CatganError, match=r"added after training, by tools.*leave it out"):
            new_run(
                cats_64.path, "projected-128", ["network.resolution=64", f"network.{setting}"],
                tmp_path / "never", "cpu", lambda *_: None,
            )  # fmt: skip
    assert not (tmp_path / "never").exists()


def test_the_doubled_bundled_generator_upsamples_its_images(bundled):
    """Within one gray level on average of Pillow, which has another bicubic kernel."""
    network = dataclasses.replace(bundled.network, resolution=256, refinements=1)
    generator = build_generator(network)
    generator.load_state_dict(generator.state_dict() | bundled.generator)
    large = Sampler(generator, network, CPU)(range(4)).astype(int)
    for image, expected in zip(large, catgan.load().sample(range(4)), strict=True):
        picture = Image.fromarray(expected).resize((256, 256), Image.Resampling.BICUBIC)
        assert abs(image - np.asarray(picture).astype(int)).mean() < 1.5


@pytest.mark.parametrize(
    ("which", "settings", "reason"),
    [
        ("projected-128", ["network.resolution=128"], "resolution with --set .*resolution=64$"),
        ("projected-128", ["network.feature_resolution=256"], "feature_resolution = 256 is more"),
        ("projected-128", ["network.resolution=64", "network.channels=4"], "keeps its networks"),
        ("projected-128", ["network.resolution=64", "network.refinements=1"], "keeps its networks"),
        (
            "refined",
            ["network.channels=3"],
            "network.feature_resolution and network.eye_heads, or double",
        ),
        (
            "refined",
            ["network.resolution=64"],
            "refinements = 2 for network.resolution = 64",
        ),
        ("refined", ["network.resolution=512"], "expected one of"),
        (
            "lsgan-64",
            ["network.resolution=64"],
            r"keeps its networks: leave out --set network\.\*$",
        ),
    ],
)
def test_other_network_changes_are_rejected(sources, tmp_path, which, settings, reason):
    recipe = None if which != "lsgan-64" else "lsgan-64"
    with pytest.raises(CatganError, match=reason) as error:
        new_run(
            tmp_path, recipe, settings, tmp_path / "run", "cpu", lambda *_: None,
            str(sources[which][0]),
        )  # fmt: skip
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_lineage_and_licenses_are_in_report_card_and_info(
    few, source, cats_64, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "SEEDS", 4)
    monkeypatch.setattr(directions, "SAMPLES", 64)
    first = begin(cats_64, tmp_path / "first", str(source.path))
    follow(first)
    done = export.export_run(
        first.run.path,
        tmp_path / "out" / "first.onnx",
        precision="float32",
        note=print,
        on_progress=lambda *_: None,
    )
    assert "of the weights it was started from: CC BY 4.0" in done.license
    said = " ".join(command("info", done.path).split())
    assert "began as source (24 images seen of photos, CC BY 4.0)" in said
    second = begin(cats_64, tmp_path / "second", str(done.path))
    names = [each["name"] for each in second.run.facts()["lineage"]]
    assert names == [catgan.load(done.path).card.name, "source"]
    assert "which began as source" in second.notes[0]
    follow(second)
    assert "which began as source" in second.run.report.read_text()
    terms = f"{cats_64.license}; of the weights it was started from: CC BY 4.0"
    assert done.license == terms
    assert data_facts(second.run, license=None, credit=None)["license"] == terms  # each once
    page = done.files["card"].read_text()
    assert "- began as: source (24 images seen of photos, CC BY 4.0)" in page
    assert f"- license: {terms}" in page


def test_a_run_from_a_file_is_scored_before_the_first_and_after_the_last_step(
    few, sources, tmp_path, monkeypatch
):
    """It is exported, too, with the license of its source wherever licenses are stated."""
    monkeypatch.setattr(export, "SEEDS", 4)
    monkeypatch.setattr(directions, "SAMPLES", 64)
    few_paths = functools.partial(path_length, paths=20)
    monkeypatch.setattr("catgan.evaluation.evaluate.path_length", few_paths)
    monkeypatch.chdir(tmp_path)
    write_procedural_cats(tmp_path / "cats", 30, 32)
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    said = command("train", "cats", "--from", sources["projected-128"][1], "-o", "run", *words)
    assert "CC BY-NC 4.0" in said
    assert "finished after 32 images" in said
    for checkpoint, images in (("0", 0), ("latest", 32)):
        measured = command(
            "evaluate", "run", "--extractor", "raw-64", "--samples", 24, "--checkpoint", checkpoint
        )
        assert f"run at {images} images" in measured
    command("export", "run", "-o", "out/cats.onnx")
    told = " ".join(command("info", "out/cats.onnx").split())
    source = "procedural-cats by projected-128 (64 images seen of procedural-cats, CC BY"
    assert f"began as {source}" in told
    assert "of the weights it was started from: CC BY-NC 4.0" in told
    assert "transfer, 32 images seen" in told
    assert "FD-raw-64" in told  # the evaluation of this checkpoint
    command("sample", "out/cats.onnx", "--seeds", "0-3", "-o", "cats.png")


def test_more_photos_move_eigenface_statistics_further_but_not_components():
    config = override(load_recipe("projected-128"), ["network.resolution=64", "network.channels=8",
                                                     "network.maximum_channels=16",
                                                     "network.latent_size=8"])  # fmt: skip
    bright = lambda first, count: torch.full((count, 3, 64, 64), 0.8)  # noqa: E731

    def dark(first, count):
        draws = torch.Generator().manual_seed(first)
        return 0.1 * torch.randn(count, 3, 64, 64, generator=draws) - 0.5

    generator, _ = initial_networks(config, CPU, torch.float32, dark, 40, lambda *_: None)
    start = starting_point.StartingPoint(config.network, generator.state_dict(), None, [])
    moved = []
    for count in (5, 50, 500):
        new, _ = initial_networks(config, CPU, torch.float32, bright, count, lambda *_: None, start)
        assert torch.equal(new.eigenfaces.components, generator.eigenfaces.components)
        moved.append(float((new.eigenfaces.mean - generator.eigenfaces.mean).abs().mean()))
    assert 0 < moved[0] < moved[1] < moved[2]
    target = float(np.arctanh(0.8) - generator.eigenfaces.mean.mean())
    assert moved[2] == pytest.approx(target * 500 / 600, rel=0.2)


def test_the_transfer_recipe_needs_a_source(tmp_path):
    said = command("train", "--recipe", "transfer", "-o", tmp_path / "run", code=2)
    assert "add --from bundled" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lineage", [7, [7], [{"name": "a"}], [{"images": "many"}]])
def test_a_lineage_edited_by_hand_is_one_line(sources, tmp_path, lineage):
    run = make_run(tmp_path / "run", "lsgan-64")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"lineage": lineage}))
    assert "its lineage cannot be read" in command("export", run, code=2)
    with pytest.raises(CatganError, match="its lineage cannot be read"):
        load_starting_point(str(run), print)
