from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "fetch_web_runtime.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("fetch_web_runtime", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        (b"run();\n//# sourceMappingURL=ort.mjs.map\n", b"run();\n"),
        (b"run();\n//# sourceMappingURL=ort.mjs.map", b"run();\n"),
        (b"run();", b"run();"),  # without such a line, every byte is kept
        (b'a="//# sourceMappingURL=x";\nrun();\n', b'a="//# sourceMappingURL=x";\nrun();\n'),
    ],
)
def test_only_the_line_for_debuggers_is_left_out(tool, script, kept):
    assert tool.without_source_map(script) == kept
