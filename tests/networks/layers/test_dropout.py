from __future__ import annotations

import pytest
import torch

from catgan.networks.layers.dropout import Dropout


@pytest.mark.parametrize("probability", [0.3, 0.5, 0.05])
def test_the_dropped_fraction_and_the_mean(probability):
    torch.manual_seed(0)
    layer = Dropout(probability)
    output = layer(torch.ones(8, 64, 32, 32))
    dropped = (output == 0).float().mean().item()
    assert dropped == pytest.approx(round(256 * probability) / 256, abs=0.003)
    assert output.mean().item() == pytest.approx(1, abs=0.005)
    assert output.unique().numel() == 2


def test_neighbors_are_independent():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(4, 64, 32, 32)) != 0).permute(
        0, 2, 3, 1
    ).flatten().float() - 0.5
    for distance in (1, 2, 7, 8, 64):
        correlation = (kept[:-distance] * kept[distance:]).mean() / 0.25
        assert abs(correlation) < 0.01


def test_masks_depend_on_the_global_seed_and_evaluation_is_identity():
    layer, images = Dropout(0.3), torch.randn(2, 3, 5, 5)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(layer(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert layer.eval()(images) is images
    assert Dropout(0.0)(images) is images


def test_gradients_reach_kept_elements_only():
    torch.manual_seed(0)
    images = torch.ones(2, 4, 8, 8, requires_grad=True)
    output = Dropout(0.5)(images)
    output.sum().backward()
    assert torch.equal(images.grad, output.detach())
