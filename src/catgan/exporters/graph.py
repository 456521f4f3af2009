"""Convert a generator to an ONNX model.

Inputs: `z`, float32 (N, latent_size), and `truncation`, float32 (1,). Output: `images`, uint8
(N, resolution, resolution, 3). N is dynamic.
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
from catgan.networks.base import BaseGenerator
from catgan.networks.exportable import exportable_copy
from catgan.networks.truncation import synthesize_truncated
from catgan.onnx_runtime import load_onnxruntime

OPSET = 18  # old enough for every runtime in use, new enough for anti-aliased resizing
FOLD_ALL = 2**40  # bytes: fold all constants at export, instead of at every start
MIN_HALVED = 256  # numbers; smaller tensors (biases) are not worth a float16 copy
MAX_FLOAT16 = 65_504.0
# Each of the four rows of the transposed kernel is a sum of the marked rows of the 3 x 3 kernel.
_ROW_SUMS = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
_SUMS = "sums_of_rows_and_columns"


class _Pipeline(nn.Module):
    """What the graph computes: truncation, the generator, and the conversion to 8 bits."""

    def __init__(
        self, generator: BaseGenerator, mean: Tensor, pixel_range: tuple[float, float]
    ) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("mean", mean)
        self.low, self.high = pixel_range

    def forward(self, z: Tensor, truncation: Tensor) -> Tensor:
        pixels = synthesize_truncated(self.generator, z, truncation, self.get_buffer("mean"))
        scaled = (pixels - self.low) * (255 / (self.high - self.low))
        return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def float32_model(
    generator: BaseGenerator,
    latent_size: int,
    mean: Tensor,
    pixel_range: tuple[float, float],
) -> onnx.ModelProto:
    """Return the generator as an ONNX model with float32 weights.

    `generator` is in evaluation mode and on the CPU; `mean` (1, latent_size) is the style that
    truncation pulls toward; `pixel_range` is the range of the generator's output.

    Raises:
        CatganError: torch returns no model, or the generator's code fixes the batch size.
    """
    pipeline = _Pipeline(exportable_copy(generator), mean, pixel_range).eval()
    example = torch.zeros(2, latent_size), torch.ones(1)
    batch = torch.export.Dim("N", min=1, max=65_536)
    with _quiet():
        program = torch.onnx.export(
            pipeline,
            example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_shapes=({0: batch}, None),
        )
        if program is None:
            raise CatganError("torch returned no ONNX model: use torch 2.9 or later")
        onnxscript.optimizer.optimize(
            program.model, input_size_limit=FOLD_ALL, output_size_limit=FOLD_ALL
        )
        model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise CatganError(
            "the generator's code fixes the batch size, as len(z) does: use z.shape[0]"
        )
    _strip(model)
    _remove_transposed_duplicates(model.graph)
    return model


def _remove_transposed_duplicates(graph: onnx.GraphProto) -> None:
    """Replace matrices that are transposes of others; the runtime transposes at load time."""
    kept: dict[bytes, str] = {}
    duplicates: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        if len(tensor.dims) != 2 or np.prod(tensor.dims) < MIN_HALVED:
            continue
        matrix = numpy_helper.to_array(tensor)
        if (other := kept.get(matrix.T.tobytes())) is not None:
            duplicates.append(tensor)
            graph.node.insert(0, onnx.helper.make_node("Transpose", [other], [tensor.name]))
        else:
            kept[matrix.tobytes()] = tensor.name
    for tensor in duplicates:
        graph.initializer.remove(tensor)


def sub_pixel(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent model with cheaper upsampling layers.

    Nearest-neighbor upsampling by 2 followed by a 3 x 3 convolution equals a transposed convolution
    of stride 2 with a 4 x 4 kernel, which takes four ninths of the multiplications (the sub-pixel
    form of Shi et al., CVPR 2016). The model stores the 3 x 3 kernel; the runtime computes the
    4 x 4 kernel once, at load time.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    upsampling = {
        node.output[0]: node for node in graph.node if _attributes(node).get("mode") == b"nearest"
    }
    nodes: list[onnx.NodeProto] = []
    scales: set[str] = set()
    for node in graph.node:
        upsample = upsampling.get(node.input[0])
        if upsample is None or node.op_type != "Conv":
            nodes.append(node)
            continue
        weight = node.input[1]
        outputs, inputs, *_ = shapes[weight]
        steps = [f"{weight}.{step}" for step in ("swapped", "rows", "sums", "transposed")]
        sizes = {f"{weight}.3x3": [inputs * outputs, 9], f"{weight}.4x4": [inputs, outputs, 4, 4]}
        for name, size in sizes.items():
            graph.initializer.append(numpy_helper.from_array(np.array(size), name))
        flat_size, kernel_size = sizes
        make = onnx.helper.make_node
        nodes.remove(upsample)
        scales.update(upsample.input[1:])
        nodes += [
            make("Transpose", [weight], steps[:1], perm=[1, 0, 2, 3]),
            make("Reshape", [steps[0], flat_size], steps[1:2]),
            make("MatMul", [steps[1], _SUMS], steps[2:3]),
            make("Reshape", [steps[2], kernel_size], steps[3:]),
            make("ConvTranspose", [upsample.input[0], steps[3]], node.output, node.name,
                 kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1]),
        ]  # fmt: skip
    if upsampling:
        sums = np.kron(_ROW_SUMS, _ROW_SUMS).T
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(sums), _SUMS))
    del graph.node[:]
    graph.node.extend(nodes)
    # Runtimes warn about the scales of the upsampling if nothing uses them any more.
    unused = scales - {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name not in unused]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return result


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def float16_storage(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model with weights stored as float16 and computed as float32.

    This halves the file; the runtime casts the weights once, at load time.

    Raises:
        CatganError: a weight is outside the range of float16.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for tensor in halved.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < MIN_HALVED:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > MAX_FLOAT16:
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
    """Return the same model with 8-bit weights and dynamically quantized activations.

    Layers without a dynamic 8-bit form in ONNX Runtime, such as transposed convolutions, stay in
    float32.

    Raises:
        CatganError: nearly all layers would stay in float32.
    """
    quantization = load_onnxruntime("quantization")
    with tempfile.TemporaryDirectory() as directory, _quiet():
        before, after = Path(directory, "before.onnx"), Path(directory, "after.onnx")
        before.write_bytes(model.SerializeToString())
        quantization.quantize_dynamic(before, after, weight_type=quantization.QuantType.QUInt8)
        quantized = onnx.load(after)
    _strip(quantized)
    sizes = [sum(t.ByteSize() for t in m.graph.initializer) for m in (quantized, model)]
    if sizes[0] > sizes[1] / 2:
        raise CatganError(
            "ONNX Runtime has no 8-bit form of this family's layers: use --precision float16"
        )
    return quantized


# int8 keeps the 3 x 3 convolutions: ONNX Runtime has no 8-bit transposed convolution.
VARIANTS = {
    "float32": sub_pixel,
    "float16": lambda model: float16_storage(sub_pixel(model)),
    "int8": int8_dynamic,
}


def _strip(model: onnx.ModelProto) -> None:
    """Remove debugging information: stack traces, intermediate shapes, names of tools.

    Stack traces contain paths of the exporting machine.
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
    """Silence the warnings and logs of the exporter; this module checks its result."""
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
