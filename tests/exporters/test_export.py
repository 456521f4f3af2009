from __future__ import annotations

import dataclasses
import json
import shlex

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from small_runs import make_run

import catgan
from catgan.errors import CatganError
from catgan.exporters import export, graph
from catgan.exporters.directions import find_directions
from catgan.exporters.document import training_hours
from catgan.exporters.parity import Parity
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import load_sampler

CPU = torch.device("cpu")
FAMILIES = ("dcgan-128", "lsgan-64", "projected-128")


def export_to(run, home, **options):
    """Export `run` to the directory `home`."""
    out = home / "generator.onnx"
    options = {"precision": "float32"} | options
    return export.export_run(run, out, note=print, on_progress=lambda *_: None, **options)


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    home = tmp_path_factory.mktemp("exported")
    return {family: export_to(runs[family], home / family) for family in (*FAMILIES, "refined")}


@pytest.mark.parametrize("family", [*FAMILIES, "refined"])
def test_artifact_matches_torch(runs, exported, family):
    sampler, cats = load_sampler(runs[family], CPU, print), catgan.load(exported[family].path)
    seeds = range(100, 120)  # the export itself compared other seeds
    for truncation in (1.0, 0.6, 0.0):
        expected = sampler(seeds, truncation=truncation).astype(int)
        assert abs(cats.sample(seeds, truncation) - expected).max() <= 1
    assert cats.sample(seeds).std(0).mean() > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_truncation_reduces_variety_in_every_family(exported, family):
    cats = catgan.load(exported[family].path)
    mean = cats.sample([0], 0.0)
    assert np.array_equal(mean, cats.sample([1], 0.0))
    batches = [cats.sample(range(12), psi).astype(int) for psi in (0.1, 0.5, 1)]
    assert all(abs(image - mean).mean() > 0 for batch in batches for image in batch)
    variety = [batch.std(0).mean() for batch in batches]
    assert variety[0] < variety[1] < variety[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_are_bit_equal_to_single_images(exported, family):
    cats = catgan.load(exported[family].path)
    single = cats.sample(range(64))
    for size in (9, 64):
        feeds = {"z": cats.latents(range(size)), "truncation": np.ones(1, np.float32)}
        (batch,) = cats.session.run(None, feeds)
        assert np.array_equal(batch, single[:size])


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_images_are_bit_equal_for_any_number_of_threads(runs, tmp_path, precision):
    done = export_to(runs["projected-128"], tmp_path, precision=precision)
    cats, batches = catgan.load(done.path), []
    for threads in (1, 3):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        cats.session = onnxruntime.InferenceSession(
            cats.model, options, providers=["CPUExecutionProvider"]
        )
        batches.append(np.concatenate([cats.sample([seed]) for seed in range(6)]))
    assert np.array_equal(*batches)
    assert np.array_equal(cats.sample(range(6)), batches[0])  # one thread per image


@pytest.mark.parametrize("family", FAMILIES)
def test_model_is_standard_onnx_without_traces_of_the_machine(exported, family):
    model = onnx.load(exported[family].path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    operations = [node.op_type for node in model.graph.node]
    assert not {"ScatterND", "Loop", "If"} & set(operations)
    # Folded into the convolutions; that of the eigenface coefficients follows none.
    assert operations.count("BatchNormalization") == (family == "projected-128")
    assert b"site-packages" not in exported[family].path.read_bytes()
    assert b".py" not in exported[family].path.read_bytes()


def test_float16_and_int8_files_are_smaller(runs, exported, tmp_path):
    run = runs["projected-128"]
    cats = catgan.load(exported["projected-128"].path).sample(range(8)).astype(int)
    half = export_to(run, tmp_path / "half", precision="float16")
    assert half.bytes < 0.75 * exported["projected-128"].bytes
    assert abs(catgan.load(half.path).sample(range(8)) - cats).mean() < 0.1
    quarter = export_to(run, tmp_path / "quarter", precision="int8")
    assert quarter.bytes < 0.95 * half.bytes  # graph and card are most of so small a file
    assert catgan.load(quarter.path).card.precision == "int8"


def test_weights_and_readme_are_written_beside_the_artifact(runs, exported):
    done = exported["dcgan-128"]
    names = sorted(path.name for path in done.path.parent.iterdir())
    assert names == ["README.md", "generator.onnx", "generator.safetensors"]
    state = load_sampler(runs["dcgan-128"], CPU, print).generator.state_dict()
    weights = load_file(done.files["weights"])
    assert all(torch.equal(weights[name], state[name]) for name in state)
    with safe_open(done.files["weights"], "pt") as file:
        assert json.loads(file.metadata()["catgan"])["data"]["license"] == "CC BY-NC 4.0"
    text = done.files["card"].read_text()
    front = text.split("---")[1]
    assert "license: cc-by-nc-4.0" in front
    assert "library_name: catgan" in front
    assert "Someone &lt;who@draws>" in text
    assert "Not evaluated." in text


def test_card_has_the_facts_of_the_run(runs, exported):
    card = catgan.load(exported["lsgan-64"].path).card
    document = card.document
    assert card.name == "procedural-cats by lsgan-64"
    assert (card.images, card.data_images, card.license) == (64, 60, "CC BY-NC 4.0")
    assert document["config"]["network"]["latent_size"] == 8
    assert document["parity"] == dataclasses.asdict(exported["lsgan-64"].parity)
    assert document["truncation"]["mean"] == [0.0] * 8
    assert document["catgan"] == catgan.__version__
    assert len(card.directions) == 8
    assert sum(direction.share for direction in card.directions) == pytest.approx(1, abs=1e-3)


def test_card_has_the_scores_of_this_checkpoint(runs, tmp_path):
    from catgan.evaluation.results.read import read_evaluation  # to check the example below

    run = runs["lsgan-64"]
    directory = run / "evaluation" / "lite2" / "000000064"
    directory.mkdir(parents=True)
    (directory / "evaluation.json").write_text(json.dumps(EVALUATION))
    stale = json.loads(json.dumps(EVALUATION))
    stale["checkpoint"]["images"] = 32
    (directory.parent / "evaluation.json").write_text(json.dumps(stale))
    (run / "evaluation" / "evaluation.json").write_text("{")
    assert read_evaluation(directory / "evaluation.json").checkpoint.images == 64
    (score,) = catgan.load(export_to(run, tmp_path).path).card.scores
    assert score.values["FD-lite2"] == 155.0
    assert score.fingerprint["extractor"]["name"] == "lite2"
    assert "FD-lite2 155" in (tmp_path / "README.md").read_text()


EVALUATION = {
    "format": "catgan-evaluation", "format_version": 4, "generated": "run",
    "checkpoint": {"images": 64, "pointers": ["latest"]}, "reals": "cats",
    "fingerprint": {
        "extractor": {
            "name": "lite2", "version": 1, "weights_sha256": "0", "feature_size": 1280,
            "input_size": 224, "resize": "clean-2", "precision": "float32",
        },
        "generated_count": 100, "reals_count": 60, "dataset": None, "split": "train",
        "reals_sha256": "1",
    },
    "scores": {
        "frechet": 155.0,
        "kernel": {"mean": 1.0, "standard_deviation": 0.1, "subsets": 10, "subset_size": 50},
        "precision": 0.5, "recall": 0.25, "density": 0.5, "coverage": 0.5,
    },
    "floor": {
        "frechet": 12.0,
        "kernel": {"mean": 0.0, "standard_deviation": 0.1, "subsets": 10, "subset_size": 50},
        "precision": 0.7, "recall": 0.7, "density": 1.0, "coverage": 1.0,
    },
    "floor_count": 30, "curve": [], "extrapolated": 150.0, "repeats": 0, "copies": 0,
    "memorization": None, "path_length": None, "best": [], "worst": [], "closest": [],
    "notes": [], "catgan": "0.1.0",
}  # fmt: skip


def test_an_export_that_differs_from_the_run_is_not_written(runs, tmp_path, monkeypatch):
    def distorted(model):
        tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
        values = onnx.numpy_helper.to_array(tensor) * 1.5
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setitem(graph.VARIANTS, "float32", distorted)
    with pytest.raises(CatganError, match="not exported") as error:
        export_to(runs["dcgan-128"], tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_directions_are_those_of_the_largest_change(runs, exported):
    """If the first layer is linear, they are the singular vectors of its weights."""
    generator = load_sampler(runs["dcgan-128"], CPU, print).generator
    with torch.no_grad():
        generator.layers[0].weight[5] *= 20  # component 5 of z now dominates
    first = find_directions(generator, 8, {0: "larger"})[0]
    assert first.name == "larger"
    assert first.share > 0.9
    assert np.abs(first.vector).argmax() == 5
    assert abs(first.vector[5]) > 0.99


@pytest.mark.parametrize("family", FAMILIES)
def test_first_maps_are_affine_in_the_style_and_determine_the_image(runs, family):
    generator = load_sampler(runs[family], CPU, print).generator.eval()
    style = generator.map(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)))
    maps = generator.first_maps(style)
    assert maps.shape[0] == 3
    assert maps.shape[2:] == (4, 4)
    middle = generator.first_maps((style[:1] + style[1:2]) / 2)
    assert torch.allclose(middle, (maps[:1] + maps[1:2]) / 2, atol=1e-5)  # affine: no ReLU yet
    images = generator.synthesize(style)
    generator.first_maps = lambda _: maps.flip(0)
    assert not torch.allclose(generator.synthesize(style), images)


def test_directions_of_a_projected_generator_are_its_eigenfaces(runs):
    """They are ordered by standard deviation, whatever their order in z."""
    generator = load_sampler(runs["projected-128"], CPU, print).generator
    eigenfaces = generator.eigenfaces
    torch.nn.init.orthogonal_(eigenfaces.components)
    eigenfaces.stds.copy_(torch.tensor([1.0, 2, 3, 9, 4, 5, 6]))
    found = find_directions(generator, 7, {})
    assert [np.abs(direction.vector).argmax() for direction in found] == [3, 6, 5, 4, 2, 1, 0]
    assert found[0].share == pytest.approx(81 / 172, rel=0.1)


def test_name_for_an_unknown_direction_is_rejected(runs, tmp_path):
    with pytest.raises(CatganError, match="0 to 7"):
        export_to(runs["dcgan-128"], tmp_path, direction_names={8: "larger"})
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    """Torch and the runtime would generate the same blank, so parity does not detect it."""
    run = make_run(tmp_path / "run", "dcgan-128", spoil=True)
    with pytest.raises(CatganError, match=r"not finite.*--checkpoint"):
        export_to(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_other_than_exports_are_kept(runs, tmp_path):
    run = runs["dcgan-128"]
    foreign = tmp_path / "generator.safetensors"
    for data in (save({"mine": torch.ones(1)}), b"mine", b""):
        foreign.write_bytes(data)
        with pytest.raises(CatganError, match=r"is not an export.*--out"):
            export_to(run, tmp_path)
        assert foreign.read_bytes() == data
    foreign.unlink()
    mine = "# Mine\n\nTrained like this:\n\nlibrary_name: catgan\n"  # not in front matter
    (tmp_path / "README.md").write_text(mine)
    with pytest.raises(CatganError, match="is not a catgan card"):
        export_to(run, tmp_path)
    assert (tmp_path / "README.md").read_text() == mine


def test_directory_in_the_way_is_rejected_before_anything_is_written(runs, tmp_path):
    (tmp_path / "generator.onnx").mkdir()
    with pytest.raises(CatganError, match=r"^[^\n]*onnx: cannot be written \(Is a directory\)"):
        export_to(runs["dcgan-128"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["generator.onnx"]


def test_export_replaces_itself_but_not_the_card_of_another(runs, tmp_path):
    run = runs["dcgan-128"]
    export_to(run, tmp_path)
    export_to(run, tmp_path, name="Again")
    assert "# Again" in (tmp_path / "README.md").read_text()

    def other():
        return export.export_run(run, tmp_path / "b.onnx", note=print, on_progress=lambda *_: None)

    with pytest.raises(CatganError, match=r"is the card of generator\.onnx.*b/b\.onnx"):
        other()
    (tmp_path / "generator.onnx").unlink()
    other()
    assert "catgan sample b.onnx" in (tmp_path / "README.md").read_text()


def test_readme_names_the_file_that_it_describes(exported):
    from catgan.exporters.readme import described_file, readme

    card = catgan.load(exported["dcgan-128"].path).card
    for name in ("a.onnx", "my cats.onnx", "it's.onnx", 'say "cat".onnx', "Ä: b.onnx"):
        text = readme(card, name)
        assert described_file(text) == name
        (line,) = [each for each in text.splitlines() if each.startswith("catgan sample ")]
        assert shlex.split(line)[2] == name
    assert described_file(text.replace("library_name: catgan", "library_name: other")) is None
    assert described_file("") is None
    assert described_file('---\nlibrary_name: catgan\ncatgan_file: "../x.onnx"\n---\n') is None


def test_invalid_arguments_are_rejected_in_one_line_before_the_work(runs, tmp_path):
    run = runs["dcgan-128"]
    for out, expected in ((tmp_path / "a.pt", ".onnx"), (tmp_path / "mine" / "a.onnx", "README")):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "README.md").write_text("# My project\n")
        with pytest.raises(CatganError, match=expected) as error:
            export.export_run(run, out, note=print, on_progress=print)
        assert "\n" not in str(error.value)
    assert (tmp_path / "mine" / "README.md").read_text() == "# My project\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(CatganError, match="cannot be written"):
        export.export_run(run, tmp_path / "file" / "a.onnx", note=print, on_progress=pytest.fail)
    with pytest.raises(CatganError, match="8-bit"):
        export_to(run, tmp_path / "int8", precision="int8")
    with pytest.raises(CatganError, match="precision"):
        export.export_run(
            run, tmp_path / "a.onnx", precision="bfloat16", note=print, on_progress=print
        )
    with pytest.raises(CatganError, match="not a run"):
        export.export_run(tmp_path, tmp_path / "a.onnx", note=print, on_progress=print)


def test_parity_limits():
    from catgan.exporters.parity import measure_parity, require_parity

    black = np.zeros((2, 4, 4, 3), np.uint8)
    gray = black.copy()
    gray[0, 0, 0, 0] = 3
    assert measure_parity(black, gray) == Parity(2, 3, 3 / 96)
    assert measure_parity(gray, black) == Parity(2, 3, 3 / 96)
    require_parity(Parity(2, 3, 3 / 96), "float16")
    with pytest.raises(CatganError, match="float32"):
        require_parity(Parity(2, 3, 3 / 96), "float32")
    with pytest.raises(CatganError, match="float16"):
        require_parity(Parity(2, 3, 2.5), "int8")


def test_training_hours_are_those_of_the_steps_up_to_the_checkpoint(tmp_path):
    run = RunDirectory.open(make_run(tmp_path / "run", "dcgan-128", images=2048))
    for wrong in (None, [], {}, {"images_per_second": "fast"}, {"images_per_second": 0}):
        run.append_row({"images": 64, "machine": wrong})
    for images, rate in ((1024, 2.0), (2048, 4.0), (3072, 1.0)):
        run.append_row({"images": images, "machine": {"images_per_second": rate}})
        run.append_row({"images": images, "score": 9.0})
    assert training_hours(run, 2048) == pytest.approx((512 + 256) / 3600)
    assert training_hours(run, 100) == 0
