"""The extractors by name, and the two that need no download: `lite2` and `raw-64`."""

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
    """The extractor `name`: `inception`, `lite2`, `raw-64`, or the path of a .pt or .onnx file.

    None picks `inception` if its file is given or was downloaded before, else `lite2`; `inception`
    by name downloads it. `resize` overrides the extractor's own rule. `input_size` is for files
    that do not state theirs. All compute in float32: bfloat16 was measured to move scores by
    percents (docs/concepts/metrics.md).

    Raises:
        CatganError: unknown name or rule, an option that the extractor does not have, or weights
            that are missing or not the expected ones.
    """
    rule = _rule(resize)
    if name is None:
        name = "inception" if inception_path or cached_inception() else "lite2"
    if inception_path is not None and name != "inception":
        raise CatganError(f"{inception_path}: is for the extractor inception, not for {name}")
    if name.endswith(".pt"):
        return load_torchscript(Path(name), resize=rule or "clean", input_size=input_size)
    if name.endswith(".onnx"):
        return load_onnx(Path(name), resize=rule or "clean", input_size=input_size)
    if input_size is not None:
        raise CatganError(f"{name} has its own input size; an input size is for extractor files")
    if name == "inception":
        return load_inception(inception_path, resize=rule or "clean")
    if name == "lite2":
        return load_lite2(rule or "clean")
    if name == "raw-64":
        return load_raw(rule or "area")
    raise CatganError(
        f"extractor {name!r} is unknown; choose inception, lite2, raw-64, or a .pt or .onnx file"
    )


def extractor_name(name: str) -> str:
    """The name in the identity of what `load_extractor` makes of `name`, without loading it."""
    return label(Path(name).name) if name.endswith((".pt", ".onnx")) else name


def _rule(name: str | None) -> Rule | None:
    for rule in RULES:
        if name == rule:
            return rule
    if name is None:
        return None
    raise CatganError(f"resize rule {name!r} is unknown; choose one of {', '.join(RULES)}")
