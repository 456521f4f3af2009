from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from catgan.training.ema import ema_decay, update_ema


def test_a_weight_halves_in_one_half_life():
    assert ema_decay(32, 10**9, 5_000, 0.05) ** (5_000 / 32) == pytest.approx(0.5)


def test_the_half_life_is_short_early_on():
    assert ema_decay(64, 0, 5_000, 0.05) == 0
    assert ema_decay(64, 2_000, 5_000, 0.05) == pytest.approx(0.5 ** (64 / 100))


def test_parameters_and_statistics_follow_the_closed_form():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = copy.deepcopy(model)
    expected = {name: tensor.clone().double() for name, tensor in model.state_dict().items()}
    for _ in range(5):
        model(torch.randn(4, 1, 8, 8))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter)
        update_ema(average, model, 0.7)
        for name, tensor in model.state_dict().items():
            expected[name] = 0.7 * expected[name] + 0.3 * tensor.double()
    for name, tensor in average.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert tensor == 5
        else:
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)


class Calibrated(nn.Module):
    """One weight, and a buffer calibrated for it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("level", torch.zeros(3))


def test_calibrated_buffers_are_copied_and_not_averaged():
    model, average = Calibrated(), Calibrated()
    average.level.fill_(7.0)  # calibrated for the average
    model.level.fill_(1.0)
    model.weight.data.fill_(3.0)
    update_ema(average, model, 0.5)
    assert torch.equal(average.weight.data, torch.full((3,), 2.0))
    assert torch.equal(average.level, torch.ones(3))
