"""The eye heads; `tests/networks/test_families.py` tests the other ones."""

from __future__ import annotations

import pytest
import torch

from catgan.network_config import ProjectedConfig
from catgan.networks.build import build_discriminator

REALS = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def build(*, eye_heads):
    torch.manual_seed(0)
    config = ProjectedConfig(64, feature_resolution=128, eye_heads=eye_heads)
    return build_discriminator(config, lambda: REALS, torch.float32)


@pytest.fixture(scope="module")
def discriminator():
    return build(eye_heads=True)


@torch.no_grad()
def test_eye_heads_leave_the_other_heads_as_they_are(discriminator):
    plain = build(eye_heads=False)
    state = discriminator.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state_dict().items())
    logits = discriminator(discriminator.features(REALS))
    assert logits.shape == (8, 7, 16)
    assert torch.equal(logits[:, :4], plain(plain.features(REALS)))


@torch.no_grad()
def test_shapes_of_the_projected_maps_are_as_stated(discriminator):
    maps = discriminator.projected(REALS)
    found = [(*x.shape[2:], x.shape[1]) for x in maps]
    assert found == discriminator.projected_shapes


@torch.no_grad()
def test_outside_the_eyes_nothing_reaches_the_eye_heads(discriminator):
    changed = REALS.clone()
    changed[:, :, :20] = changed[:, :, 40:] = 0
    changed[..., :12] = changed[..., 52:] = 0
    first, second = (discriminator(discriminator.features(x)) for x in (REALS, changed))
    torch.testing.assert_close(first[:, 4:], second[:, 4:])
    assert (first[:, :4] - second[:, :4]).abs().min() > 0
