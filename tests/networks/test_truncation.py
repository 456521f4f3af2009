"""Truncation: the mean style, and images between it and the style."""

from __future__ import annotations

import pytest
import torch

from catgan.network_config import DcganConfig, LsganConfig, ProjectedConfig
from catgan.networks.base import BaseGenerator
from catgan.networks.build import build_generator
from catgan.networks.truncation import mean_style, synthesize_truncated


class Squares(BaseGenerator):
    """A style that is not odd in z, and images that are the style."""

    def map(self, z):
        return z.square()

    def synthesize(self, style):
        return style[:, :, None, None]


@pytest.mark.parametrize("family", [DcganConfig, LsganConfig, ProjectedConfig])
def test_the_mean_style_of_every_family_is_exactly_zero(family):
    torch.manual_seed(0)
    generator = build_generator(family(32, 16, 8, 16))
    mean = mean_style(generator, torch.randn(50, 16))
    assert torch.equal(mean, torch.zeros(1, 16))


def test_the_mean_style_averages_noise_and_its_mirror_image():
    mean = mean_style(Squares(), torch.tensor([[1.0, 0.0], [3.0, -2.0]]))
    assert torch.equal(mean, torch.tensor([[5.0, 2.0]]))


@pytest.mark.parametrize(
    ("truncation", "expected"), [(1.0, [9.0, 4.0]), (0.5, [7.0, 3.0]), (0.0, [5.0, 2.0])]
)
def test_truncation_scales_the_distance_from_the_mean(truncation, expected):
    z, mean = torch.tensor([[3.0, -2.0]]), torch.tensor([[5.0, 2.0]])
    images = synthesize_truncated(Squares(), z, truncation, mean)
    assert torch.equal(images[0, :, 0, 0], torch.tensor(expected))
