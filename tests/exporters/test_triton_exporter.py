from __future__ import annotations

import pytest

import catgan
from catgan.errors import CatganError
from catgan.exporters import export


def export_to(run, out):
    return export.export_run(run, out, format="triton", note=print, on_progress=lambda *_: None)


def test_the_repository_holds_the_artifact_and_its_configuration(runs, tmp_path):
    export_to(runs["dcgan-128"], tmp_path / "repository")
    home = tmp_path / "repository" / "cats"
    assert sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()) == [
        "1/model.onnx",
        "config.pbtxt",
    ]
    session = catgan.load(home / "1" / "model.onnx").session
    text = (home / "config.pbtxt").read_text()
    assert "max_batch_size: 0" in text
    for each in (*session.get_inputs(), *session.get_outputs()):
        dims = ", ".join(str(d) if isinstance(d, int) else "-1" for d in each.shape)
        assert f'name: "{each.name}"' in text
        assert f"dims: [ {dims} ]" in text


def test_a_repository_takes_an_onnx_file_as_it_is(runs, tmp_path):
    out = tmp_path / "a.onnx"
    export.export_run(runs["lsgan-64"], out, note=print, on_progress=lambda *_: None)
    export.export_artifact(out, tmp_path / "r", format="triton", on_progress=lambda *_: None)
    assert (tmp_path / "r" / "cats" / "1" / "model.onnx").read_bytes() == out.read_bytes()


def test_a_model_of_another_s_is_kept(runs, tmp_path):
    config = tmp_path / "cats" / "config.pbtxt"
    config.parent.mkdir()
    config.write_text("mine")
    with pytest.raises(CatganError, match="no export's"):
        export_to(runs["dcgan-128"], tmp_path)
    assert config.read_text() == "mine"
