"""A generator as an ONNX model: seeds' noise and a truncation in, finished pixels out.

Inputs: `z`, float32 (N, latent_size), and `truncation`, float32 (1,). Output: `images`, uint8
(N, resolution, resolution, 3). N is free.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from catgan.errors import CatganError
from catgan.generation.generator import INPUTS, OUTPUT
from catgan.networks.shapes import TwoPartGenerator
from catgan.networks.truncation import draw
from catgan.onnx_runtime import load_onnxruntime

OPSET = 18  # old enough for every runtime in use, new enough for anti-aliased resizing
FOLD_ALL = 2**40  # bytes: whatever depends on weights alone is computed now, not at every start
SMALLEST_HALVED = 256  # numbers; in shorter tensors (biases) there is nothing to save
LARGEST_HALF = 65_504.0  # of float16


class _Drawing(nn.Module):
    """What the graph computes: truncation, the generator, and the way to 8 bits."""

    def __init__(
        self, generator: TwoPartGenerator, mean: Tensor, pixel_range: tuple[float, float]
    ) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("mean", mean)
        self.low, self.high = pixel_range

    def forward(self, z: Tensor, truncation: Tensor) -> Tensor:
        pixels = draw(self.generator, z, truncation, self.get_buffer("mean"))
        scaled = (pixels - self.low) * (255 / (self.high - self.low))
        return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def float32_model(
    generator: TwoPartGenerator,
    latent_size: int,
    mean: Tensor,
    pixel_range: tuple[float, float],
) -> onnx.ModelProto:
    """The generator, in evaluation mode and on the CPU, as an ONNX model with float32 weights."""
    drawing = _Drawing(generator, mean, pixel_range).eval()
    example = torch.zeros(2, latent_size), torch.ones(1)
    batch = torch.export.Dim("N", min=1, max=65_536)
    with _quiet():
        program = torch.onnx.export(
            drawing,
            example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_shapes=({0: batch}, None),
        )
        if program is None:
            raise CatganError("torch gave no ONNX model: use torch 2.9 or later")
        onnxscript.optimizer.optimize(
            program.model, input_size_limit=FOLD_ALL, output_size_limit=FOLD_ALL
        )
        model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise CatganError(
            "the generator's code fixes the number of images, as len(z) does: use z.shape[0]"
        )
    _strip(model)
    return model


def float16_storage(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with its weights kept as float16, and computed with as float32.

    Half the size; the runtime widens the weights once, when it opens the file.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for tensor in halved.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_HALVED:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > LARGEST_HALF:
            raise CatganError("a weight is too large for float16: use --precision float32")
        name = tensor.name
        stored = f"{name}.float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(
            onnx.helper.make_node("Cast", [stored], [name], stored, to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved


def int8_dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with 8-bit weights, activations quantised as they come.

    Layers that ONNX Runtime has no dynamic 8-bit form of, transposed convolutions among them, stay
    as they are; `CatganError` where that is nearly all.
    """
    quantization = load_onnxruntime("quantization")
    with tempfile.TemporaryDirectory() as place, _quiet():
        before, after = Path(place, "before.onnx"), Path(place, "after.onnx")
        before.write_bytes(model.SerializeToString())
        quantization.quantize_dynamic(before, after, weight_type=quantization.QuantType.QUInt8)
        quantised = onnx.load(after)
    _strip(quantised)
    sizes = [sum(t.ByteSize() for t in m.graph.initializer) for m in (quantised, model)]
    if sizes[0] > sizes[1] / 2:
        raise CatganError(
            "ONNX Runtime has no 8-bit form of this family's layers: use --precision float16"
        )
    return quantised


VARIANTS = {"float32": lambda model: model, "float16": float16_storage, "int8": int8_dynamic}


def _strip(model: onnx.ModelProto) -> None:
    """Remove what only debugging needs: traces of source lines, shapes in between, names of tools.

    Traces hold paths of the machine that exported.
    """
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    model.doc_string = graph.doc_string = ""
    graph.name = "catgan"
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own talk: what matters is checked here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
