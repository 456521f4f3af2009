from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from catgan.onnx_runtime import load_onnxruntime


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "1"),
        ("", "1"),  # ONNX Runtime sends where the variable is empty
        ("0", "0"),  # someone's own decision
        ("true", "true"),
    ],
)
def test_telemetry_is_off_unless_someone_decides_otherwise(monkeypatch, before, after):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", before or "")
    if before is None:
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    load_onnxruntime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == after


def test_modules_are_onnx_runtime_s_own():
    assert load_onnxruntime().__name__ == "onnxruntime"
    assert load_onnxruntime("quantization").quantize_dynamic.__name__ == "quantize_dynamic"


def test_the_snippets_in_the_documentation_turn_it_off_first():
    root = Path(__file__).parents[1]
    found = 0
    for page in (*root.glob("*.md"), *root.glob("docs/**/*.md")):
        for snippet in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            before, imported, _ = re.split(r"(import [^\n]*\bonnxruntime\b|$)", snippet, maxsplit=1)
            found += bool(imported)
            assert not imported or 'os.environ["ORT_DISABLE_TELEMETRY"] = "1"' in before, page
    assert found
