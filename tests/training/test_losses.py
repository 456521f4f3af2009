"""Every loss against the formula of its paper, computed in float64 with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from catgan.config import LossConfig
from catgan.errors import CatganError
from catgan.training import losses
from catgan.training.losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    mean_loss,
    penalty_strength,
)

RNG = np.random.default_rng(0)
REAL, GENERATED = RNG.normal(1, 3, (2, 50, 4))  # four judgments of each of fifty images


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


DISCRIMINATOR = {
    "bce": lambda r, g: -np.log(sigmoid(r)) - np.log(1 - sigmoid(g)),
    "mse": lambda r, g: (r - 1) ** 2 + g**2,
    "hinge": lambda r, g: np.maximum(0, 1 - r) + np.maximum(0, 1 + g),
    "relativistic": lambda r, g: -np.log(sigmoid(r - g)),
}
GENERATOR = {
    "bce": lambda r, g: -np.log(sigmoid(g)),
    "mse": lambda r, g: (g - 1) ** 2,
    "hinge": lambda r, g: -g,
    "relativistic": lambda r, g: -np.log(sigmoid(g - r)),
}


def of_generator(kind, real, generated):
    return generator_loss(kind, lambda: real, generated)


@pytest.mark.parametrize("kind", DISCRIMINATOR)
@pytest.mark.parametrize("judgments", [1, 4])
def test_losses_equal_their_papers_formulas_summed_over_judgments(kind, judgments):
    real, generated = REAL[:, :judgments], GENERATED[:, :judgments]
    for ours, formula in ((discriminator_loss, DISCRIMINATOR), (of_generator, GENERATOR)):
        expected = formula[kind](real, generated).sum(1).mean(0)
        loss = ours(kind, torch.tensor(real), torch.tensor(generated)).item()
        assert loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_gradients_equal_finite_differences(kind):
    real = torch.tensor(REAL[:5], requires_grad=True)
    generated = torch.tensor(GENERATED[:5], requires_grad=True)
    assert torch.autograd.gradcheck(lambda r, g: discriminator_loss(kind, r, g), (real, generated))
    assert torch.autograd.gradcheck(lambda g: of_generator(kind, real, g), (generated,))


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_the_generator_s_loss_moves_the_generated_images_alone(kind):
    real = torch.tensor(REAL, requires_grad=True)
    generated = torch.tensor(GENERATED, requires_grad=True)
    of_generator(kind, real, generated).backward()
    assert real.grad is None
    assert generated.grad.abs().sum() > 0
    assert (generated.grad <= 0).all() or kind == "mse"  # lower is: higher judgments


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_extreme_outputs_stay_finite(kind):
    extreme = torch.tensor([[-1e4], [1e4]], requires_grad=True)
    for first, second in ((extreme, extreme), (extreme, extreme.flip(0))):
        for loss in (
            discriminator_loss(kind, first, second),
            of_generator(kind, first, second),
        ):
            assert torch.isfinite(loss)
            (gradient,) = torch.autograd.grad(loss, extreme)
            assert torch.isfinite(gradient).all()


def test_a_relativistic_loss_knows_no_level():
    real, generated = torch.tensor(REAL), torch.tensor(GENERATED)
    for loss in (discriminator_loss, of_generator):
        level = loss("relativistic", real, generated)
        assert loss("relativistic", real + 7, generated + 7).item() == pytest.approx(level.item())
    assert (
        discriminator_loss("relativistic", real, generated).item()
        == of_generator("relativistic", generated, real).item()
    )


@pytest.mark.parametrize("kind", ["bce", "mse", "hinge"])
def test_only_a_loss_of_pairs_asks_for_real_images(kind):
    generator_loss(kind, lambda: pytest.fail("asked"), torch.tensor(GENERATED))


# -- gradient penalties ----------------------------------------------------------------------------


def test_the_penalty_of_a_linear_judge_is_its_weights_squared():
    torch.manual_seed(0)
    features = [torch.randn(5, 3, 2, 2), torch.randn(5, 7)]
    first, second = nn.Linear(12, 4), nn.Linear(7, 1)
    penalty = gradient_penalty(
        lambda maps: torch.cat([first(maps[0].flatten(1)), second(maps[1])], 1), features
    )
    # The slope of the sum of the four judgments is the sum of their weights.
    expected = first.weight.detach().sum(0).square().sum() + second.weight.detach().square().sum()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-6)
    penalty.backward()
    expected = 2 * first.weight.detach().sum(0, keepdim=True).expand(4, 12)
    torch.testing.assert_close(first.weight.grad, expected)
    assert first.bias.grad is None


def test_the_penalty_of_a_quadratic_judge_is_its_closed_form():
    torch.manual_seed(0)
    x = torch.randn(6, 4, dtype=torch.double)
    matrix = torch.randn(4, 4, dtype=torch.double, requires_grad=True)
    symmetric = matrix + matrix.T
    penalty = gradient_penalty(lambda seen: (seen[0] @ symmetric * seen[0]).sum(1) / 2, [x])
    slopes = (x @ symmetric).detach().numpy()
    assert penalty.item() == pytest.approx((slopes**2).sum(1).mean(), rel=1e-6)
    (gradient,) = torch.autograd.grad(penalty, matrix)
    # Mean of |S x|^2 with S = M + M^T: its slope with respect to M is C + C^T, C = 2 S E[x x^T].
    xs, s = x.numpy(), symmetric.detach().numpy()
    half = 2 * s @ (xs.T @ xs / len(xs))
    np.testing.assert_allclose(gradient.numpy(), half + half.T, rtol=1e-5)


def test_nothing_of_the_penalty_flows_back_to_where_the_features_came_from():
    source = torch.randn(3, 2, requires_grad=True)
    weight = torch.randn(2, requires_grad=True)
    gradient_penalty(lambda seen: seen[0].square() * weight, [2 * source]).backward()
    assert source.grad is None
    assert weight.grad is not None


def test_the_penalty_averages_images_and_is_taken_in_float32():
    x = torch.tensor([[1.0], [3.0]])
    assert gradient_penalty(lambda seen: seen[0].square(), [x]).item() == pytest.approx(
        (2**2 + 6**2) / 2
    )
    tiny = torch.full((2, 1000), 2.0**-12, dtype=torch.bfloat16)
    penalty = gradient_penalty(lambda seen: (seen[0] * 1.5).float().sum(1, keepdim=True), [tiny])
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(1000 * 1.5**2)


@pytest.mark.parametrize(
    ("images", "strength"),
    [(0, 1000.0), (50, 10**2.5), (100, 100.0), (150, 10**1.5), (200, 10.0), (10**9, 10.0)],
)
def test_the_strength_falls_geometrically_to_its_last(images, strength):
    config = LossConfig(penalty=1000.0, penalty_final=10.0, penalty_images=200)
    assert penalty_strength(config, images) == pytest.approx(strength)


def test_the_strength_may_be_constant_may_rise_and_stays_0():
    constant = LossConfig(penalty=5.0, penalty_final=5.0)
    rising = LossConfig(penalty=1.0, penalty_final=4.0, penalty_images=100)
    for images in (0, 1, 50, 10**6):
        assert penalty_strength(constant, images) == 5.0
        assert penalty_strength(LossConfig(), images) == 0
    assert penalty_strength(rising, 50) == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["bce", "mse", "hinge", "relativistic"])
def test_places_of_a_judgment_are_averaged_and_judgments_summed(kind):
    generator = torch.Generator().manual_seed(0)
    real, generated = torch.randn(2, 5, 4, 16, generator=generator)
    by_place = [(real[:, :, place], generated[:, :, place]) for place in range(real.shape[2])]
    for loss in (discriminator_loss, of_generator):
        expected = sum(loss(kind, *pair).item() for pair in by_place) / len(by_place)
        assert loss(kind, real, generated).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["wgan", "Hinge", "", None])
def test_an_unknown_loss_is_no_relativistic_one(kind):
    values = torch.zeros(2, 1)
    for loss in (discriminator_loss, of_generator):
        with pytest.raises(CatganError, match="choose from bce, mse, hinge, relativistic"):
            loss(kind, values, values)


def test_a_new_loss_is_a_function_in_each_table(monkeypatch):
    monkeypatch.setitem(
        losses.DISCRIMINATOR_LOSSES, "wasserstein", lambda real, fake: mean_loss(fake - real)
    )
    monkeypatch.setitem(
        losses.GENERATOR_LOSSES, "wasserstein", lambda real, fake: mean_loss(real - fake)
    )
    real, fake = torch.tensor(REAL), torch.tensor(GENERATED)
    expected = (GENERATED - REAL).sum(1).mean()
    losses.require_losses(LossConfig("wasserstein", "wasserstein"))
    assert discriminator_loss("wasserstein", real, fake).item() == pytest.approx(expected)
    assert of_generator("wasserstein", real, fake).item() == pytest.approx(-expected)


def test_both_tables_have_the_same_names():
    assert list(losses.DISCRIMINATOR_LOSSES) == list(losses.GENERATOR_LOSSES)
    assert set(losses.GENERATOR_LOSSES) > losses.WITHOUT_REAL_LOGITS
