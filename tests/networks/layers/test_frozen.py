"""Frozen convolutions against explicit padding and torch's convolution in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from catgan.networks.capabilities import fused_convolution
from catgan.networks.layers import frozen
from catgan.networks.layers.frozen import SameConv2d, freeze

SIZES = [(8, 8), (9, 9), (8, 9), (13, 6), (1, 1), (2, 5)]
KERNELS = [(kernel, stride) for kernel in (1, 3, 5) for stride in (1, 2)]


def reference(layer: SameConv2d, x: torch.Tensor) -> torch.Tensor:
    """Pad as TensorFlow's "SAME" is defined, the odd row at the bottom and right, then convolve."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    weight, bias = layer.weight.double(), layer.bias.double()
    y = F.conv2d(F.pad(x.double(), pads), weight, bias, stride, 0, 1, layer.groups)
    return y.clamp(0, 6) if layer.relu6 else y


def layer_of(kernel, stride, *, depthwise, relu6):
    torch.manual_seed(kernel + 10 * stride)
    inputs, outputs = (6, 6) if depthwise else (4, 7)
    layer = SameConv2d(inputs, outputs, kernel, stride, inputs if depthwise else 1, relu6=relu6)
    nn.init.normal_(layer.weight, std=2 / (kernel * (1 if depthwise else inputs) ** 0.5))
    nn.init.normal_(layer.bias, mean=1.0)  # outputs fall on both sides of 0, and of 6
    freeze(layer)
    return layer


def output_and_gradient(function, x, *, dtype=torch.float64):
    x = x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = function(x)
    slopes = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    (gradient,) = torch.autograd.grad(y, x, slopes.to(y.dtype))
    return y.detach(), gradient


@pytest.fixture(params=["oneDNN", "fallback"])
def path(request, monkeypatch):
    """Both implementations of a convolution on a CPU."""
    if request.param == "fallback":
        monkeypatch.setattr(frozen, "fused_convolution", lambda: None)
    elif fused_convolution() is None:
        pytest.skip("oneDNN's fused convolution does not work here: NOT tested")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("relu6", [False, True])
def test_outputs_and_input_gradients_equal_the_definition(
    path, size, kernel, stride, depthwise, relu6
):
    layer = layer_of(kernel, stride, depthwise=depthwise, relu6=relu6)
    x = 2 * torch.randn(3, layer.in_channels, *size)
    expected, expected_gradient = output_and_gradient(lambda x: reference(layer, x), x)
    y, gradient = output_and_gradient(layer, x, dtype=torch.float32)
    assert y.shape[2:] == (-(-size[0] // stride), -(-size[1] // stride))
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-5, atol=1e-5)


def test_the_example_clips_on_both_sides():
    """Otherwise the test above would not test relu6 and its gradient."""
    y = layer_of(3, 1, depthwise=False, relu6=True)(2 * torch.randn(3, 4, 8, 8))
    for clipped in (y == 0, y == 6, (y > 0) & (y < 6)):
        assert clipped.float().mean() > 0.05


def test_padding_equals_a_definition_in_loops():
    layer = layer_of(5, 2, depthwise=True, relu6=False)
    x = torch.randn(1, 6, 7, 12)
    padded = np.zeros((7 + 4, 12 + 3))  # (ceil(7 / 2) - 1) 2 + 5 - 7 and (6 - 1) 2 + 5 - 12
    padded[2:9, 1:13] = x[0, 4].numpy()
    weight = layer.weight[4, 0].numpy()
    expected = [
        [(padded[2 * i : 2 * i + 5, 2 * j : 2 * j + 5] * weight).sum() for j in range(6)]
        for i in range(4)
    ]
    result = (layer(x)[0, 4] - layer.bias[4]).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_bfloat16_is_close_to_float32(bfloat16, path, kernel, stride, depthwise):
    layer = layer_of(kernel, stride, depthwise=depthwise, relu6=False)
    x = torch.randn(3, layer.in_channels, 11, 14).bfloat16()
    rounded = copy.deepcopy(layer).to(torch.bfloat16)
    expected, expected_gradient = output_and_gradient(lambda x: reference(rounded, x), x)
    y, gradient = output_and_gradient(rounded, x, dtype=torch.bfloat16)
    assert y.dtype == gradient.dtype == torch.bfloat16
    # Sums are float32 and rounded to 8 bits once, or twice where stride 2 adds two of them.
    for ours, theirs in ((y, expected), (gradient, expected_gradient)):
        assert (ours.double() - theirs).abs().max() < 2 * 2**-8 * theirs.abs().max()


def test_no_gradient_for_inputs_that_need_none():
    layer = layer_of(3, 2, depthwise=False, relu6=True)
    assert not layer(torch.randn(1, 4, 8, 8)).requires_grad
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is None


@pytest.mark.parametrize("saved", [False, True])
def test_frozen_parameters_are_buffers(saved):
    network = nn.Sequential(SameConv2d(3, 4, 3, relu6=True), nn.Sequential(nn.Linear(4, 2)))
    names = [name for name, _ in network.named_parameters()]
    before = copy.deepcopy(network.state_dict())
    x = torch.rand(2, 3, 5, 5)

    def answer():
        return network[1](network[0](x).mean((2, 3)))

    answered = answer().detach()
    holder = nn.ModuleDict({"frozen": network, "trained": nn.Linear(2, 1)})
    freeze(network, saved=saved)
    assert not any(module.training for module in network.modules())
    assert [name for name, _ in network.named_buffers()] == names
    assert torch.equal(answer(), answered)
    holder.requires_grad_(True)
    assert [name for name, _ in holder.named_parameters()] == ["trained.weight", "trained.bias"]
    assert not any(buffer.requires_grad for buffer in network.buffers())
    state = holder.state_dict()
    assert [name for name in state if name.startswith("frozen")] == (
        [f"frozen.{name}" for name in names] if saved else []
    )
    if saved:
        assert all(torch.equal(state[f"frozen.{name}"], before[name]) for name in names)
    optimizer = torch.optim.SGD(holder.parameters(), lr=1.0)
    holder["trained"](answer()).sum().backward()
    optimizer.step()
    assert torch.equal(answer(), answered)


def test_a_frozen_module_can_be_cast_and_copied():
    layer = layer_of(3, 1, depthwise=False, relu6=True)
    assert copy.deepcopy(layer).to(torch.bfloat16).weight.dtype == torch.bfloat16
    assert layer.weight.dtype == torch.float32
