from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from catgan.networks.layers import convolution
from catgan.networks.layers.convolution import (
    Convolution,
    TransposedConvolution,
    UpsamplingConvolution,
)

GEOMETRIES = [  # kernel, stride, padding, side
    (4, 2, 1, 8),
    (4, 2, 1, 16),
    (4, 1, 0, 4),
    (3, 1, 1, 5),
    (5, 3, 2, 7),
    (4, 2, 1, 2),
]


def loss_and_gradients(layer, function, image):
    image = image.clone().requires_grad_()
    output = function(image)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    gradients = torch.autograd.grad(
        (output * weights).sum() + output.square().sum(), [image, *layer.parameters()]
    )
    return output, gradients


@pytest.mark.parametrize(("kernel", "stride", "padding", "side"), GEOMETRIES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_matrix_product_equals_the_convolution(kernel, stride, padding, side, bias, transposed):
    torch.manual_seed(0)
    kind, reference = (
        (TransposedConvolution, F.conv_transpose2d) if transposed else (Convolution, F.conv2d)
    )
    layer = kind(3, 5, kernel, stride, padding, bias=bias).double()
    image = torch.randn(2, 3, side, side, dtype=torch.double)
    ours, our_gradients = loss_and_gradients(layer, layer, image)
    theirs, their_gradients = loss_and_gradients(
        layer, lambda x: reference(x, layer.weight, layer.bias, stride, padding), image
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for a, b in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution])
def test_second_derivatives_are_right(kind):
    torch.manual_seed(0)
    layer = kind(2, 3, 4, 2, 1).double()
    image = torch.randn(1, 2, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).tanh(), (image,))


@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution])
def test_large_images_take_the_library_kernel_and_agree_in_bfloat16(kind, monkeypatch):
    torch.manual_seed(0)
    layer = kind(16, 24, 4, 2, 1).to(memory_format=torch.channels_last)
    image = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        ours = layer(image)
        monkeypatch.setattr(convolution, "MATRIX_PRODUCT_SIDE", 0)
        theirs = layer(image)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.05, atol=0.05)
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [4, 16])
def test_upsampling_convolution_equals_repeating_pixels_and_convolving(side, monkeypatch):
    torch.manual_seed(0)
    layer = UpsamplingConvolution(3, 5).double()
    image = torch.randn(2, 3, side, side, dtype=torch.double)
    taken = []
    transposed = F.conv_transpose2d
    monkeypatch.setattr(
        F, "conv_transpose2d", lambda *a, **k: taken.append(side) or transposed(*a, **k)
    )
    ours, our_gradients = loss_and_gradients(layer, layer, image)
    assert taken == ([16] if side == 16 else [])
    theirs, their_gradients = loss_and_gradients(
        layer,
        lambda x: F.conv2d(
            x.repeat_interleave(2, 2).repeat_interleave(2, 3), layer.weight, None, 1, 1
        ),
        image,
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for a, b in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
