"""Export versions of layers: plain ones that compute the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from catgan.network_config import DcganConfig, LsganConfig, ProjectedConfig
from catgan.networks.base import BaseGenerator
from catgan.networks.build import build_generator
from catgan.networks.exportable import HasExportVersion, exportable_copy
from catgan.networks.layers.convolution import Convolution

LATENT_SIZE = 8


def trained(family, **network):
    """A generator with weights and batch statistics as after training."""
    torch.manual_seed(0)
    sizes = {"latent_size": LATENT_SIZE, "channels": 8, "maximum_channels": 32}
    generator = build_generator(family(**sizes, **network))
    with torch.no_grad():
        for parameter in generator.parameters():  # some are initially 0 or 1
            parameter += 0.05 * torch.randn_like(parameter)
        for _ in range(20):
            generator(torch.randn(64, LATENT_SIZE))
    return generator.eval()


@pytest.mark.parametrize(
    "network",
    [
        {"family": DcganConfig, "resolution": 32},
        {"family": LsganConfig, "resolution": 32},
        {"family": ProjectedConfig, "resolution": 32},
        {
            "family": ProjectedConfig,
            "resolution": 64,
            "refinements": 1,
            "coefficient_correction": 8,
            "mirrored_eye": True,
        },
    ],
)
def test_a_copy_has_the_same_weights_and_images_but_only_plain_layers(network):
    generator = trained(**network)
    kinds, state = [type(m) for m in generator.modules()], generator.state_dict()
    random_state = torch.get_rng_state()
    exported = exportable_copy(generator)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert any(isinstance(module, HasExportVersion) for module in generator.modules())
    assert not any(isinstance(module, HasExportVersion) for module in exported.modules())
    assert [type(m) for m in generator.modules()] == kinds
    assert list(exported.state_dict()) == list(state)
    for name, value in exported.state_dict().items():
        assert torch.equal(value, state[name])
        assert value.numel() == 0 or value.data_ptr() != state[name].data_ptr()
    z = torch.randn(16, LATENT_SIZE)
    with torch.no_grad():
        images = generator(z)
        torch.testing.assert_close(exported(z), images, rtol=0, atol=2e-5)
    assert images.std() > 0.01


class _Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Convolution(3, 3, 1)

    def forward(self, x):
        return 2 * self.inner(x)

    def export_version(self):
        return nn.Sequential(self.inner)


class _Network(BaseGenerator):
    def __init__(self):
        super().__init__()
        self.outer = _Doubled()


def test_a_layer_gets_its_inner_layers_in_their_export_versions():
    exported = exportable_copy(_Network())
    assert type(exported.outer) is nn.Sequential
    assert type(exported.outer[0]) is nn.Conv2d
