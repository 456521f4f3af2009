"""Eigenfaces: an independent principal component analysis, and what details cannot change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from catgan.networks.projected.eigenfaces import Eigenfaces


def images_like_faces(count, side, seed=0):
    """One coarse image for all, three ways to differ from it, and fine noise."""
    draws = torch.Generator().manual_seed(seed)
    bases = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(9))
    coarse = F.interpolate(bases, size=(side, side), mode="bicubic")
    amounts = torch.randn(count, 3, generator=draws) * torch.tensor([0.2, 0.1, 0.05])
    images = 0.2 * coarse[3] + torch.einsum("nk,kchw->nchw", amounts, coarse[:3])
    return (images + 0.02 * torch.randn(images.shape, generator=draws)).clamp(-1, 1)


@pytest.fixture
def learnt(monkeypatch):
    """300 images of 32 pixels, and the 24 strongest components of their coarse parts.

    Of these, 8 are decorrelated.
    """
    monkeypatch.setattr("catgan.networks.projected.eigenfaces.DECORRELATED_COMPONENTS", 8)
    images = images_like_faces(300, 32)
    torch.manual_seed(0)
    eigenfaces = Eigenfaces(32, 25)
    eigenfaces.learn(images.split(100))
    return images, eigenfaces


def noise(count, seed, size=25):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_mean_and_components_are_those_of_a_singular_value_decomposition(learnt):
    images, eigenfaces = learnt
    unit = np.eye(8, dtype=np.float32)[:, None, :, None]
    enlarging = F.interpolate(torch.from_numpy(unit), size=(32, 1), mode="bicubic")[:, 0, :, 0]
    enlarging = enlarging.numpy().T.astype(np.float64)  # (32, 8)

    def fit(columns):
        return np.linalg.lstsq(enlarging, columns, rcond=None)[0]

    both = torch.cat([images, images.flip(3)]).double().numpy()
    coarse = np.array([[fit(fit(color).T).T for color in image] for image in both])
    seen = np.arctanh(np.clip(coarse, -0.95, 0.95)).reshape(len(both), -1)
    np.testing.assert_allclose(eigenfaces.mean.numpy(), seen.mean(0), atol=1e-4)
    _, values, directions = np.linalg.svd(seen - seen.mean(0), full_matrices=False)
    found = eigenfaces.components.double().numpy()
    for ours, theirs in zip(found[:6], directions[:6], strict=True):
        assert min(np.abs(ours - theirs).max(), np.abs(ours + theirs).max()) < 2e-3
    np.testing.assert_allclose(found @ found.T, np.eye(24), atol=1e-5)
    deviations = eigenfaces.stds.double().numpy()
    np.testing.assert_allclose(deviations, values[:24] / 600**0.5, rtol=0.02)


def test_whatever_the_details_are_the_images_coarse_mean_and_deviation_are_the_photos(learnt):
    images, eigenfaces = learnt
    photos = eigenfaces._low_res_part(torch.cat([images, images.flip(3)])).clamp(-0.95, 0.95)
    wild = 0.1 + 0.3 * images_like_faces(4000, 32, seed=5) * noise(4000, 6, 1)[..., None, None]
    for details in (torch.zeros(4000, 3, 32, 32), wild):
        procedural = eigenfaces(noise(4000, 3), details)
        assert procedural.abs().max() < 1
        small = eigenfaces._low_res_part(procedural.atanh()), photos.atanh()
        amounts = [x.flatten(1) @ eigenfaces.components.T for x in small]
        torch.testing.assert_close(amounts[0].std(0), amounts[1].std(0), atol=0.02, rtol=0.1)
        torch.testing.assert_close(amounts[0].mean(0), amounts[1].mean(0), atol=0.05, rtol=0)


def test_how_much_images_differ_in_the_strength_of_all_amounts_is_learnt_and_drawn():
    draws = np.random.default_rng(0)
    bases = draws.standard_normal((200, 3, 8, 8))
    enlarging = Eigenfaces(32, 2).enlarging.double().numpy()
    amounts = draws.standard_normal((2000, 200)) * 0.005
    for spread in (0.0, 0.3):
        strength = np.exp(spread * draws.standard_normal((2000, 1)))
        small = np.tanh(np.einsum("nk,kcyx->ncyx", strength * amounts, bases))
        images = torch.from_numpy(enlarging @ small @ enlarging.T).float()
        eigenfaces = Eigenfaces(32, 3 * 8**2 + 1)
        eigenfaces.learn(images.split(500))
        assert float(eigenfaces.log_strength_std) == pytest.approx(spread, abs=0.03)
        procedural = eigenfaces.low_res(noise(2000, 1, 193)).flatten(1).double().numpy()
        for seen in (small.reshape(2000, -1), procedural):
            level = np.log(seen.std(1))
            assert level.std() == pytest.approx(np.hypot(spread, 0.055), abs=0.03)
        np.testing.assert_allclose(procedural.std(), np.arctanh(small).std(), rtol=0.03)


def test_fine_details_are_drawn_as_they_are_and_coarse_ones_move_the_amounts(learnt):
    _, eigenfaces = learnt
    eigenfaces.eval()
    style = noise(4, 4)
    style[:, -1] = eigenfaces.log_strength_std  # amounts as they are, neither stronger nor fainter
    plain = torch.atanh(eigenfaces(style, torch.zeros(4, 3, 32, 32)).double())
    lines = torch.zeros(4, 3, 32, 32)
    lines[..., ::2], lines[..., 1::2] = 0.2, -0.2
    fine = torch.atanh(eigenfaces(style, lines).double()) - plain
    torch.testing.assert_close(fine[..., 4:-4], lines[..., 4:-4].double(), atol=0.05, rtol=0)
    strongest = eigenfaces._as_images(eigenfaces.components[:1] * eigenfaces.stds[0])
    details = eigenfaces.enlarging @ strongest @ eigenfaces.enlarging.T
    more = style.clone()
    more[:, 0] += 1
    torch.testing.assert_close(
        eigenfaces(style, details.expand(4, -1, -1, -1)),
        eigenfaces(more, torch.zeros(4, 3, 32, 32)),
        atol=1e-4,
        rtol=0,
    )


def correlated(count, seed):
    """Amounts of which the first three have something in common, of mean 0.3 and deviation 2."""
    amounts = noise(count, seed, 24).double()
    amounts[:, 1] += 0.8 * amounts[:, 0]
    amounts[:, 2] -= 0.5 * amounts[:, 1]
    return (2 * amounts + 0.3).float()


def test_what_the_strongest_amounts_have_in_common_is_taken_away_in_drawing_alone(learnt):
    _, eigenfaces = learnt
    given = correlated(5000, 7)
    eigenfaces.norm.forward = lambda amounts: given[:, :, None, None]
    zeros = torch.zeros(5000, 3, 32, 32)

    def procedural():
        small = eigenfaces._low_res_part(eigenfaces(noise(5000, 3), zeros).double().atanh().float())
        amounts = (small.flatten(1) - eigenfaces.mean) @ eigenfaces.components.T
        return amounts / eigenfaces.stds

    eigenfaces.decorrelate(correlated(20_000, 8))
    torch.testing.assert_close(procedural()[:, :8], given[:, :8], rtol=0, atol=0.05)  # in training
    eigenfaces.eval()
    found = procedural()
    torch.testing.assert_close(torch.cov(found[:, :8].T), torch.eye(8), rtol=0, atol=0.06)
    torch.testing.assert_close(found[:, :8].mean(0), torch.zeros(8), rtol=0, atol=0.06)
    torch.testing.assert_close(found[:, 8:16], given[:, 8:16], rtol=0, atol=0.05)
    strongest = np.corrcoef(found[:, 0].numpy(), given[:, 0].numpy())[0, 1]
    assert strongest > 0.999  # only the weaker ones give way
    eigenfaces.decorrelate(torch.ones(100, 24))  # cats that are all the same
    assert torch.isfinite(eigenfaces.decorrelation).all()


def test_the_small_images_are_those_that_the_style_alone_gives(learnt):
    _, eigenfaces = learnt
    eigenfaces.eval()
    style = noise(3, 4)
    procedural = eigenfaces(style, torch.zeros(3, 3, 32, 32))
    expected = torch.tanh(eigenfaces.enlarging @ eigenfaces.low_res(style) @ eigenfaces.enlarging.T)
    torch.testing.assert_close(procedural, expected, atol=1e-4, rtol=0)


def test_details_are_given_gradients_and_nothing_here_is_trained(learnt):
    _, eigenfaces = learnt
    assert list(eigenfaces.parameters()) == []
    details = torch.zeros(4, 3, 32, 32, requires_grad=True)
    eigenfaces(noise(4, 2), details)[0, 0, 10, 10].backward()
    assert details.grad.abs().max() > 0.1


def test_fewer_images_than_components_and_more_noise_than_numbers_are_fine():
    few = Eigenfaces(32, 25)
    few.learn([images_like_faces(2, 32)])
    many = Eigenfaces(32, 3 * 8**2 + 11)
    many.learn([images_like_faces(20, 32)])
    assert many.components.shape == (192, 192)
    black = Eigenfaces(32, 25)
    black.learn([-torch.ones(3, 3, 32, 32)])
    for eigenfaces in (few, many, black):
        size = eigenfaces.count + (11 if eigenfaces is many else 1)
        details = 0.1 * torch.randn(4, 3, 32, 32)
        assert torch.isfinite(eigenfaces(noise(4, 1, size), details)).all()
    assert black.low_res(noise(1, 1)).tanh().mean() == pytest.approx(-0.95, abs=0.01)


def test_what_was_learnt_is_in_the_state(learnt):
    _, eigenfaces = learnt
    again = Eigenfaces(32, 25)
    again.load_state_dict(eigenfaces.state_dict())
    details = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval()(noise(2, 1), details), eigenfaces.eval()(noise(2, 1), details))


@pytest.mark.parametrize(("resolution", "side"), [(32, 8), (64, 16), (128, 32), (256, 32)])
def test_coarse_images_are_small_beside_the_image(resolution, side):
    assert Eigenfaces(resolution, 4).side == side
