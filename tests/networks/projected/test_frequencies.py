"""Block frequencies: against scipy's transform, their scale, and what they show."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from catgan.networks.projected.frequencies import (
    FREQUENCY_STD,
    Colors,
    Frequencies,
    cosine_transform,
)


def noise(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("block", [1, 2, 4, 8])
def test_the_transform_equals_scipy(block):
    pixels = np.random.default_rng(0).normal(size=(block, block))
    ours = cosine_transform(block).double().numpy() @ pixels.ravel()
    np.testing.assert_allclose(
        ours.reshape(block, block), scipy.fft.dctn(pixels, norm="ortho"), atol=1e-5
    )


def test_each_block_of_each_color_is_transformed():
    reals, images = noise(16, 16), noise(2, 16, seed=1)
    found = Frequencies(4, reals)(images)
    assert found.shape == (2, 3 * 16, 4, 4)
    green = scipy.fft.dctn(images[1, 1, 8:12, 4:8].double().numpy(), norm="ortho").ravel()
    of_reals = [
        scipy.fft.dctn(image[y : y + 4, x : x + 4], norm="ortho")
        for image in reals[:, 1].double().numpy()
        for y in range(0, 16, 4)
        for x in range(0, 16, 4)
    ]
    mean, std = np.mean(of_reals, 0).ravel(), np.std(of_reals, 0, ddof=1).ravel()
    expected = FREQUENCY_STD * (green - mean) / std
    np.testing.assert_allclose(found[1, 16:32, 2, 1].numpy(), expected, atol=1e-4)


def test_every_frequency_has_mean_0_and_the_target_std_over_real_images():
    std, mean = torch.std_mean(Frequencies(4, noise(16, 32))(noise(16, 32)), dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(48), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.full((48,), FREQUENCY_STD), atol=1e-5, rtol=0)


def test_faint_fine_lines_stand_out():
    smooth = torch.nn.functional.interpolate(noise(16, 4), size=(32, 32), mode="bicubic")
    reals = smooth + 0.01 * noise(16, 32)
    lined = reals.clone()
    lined[..., ::2] += 0.03  # a hundredth of the range
    frequencies = Frequencies(4, reals)
    change = (frequencies(lined) - frequencies(reals)).abs().amax((0, 2, 3)) / FREQUENCY_STD
    for color in range(3):
        assert change[16 * color + 3] > 2  # the finest along the row, in stds of the real images
        assert change[16 * color + 4] < 0.1  # one along the column


def test_constant_images_do_not_divide_by_zero():
    assert torch.isfinite(Frequencies(4, torch.zeros(2, 3, 16, 16))(noise(2, 16))).all()


def test_nothing_is_trained_and_the_scales_are_saved():
    frequencies = Frequencies(4, noise(2, 16))
    assert not list(frequencies.parameters())
    assert set(frequencies.state_dict()) == {"scale", "shift"}


def test_frequencies_stay_float32_under_autocast():
    frequencies, images = Frequencies(4, noise(4, 16)), noise(2, 16, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = frequencies(images)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, frequencies(images))


# -- colors ---------------------------------------------------------------------------------------


def test_colors_are_cell_means_with_std_1_over_real_images():
    reals, images = noise(64, 32), noise(2, 32, seed=1)
    found = Colors(2, reals)(images)
    assert found.shape == (2, 48, 2, 2)
    parts = images.unflatten(3, (8, 4)).unflatten(2, (8, 4)).mean((3, 5)).numpy()  # 8 x 8 of them
    of_reals = reals.unflatten(3, (8, 4)).unflatten(2, (8, 4)).mean((3, 5)).numpy()
    # Blue, third row and second column of the 4 x 4 cells of the lower left position.
    alike = of_reals[:, 2, 2::4, 1::4]
    expected = (parts[1, 2, 4 + 2, 1] - alike.mean()) / alike.std(ddof=1)
    assert found[1, 2 * 16 + 2 * 4 + 1, 1, 0].item() == pytest.approx(expected, abs=1e-4)
    std, mean = torch.std_mean(Colors(2, reals)(reals), dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(48), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones(48), atol=1e-5, rtol=0)


def test_colors_show_contrast_but_no_fine_lines():
    smooth = torch.nn.functional.interpolate(noise(16, 8), size=(32, 32), mode="bicubic")
    colors = Colors(2, smooth)
    lines = torch.tensor([0.2, -0.2]).repeat(16)
    torch.testing.assert_close(colors(smooth + lines), colors(smooth), atol=1e-4, rtol=0)
    more = colors(1.2 * (smooth - smooth.mean(0)) + smooth.mean(0))
    assert more.std() == pytest.approx(1.2 * colors(smooth).std().item(), rel=0.1)
