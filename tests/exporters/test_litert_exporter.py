"""`--format litert`. In `make test` this is skipped: `make test-slow` runs it beside TensorFlow."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from catgan.errors import CatganError
from catgan.exporters import export, litert_exporter
from catgan.generation.foreign import read_card
from catgan.runs.sampler import load_sampler

if not (find_spec("tensorflow") and find_spec("ai_edge_litert")):
    pytest.skip("no TensorFlow and LiteRT here: the format is NOT tested", allow_module_level=True)
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

FAMILIES = ("dcgan-128", "lsgan-64", "refined")


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    home = tmp_path_factory.mktemp("litert")
    return {
        family: export.export_run(
            runs[family],
            home / f"{family}.tflite",
            format="litert",
            note=print,
            on_progress=lambda *_: None,
        )
        for family in FAMILIES
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_draws_what_torch_draws(runs, exported, family):
    sampler = load_sampler(runs[family], torch.device("cpu"), print)
    draw = Interpreter(str(exported[family].path)).get_signature_runner()
    z = sampler.latents(range(100, 120))  # others than those that the export compared
    for truncation in (1.0, 0.6):
        column = np.full((1, 1), truncation, np.float32)
        rows = [draw(z=row[None], truncation=column)["images"] for row in z]
        theirs = sampler.synthesize(z, truncation).astype(int)
        difference = abs(np.rint(255 * np.concatenate(rows)) - theirs)
        assert difference.max() <= 4
        assert difference.mean() <= 0.1
    assert theirs.std(0).mean() > 0.2


def test_the_card_is_inside_and_what_the_converter_wrote_is_kept(exported):
    path = exported["lsgan-64"].path
    card = read_card(path)
    assert (card.precision, card.license) == ("float16", "CC BY-NC 4.0")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    assert b"min_runtime_version" in [each.name for each in model.metadata]


def test_every_buffer_lies_where_kernels_expect_it(exported):
    data = exported["dcgan-128"].path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    buffers = [model.Buffers(number) for number in range(model.BuffersLength())]
    whole = np.frombuffer(data, np.uint8).ctypes.data
    starts = [b.DataAsNumpy().ctypes.data - whole for b in buffers if b.DataLength()]
    assert starts
    assert not any(start % 16 for start in starts)


def test_a_file_that_is_no_export_is_kept(runs, tmp_path):
    out = tmp_path / "mine.tflite"
    out.write_bytes(b"mine")
    with pytest.raises(CatganError, match="no export's"):
        export.export_run(
            runs["lsgan-64"], out, format="litert", note=print, on_progress=lambda *_: None
        )
    assert out.read_bytes() == b"mine"


def test_a_converter_that_fails_is_one_line(tmp_path):
    foreign = tmp_path / "a.keras"
    foreign.write_bytes(b"no zip")
    with pytest.raises(CatganError, match="cannot convert") as error:
        litert_exporter._convert(foreign, tmp_path / "a.tflite", "float16")
    assert str(error.value).isprintable()


def test_the_generator_of_the_package_over_256_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "SEEDS", 256)
    done = export.export_artifact(
        None, tmp_path / "a.tflite", format="litert", on_progress=lambda *_: None
    )
    print(done.parity.line())
    assert done.parity.largest <= 4
    assert done.parity.mean <= 0.1
