"""Every loss against the formula of its paper, computed in float64 with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from catgan.training.losses import decision_threshold, discriminator_loss, generator_loss

RNG = np.random.default_rng(0)
REAL, GENERATED = RNG.normal(1, 3, (2, 50, 1, 1, 1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


DISCRIMINATOR = {
    "bce": lambda r, g: -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(g)).mean(),
    "mse": lambda r, g: ((r - 1) ** 2).mean() + (g**2).mean(),
    "hinge": lambda r, g: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + g).mean(),
}
GENERATOR = {
    "bce": lambda g: -np.log(sigmoid(g)).mean(),
    "mse": lambda g: ((g - 1) ** 2).mean(),
    "hinge": lambda g: -g.mean(),
}


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_losses_equal_their_papers_formulas(kind):
    real, generated = torch.tensor(REAL), torch.tensor(GENERATED)
    ours = discriminator_loss(kind, real, generated).item()
    assert ours == pytest.approx(DISCRIMINATOR[kind](REAL, GENERATED), rel=1e-5)
    assert generator_loss(kind, generated).item() == pytest.approx(
        GENERATOR[kind](GENERATED), rel=1e-5
    )


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_gradients_equal_finite_differences(kind):
    def of(value):
        return discriminator_loss(kind, torch.full((1,), value), torch.full((1,), value + 0.3)) + (
            2 * generator_loss(kind, torch.full((1,), value))
        )

    value = torch.tensor([0.37], requires_grad=True)
    total = discriminator_loss(kind, value, value + 0.3) + 2 * generator_loss(kind, value)
    total.backward()
    step = 1e-2
    slope = (of(0.37 + step) - of(0.37 - step)) / (2 * step)
    assert value.grad.item() == pytest.approx(slope.item(), abs=2e-3)


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_extreme_outputs_stay_finite_and_are_summed_in_float32(kind):
    extreme = torch.tensor([-1e4, 1e4], dtype=torch.bfloat16)
    for loss in (discriminator_loss(kind, extreme, extreme), generator_loss(kind, extreme)):
        assert torch.isfinite(loss)
        assert loss.dtype == torch.float32


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_the_threshold_lies_between_what_the_loss_teaches(kind):
    outputs = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([outputs], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        discriminator_loss(kind, outputs[:1], outputs[1:]).backward()
        optimizer.step()
    assert outputs[1] < decision_threshold(kind) < outputs[0]
