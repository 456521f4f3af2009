"""Export to a model repository for NVIDIA Triton Inference Server and KServe.

The layout and `config.pbtxt` follow Triton's documentation, "Model Repository" and "Model
Configuration". `truncation` has no batch axis, so `max_batch_size` is 0: clients send N latents in
one request. Dynamic batching stays off, because ONNX Runtime does not promise equal bytes for
different batch sizes, and a seed must always give the same image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from catgan.errors import CatganError
from catgan.evaluation.results.records import require_writable
from catgan.exporters.onnx_exporter import OnnxExporter
from catgan.files import make_directory, require_replaceable, write_durably
from catgan.generation.card import Card
from catgan.generation.generator import INPUTS, OUTPUT

MODEL_NAME = "cats"
_HEAD = "# Written by `catgan export --format triton`.\n"


class TritonExporter(OnnxExporter):
    """The exporter for `--format triton`: the artifact in a repository, with its configuration."""

    default_name = "triton"

    def check_destination(self, out: Path) -> None:
        """Raise `CatganError` or OSError if `out` cannot be written or is not an export."""
        model, config = _paths(out)
        if out.exists() and not out.is_dir():
            raise CatganError(
                f"{out}: expected a directory, the model repository: choose another path with --out"
            )
        for path in (model, config):
            require_replaceable(path)
        if config.parent.exists() and not _is_export(config):
            raise CatganError(
                f"{config.parent}: exists and is not an export: choose another path with --out"
            )
        require_writable(model.parent)

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write the model and its configuration."""
        model, config = _paths(out)
        make_directory(model.parent)
        write_durably(config, configuration(card).encode())
        write_durably(model, data)
        return {"model": model, "config": config}

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Return the command that serves it."""
        return ("tritonserver", "--model-repository", str(out))


def configuration(card: Card) -> str:
    """Return the text of config.pbtxt, a `ModelConfig` in protocol buffer text format."""
    z, truncation = INPUTS
    side = card.resolution
    return f"""{_HEAD}name: "{MODEL_NAME}"
platform: "onnxruntime_onnx"
max_batch_size: 0
input [
  {{ name: "{z}" data_type: TYPE_FP32 dims: [ -1, {card.latent_size} ] }},
  {{ name: "{truncation}" data_type: TYPE_FP32 dims: [ 1 ] }}
]
output [
  {{ name: "{OUTPUT}" data_type: TYPE_UINT8 dims: [ -1, {side}, {side}, 3 ] }}
]
"""


def _paths(out: Path) -> tuple[Path, Path]:
    return out / MODEL_NAME / "1" / "model.onnx", out / MODEL_NAME / "config.pbtxt"


def _is_export(config: Path) -> bool:
    return config.is_file() and config.read_text("utf-8", errors="replace").startswith(_HEAD)
