from __future__ import annotations

import importlib.util
import subprocess
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
def test_only_the_source_map_reference_is_removed(tool, script, kept):
    assert tool.without_source_map(script) == kept


def test_without_a_network_it_exits_with_one_line_and_copies_nothing(tool, tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess((), 1)

    def run(*_, check=False, **__):
        if check:
            raise subprocess.CalledProcessError(1, "npm")
        return failed

    monkeypatch.setattr(tool.shutil, "which", lambda name: name)
    monkeypatch.setattr(tool.subprocess, "run", run)
    monkeypatch.setattr(tool, "RUNTIME", tmp_path / "runtime")
    with pytest.raises(SystemExit, match="npm cannot fetch onnxruntime-web"):
        tool.main()
    assert not (tmp_path / "runtime").exists()
