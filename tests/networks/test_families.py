"""The classic networks, layer by layer, against their descriptions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from catgan.config import load_recipe, override
from catgan.network_config import RESOLUTIONS, DcganConfig, LsganConfig
from catgan.networks.base import stage_channels
from catgan.networks.build import build_discriminator, build_generator, pixel_range
from catgan.networks.layers.dropout import Dropout


def layer_table(network: nn.Module, example: torch.Tensor | list[torch.Tensor]) -> list[str]:
    """One line per layer: its kind and its output shape."""
    lines = []

    def describe(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            kind = "transposed" if isinstance(layer, nn.ConvTranspose2d) else "convolution"
            text = (
                f"{kind} {layer.kernel_size[0]}x{layer.kernel_size[1]} stride {layer.stride[0]} "
                f"padding {layer.padding[0]} {layer.in_channels}->{layer.out_channels}"
                f"{'' if layer.bias is None else ' bias'}"
            )
        elif isinstance(layer, nn.LeakyReLU):
            text = f"leaky relu {layer.negative_slope}"
        elif isinstance(layer, Dropout):
            text = f"dropout {layer.threshold / 256:.2f}"
        else:
            text = type(layer).__name__.lower()
        lines.append(f"{text} -> {output.shape[1]}x{output.shape[2]}x{output.shape[3]}")

    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(describe)
    network(example)
    print("\n".join(["", type(network).__module__ + "." + type(network).__name__, *lines]))
    return lines


LSGAN_GENERATOR = """
transposed 4x4 stride 1 padding 0 100->1024 -> 1024x4x4
batchnorm2d -> 1024x4x4
relu -> 1024x4x4
transposed 4x4 stride 2 padding 1 1024->512 -> 512x8x8
batchnorm2d -> 512x8x8
relu -> 512x8x8
transposed 4x4 stride 2 padding 1 512->256 -> 256x16x16
batchnorm2d -> 256x16x16
relu -> 256x16x16
transposed 4x4 stride 2 padding 1 256->128 -> 128x32x32
batchnorm2d -> 128x32x32
relu -> 128x32x32
transposed 4x4 stride 2 padding 1 128->3 bias -> 3x64x64
tanh -> 3x64x64
"""

LSGAN_DISCRIMINATOR = """
convolution 4x4 stride 2 padding 1 3->128 bias -> 128x32x32
leaky relu 0.2 -> 128x32x32
convolution 4x4 stride 2 padding 1 128->256 -> 256x16x16
batchnorm2d -> 256x16x16
leaky relu 0.2 -> 256x16x16
convolution 4x4 stride 2 padding 1 256->512 -> 512x8x8
batchnorm2d -> 512x8x8
leaky relu 0.2 -> 512x8x8
convolution 4x4 stride 2 padding 1 512->1024 -> 1024x4x4
batchnorm2d -> 1024x4x4
leaky relu 0.2 -> 1024x4x4
convolution 4x4 stride 1 padding 0 1024->1 bias -> 1x1x1
"""

DCGAN_GENERATOR = """
transposed 4x4 stride 1 padding 0 128->512 -> 512x4x4
batchnorm2d -> 512x4x4
leaky relu 0.2 -> 512x4x4
transposed 4x4 stride 2 padding 1 512->512 -> 512x8x8
batchnorm2d -> 512x8x8
leaky relu 0.2 -> 512x8x8
transposed 4x4 stride 2 padding 1 512->256 -> 256x16x16
batchnorm2d -> 256x16x16
leaky relu 0.2 -> 256x16x16
transposed 4x4 stride 2 padding 1 256->128 -> 128x32x32
batchnorm2d -> 128x32x32
leaky relu 0.2 -> 128x32x32
transposed 4x4 stride 2 padding 1 128->64 -> 64x64x64
batchnorm2d -> 64x64x64
leaky relu 0.2 -> 64x64x64
transposed 4x4 stride 2 padding 1 64->3 bias -> 3x128x128
sigmoid -> 3x128x128
"""

DCGAN_DISCRIMINATOR = """
convolution 4x4 stride 2 padding 1 3->64 bias -> 64x64x64
leaky relu 0.2 -> 64x64x64
dropout 0.30 -> 64x64x64
convolution 4x4 stride 2 padding 1 64->128 bias -> 128x32x32
leaky relu 0.2 -> 128x32x32
dropout 0.30 -> 128x32x32
convolution 4x4 stride 2 padding 1 128->256 bias -> 256x16x16
leaky relu 0.2 -> 256x16x16
dropout 0.30 -> 256x16x16
convolution 4x4 stride 2 padding 1 256->512 bias -> 512x8x8
leaky relu 0.2 -> 512x8x8
dropout 0.30 -> 512x8x8
convolution 4x4 stride 2 padding 1 512->512 bias -> 512x4x4
leaky relu 0.2 -> 512x4x4
dropout 0.30 -> 512x4x4
convolution 4x4 stride 1 padding 0 512->1 bias -> 1x1x1
"""


@pytest.mark.parametrize(
    ("recipe", "generator", "discriminator"),
    [
        ("lsgan-64", LSGAN_GENERATOR, LSGAN_DISCRIMINATOR),
        ("dcgan-128", DCGAN_GENERATOR, DCGAN_DISCRIMINATOR),
    ],
)
def test_every_layer_is_as_described(recipe, generator, discriminator):
    config = load_recipe(recipe).network
    z = torch.randn(2, config.latent_size)
    images = torch.rand(2, 3, config.resolution, config.resolution)
    assert layer_table(build_generator(config), z) == generator.split("\n")[1:-1]
    network = build_discriminator(config, pytest.fail, torch.float32)  # requests no real images
    assert layer_table(network, [images]) == discriminator.split("\n")[1:-1]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("family", [DcganConfig, LsganConfig])
def test_the_classic_families_work_at_every_resolution_and_keep_their_range(family, resolution):
    torch.manual_seed(0)
    config = family(resolution, latent_size=8, channels=4, maximum_channels=16)
    images = build_generator(config)(100 * torch.randn(2, 8))
    low, high = pixel_range(config)
    assert images.shape == (2, 3, resolution, resolution)
    assert low <= images.min() < (low + high) / 2 < images.max() <= high
    discriminator = build_discriminator(config, pytest.fail, torch.float32)
    seen = discriminator.features(images)
    assert len(seen) == 1
    assert seen[0] is images
    assert discriminator(seen).shape == (2, 1)


def test_channels_double_up_to_the_maximum():
    assert stage_channels(64, 128, 1024) == [128, 256, 512, 1024]
    assert stage_channels(32, 128, 1024) == [128, 256, 512]
    assert stage_channels(256, 64, 512) == [64, 128, 256, 512, 512, 512]


def test_initial_weights_follow_dcgan():
    torch.manual_seed(0)
    network = build_generator(override(load_recipe("lsgan-64"), []).network)
    convolutions = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    for layer in convolutions[:-1]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert abs(layer.weight.mean().item()) < 1e-3
