"""The extractors by name. `lite2` and `raw-64` need no download."""

from __future__ import annotations

from pathlib import Path

from catgan.data.reading.sources import label
from catgan.errors import CatganError
from catgan.evaluation.extractors.custom import load_onnx, load_torchscript
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.extractors.inception import cached_inception, load_inception
from catgan.evaluation.extractors.lite2 import load_lite2
from catgan.evaluation.extractors.raw import load_raw
from catgan.evaluation.extractors.resize import RULES, Rule


def load_extractor(
    name: str | None = None,
    *,
    resize: str | None = None,
    inception_path: Path | None = None,
    input_size: int | None = None,
) -> Extractor:
    """Return an extractor: `inception`, `lite2`, `raw-64`, or one from a .pt or .onnx file.

    None means `inception` if its file is given or was downloaded before, else `lite2`. `inception`
    by name downloads it. `resize` overrides the extractor's own rule. `input_size` is for files
    that do not state theirs. All compute in float32, because bfloat16 changes scores by some
    percent (docs/research/metric-sensitivity.md).

    Raises:
        CatganError: the name or rule is unknown, the extractor lacks an option, or its weights are
            missing or not the expected ones.
    """
    rule = _rule(resize)
    if name is None:
        name = "inception" if inception_path or cached_inception() else "lite2"
    if inception_path is not None and name != "inception":
        raise CatganError(
            f"{inception_path}: is for the extractor inception, not for {name}; leave it out"
        )
    if name.endswith(".pt"):
        return load_torchscript(Path(name), resize=rule or "clean", input_size=input_size)
    if name.endswith(".onnx"):
        return load_onnx(Path(name), resize=rule or "clean", input_size=input_size)
    if input_size is not None:
        raise CatganError(f"{name} has a fixed input size; leave it out, it is for extractor files")
    if name == "inception":
        return load_inception(inception_path, resize=rule or "clean")
    if name == "lite2":
        return load_lite2(rule or "clean")
    if name == "raw-64":
        return load_raw(rule or "area")
    raise CatganError(
        f"unknown extractor {name!r}: expected inception, lite2, raw-64, or a .pt or .onnx file"
    )


def extractor_name(name: str) -> str:
    """Return the name in the identity of `load_extractor(name)`, without loading it."""
    return label(Path(name).name) if name.endswith((".pt", ".onnx")) else name


def _rule(name: str | None) -> Rule | None:
    for rule in RULES:
        if name == rule:
            return rule
    if name is None:
        return None
    raise CatganError(f"unknown resize rule {name!r}: expected {', '.join(RULES)}")
