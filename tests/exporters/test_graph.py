"""Graph passes: the result is compared with the input in ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper

from catgan.exporters.graph import float16_storage, float32_model, sub_pixel
from catgan.networks.projected.generator import Generator

LATENT_SIZE = 8


def infer(model, **feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0]


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    generator = Generator(32, LATENT_SIZE, 8, 16).eval()
    return float32_model(generator, LATENT_SIZE, torch.zeros(1, LATENT_SIZE), (-1.0, 1.0))


def operations(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("storage", [lambda model: model, float16_storage])
def test_sub_pixel_form_generates_the_same_images_from_the_same_weights(plain, storage):
    z = np.random.default_rng(0).standard_normal((5, LATENT_SIZE), np.float32)
    before, after = storage(plain), storage(sub_pixel(plain))
    onnx.checker.check_model(after, full_check=True)
    feeds = {"z": z, "truncation": np.ones(1, np.float32)}
    difference = infer(after, **feeds).astype(int) - infer(before, **feeds)
    assert np.abs(difference).max() <= 1
    assert np.abs(difference).mean() < 0.01
    assert operations(before).count("ConvTranspose") == 0
    assert operations(after).count("ConvTranspose") == 2  # 4 to 8 to 16; a pixel shuffle makes 32
    sizes = [sum(t.ByteSize() for t in m.graph.initializer) for m in (before, after)]
    assert sizes[1] < sizes[0] + 2_000
    used = {name for node in after.graph.node for name in node.input}
    assert {tensor.name for tensor in after.graph.initializer} <= used


@pytest.mark.parametrize(("inputs", "outputs", "side"), [(1, 1, 1), (3, 2, 5), (2, 5, 4)])
def test_sub_pixel_form_of_one_layer_is_exact_up_to_rounding(inputs, outputs, side):
    random = np.random.default_rng(inputs)
    weight = random.standard_normal((outputs, inputs, 3, 3), np.float32)
    make = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            make(
                "Resize", ["x", "", "scales"], ["repeated"], mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            ),
            make("Conv", ["repeated", "weight"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        ],
        "layer",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", inputs, side, side])],
        [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"),
        ],
    )  # fmt: skip
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    x = random.standard_normal((2, inputs, side, side), np.float32)
    np.testing.assert_allclose(infer(sub_pixel(model), x=x), infer(model, x=x), atol=1e-5)


def test_model_without_upsampling_is_unchanged():
    z = onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])
    y = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["z"], ["y"])], "g", [z], [y])
    model = onnx.helper.make_model(graph)
    assert sub_pixel(model) == model


def test_transposed_duplicates_are_removed(plain):
    matrices = [numpy_helper.to_array(t) for t in plain.graph.initializer if len(t.dims) == 2]
    large = [matrix for matrix in matrices if matrix.size >= 256]
    assert len(large) > 3
    for number, matrix in enumerate(large):
        assert not any(np.array_equal(matrix, other.T) for other in large[number + 1 :])
