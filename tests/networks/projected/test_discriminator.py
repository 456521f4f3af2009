"""The heads of the projected discriminator."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from catgan.network_config import ProjectedConfig
from catgan.networks.build import build_discriminator
from catgan.networks.projected.discriminator import _Head
from catgan.networks.projected.projection import STRIDES


@pytest.mark.parametrize("resolution", [128, 256])
def test_heads_of_more_than_eight_positions_a_side_see_one_map_mirrored(resolution):
    shapes = []
    for mirrored in (False, True):
        config = ProjectedConfig(
            64, 8, 8, 16, feature_resolution=resolution, mirrored_heads=mirrored
        )
        heads = build_discriminator(config, None, torch.float32).heads
        shapes.append([[tuple(each.shape) for each in head.parameters()] for head in heads])
    for stride, plain, mirrored in zip(STRIDES, *shapes, strict=True):
        wider = [
            new[1:2] != old[1:2] and new == (old[0], 2 * old[1], *old[2:])
            for old, new in zip(plain, mirrored, strict=True)
        ]
        assert wider.count(True) == (resolution // stride > 8)


@torch.no_grad()
def test_mirrored_head_convolves_the_maps_and_their_mirror_image():
    torch.manual_seed(0)
    head = _Head(6, 16, mirrored=True)
    x = torch.randn(3, 6, 16, 16)
    first, _, second, _, third, _, last = head.layers
    y = F.leaky_relu(F.conv2d(x, first.weight, first.bias, stride=2, padding=1), 0.2)
    y = F.conv2d(torch.cat([y, y.flip(3)], 1), second.weight, second.bias, stride=2, padding=1)
    y = F.leaky_relu(F.conv2d(F.leaky_relu(y, 0.2), third.weight, third.bias, padding=1), 0.2)
    expected = F.conv2d(y, last.weight).flatten(1)
    torch.testing.assert_close(head(x), expected, atol=1e-5, rtol=1e-5)
