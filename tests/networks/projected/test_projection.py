"""Projected features: shapes, statistics and saved state."""

from __future__ import annotations

import copy
import math

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from catgan.networks.layers.frozen import freeze
from catgan.networks.projected import projection as projection_module
from catgan.networks.projected.projection import CHANNELS, Projection, _standardize

REALS = 8


def random_images(count, side, seed=0):
    """Return smooth blobs of color in [-1, 1]."""
    coarse = torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(side, side), mode="bicubic").tanh()


def build(side=128, *, reals=None, precision=torch.float32, seed=0):
    torch.manual_seed(seed)
    return Projection(side, random_images(REALS, side) if reals is None else reals, precision)


@pytest.fixture(scope="module", autouse=True)
def projection(processor):
    return build()


@torch.no_grad()
def test_fine_lines_do_not_alias_to_coarse_ones(projection):
    """The first layer halves the side: without a filter these three periods alias to one."""
    phase = 2 * math.pi * torch.arange(128) / 8

    def lines(periods):
        return 0.05 * torch.cos(periods * phase).expand(1, 3, 128, 128)

    gray = projection(torch.zeros(1, 3, 128, 128))
    fine, coarse = projection(lines(3)), projection(lines(1))
    for nothing, small, large in zip(gray, fine, coarse, strict=True):
        assert (small - nothing).square().mean() < 0.4 * (large - nothing).square().mean()


@pytest.mark.parametrize("side", [128, 256])
def test_four_maps_of_the_stated_sides_and_channels(side, projection):
    projection = projection if side == 128 else build(256, reals=random_images(2, 256))
    with torch.no_grad():
        maps = projection(random_images(2, side, seed=1))
    assert [x.shape for x in maps] == [
        (2, channels, side // stride, side // stride)
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def test_every_channel_has_mean_0_and_std_1_over_the_real_images(projection):
    for x in projection(random_images(REALS, 128)):
        deviation, mean = torch.std_mean(x, dim=(0, 2, 3))
        assert mean.abs().max() < 2e-3
        assert (deviation - 1).abs().max() < 2e-3


def test_statistics_do_not_depend_on_the_chunk_size(projection, monkeypatch):
    monkeypatch.setattr("catgan.networks.projected.projection._CHUNK", 5)
    other = build()
    state = projection.state_dict()
    assert other.state_dict().keys() == state.keys()
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("constant", [1, 3])
def test_a_nearly_constant_channel_is_not_divided_by_its_std(constant):
    """`still` of three channels do not vary."""
    convolution = torch.nn.Conv2d(3, 3, 1)
    convolution.weight.data.copy_(torch.eye(3)[:, :, None, None])
    torch.nn.init.zeros_(convolution.bias)
    freeze(convolution)
    inputs = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    inputs[:, :constant] = 2.0
    _standardize(convolution, inputs)
    found = convolution(inputs)
    assert torch.isfinite(found).all()
    assert found[:, :constant].abs().max() < 1e-2
    if constant < 3:
        assert found[:, constant:].std().item() == pytest.approx(1, abs=0.01)


def test_mixing_weights_depend_on_the_global_seed(projection):
    images = random_images(2, 128, seed=1)
    same, other = build(), build(seed=1)
    for x, y, z in zip(projection(images), same(images), other(images), strict=True):
        assert torch.equal(x, y)
        assert (x - z).abs().mean() > 0.1


def test_coarse_maps_influence_finer_ones_only(projection):
    """A change of the coarsest map reaches all maps, one of the finest only itself."""
    features = projection._backbone_features(random_images(1, 128), 128)
    maps = projection._mix(features)

    def changed(level):
        poked = [x + 1.0 if index == level else x for index, x in enumerate(features)]
        pairs = zip(maps, projection._mix(poked), strict=True)
        return [not torch.equal(x, y) for x, y in pairs]

    assert changed(3) == [True, True, True, True]
    assert changed(1) == [True, True, False, False]
    assert changed(0) == [True, False, False, False]


@pytest.mark.parametrize("side", [64, 256])
def test_images_of_another_size_are_resized(side, projection):
    images = random_images(2, side, seed=1)
    resized = F.interpolate(images, size=(128, 128), mode="bilinear", antialias=True)
    for x, y in zip(projection(images), projection(resized), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


def test_features_of_an_image_do_not_depend_on_the_batch(projection):
    images = random_images(4, 128, seed=1)
    changed = images.clone()
    changed[2] = -changed[2]
    for x, y in zip(projection(images), projection(changed), strict=True):
        torch.testing.assert_close(x[[0, 1, 3]], y[[0, 1, 3]], rtol=1e-4, atol=1e-4)
        assert (x[2] - y[2]).abs().mean() > 0.1


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradients_reach_every_pixel_in_every_precision(side, precision, projection, request):
    if precision == torch.bfloat16:
        request.getfixturevalue("bfloat16")
    if precision == torch.bfloat16:
        projection = build(precision=precision)
    images = random_images(2, side, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        maps = projection(images)
    assert {x.dtype for x in maps} == {precision}
    for x in maps:
        (gradient,) = torch.autograd.grad(x.float().square().sum(), images, retain_graph=True)
        assert gradient.dtype == torch.float32
        assert torch.isfinite(gradient).all()
        assert (gradient.abs().sum(1) > 0).float().mean() > 0.9


def test_bfloat16_features_are_close_to_float32(bfloat16, projection):
    images = random_images(2, 128, seed=1)
    for x, y in zip(projection(images), build(precision=torch.bfloat16)(images), strict=True):
        correlation = torch.corrcoef(torch.stack([x.flatten(), y.float().flatten()]))[0, 1]
        assert correlation > 0.97


def test_chunks_change_neither_features_nor_gradients(projection, monkeypatch):
    found = []
    for pixels in (10**9, 2 * 128**2):
        monkeypatch.setattr(projection_module, "MAX_PIXELS", pixels)
        images = random_images(5, 64, seed=1).requires_grad_()
        maps = projection(images)
        loss = sum(x.square().sum() for x in maps)
        found.append([*(x.detach() for x in maps), *torch.autograd.grad(loss, images)])
    for whole, chunked in zip(*found, strict=True):
        if whole.shape[1] != 3:  # maps, whose memory layout the heads expect
            assert chunked.is_contiguous(memory_format=torch.channels_last)
        largest = whole.abs().max().item()  # kernels for other batch sizes round differently
        torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("resolution", [32, 64, 256])
def test_eyes_are_left_beside_mirrored_right(resolution, projection):
    """The maps are those of the two windows, cut out and enlarged here by their definition."""
    images = random_images(2, resolution, seed=1)
    side = 5 * resolution // 16
    rows = slice(side, 2 * side)
    edge = 3 * resolution // 16
    left = images[:, :, rows, edge : edge + side]
    right = images[:, :, rows, edge + side : edge + 2 * side].flip(3)
    expected = [
        projection(F.interpolate(eye, size=(128, 128), mode="bicubic"))[1:] for eye in (left, right)
    ]
    maps = projection.eyes(images)
    for x, channels, pixels, *halves in zip(maps, CHANNELS[1:], (16, 8, 4), *expected, strict=True):
        assert x.shape == (2, 2 * channels, pixels, pixels)
        assert x.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(x, torch.cat(halves, 1), rtol=1e-4, atol=1e-4)


def test_eyes_of_a_symmetric_face_are_equal(projection):
    images = random_images(2, 64, seed=1)
    images = images + images.flip(3)
    for x in projection.eyes(images):
        left, right = x.chunk(2, 1)
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_eyes_depend_on_their_windows_alone(projection):
    images = random_images(1, 64, seed=1).requires_grad_()
    sum(x.square().sum() for x in projection.eyes(images)).backward()
    reached = images.grad.abs().sum(1)[0] > 0
    assert reached[20:40, 12:52].all()
    assert reached.sum() == 20 * 40


def test_nothing_in_it_is_trained(projection):
    assert list(projection.parameters()) == []
    assert not any(module.training for module in projection.network.modules())
    holder = torch.nn.ModuleDict({"projection": projection}).train().requires_grad_(True)
    assert not any(buffer.requires_grad for buffer in holder.buffers())
    projection(random_images(1, 128))[0].sum()  # builds no graph
    assert not projection(random_images(1, 128))[0].requires_grad


def test_the_state_holds_the_mixing_weights_and_restores_exactly(projection):
    state = projection.state_dict()
    assert {name.split(".")[0] for name in state} == {"across_channels", "across_scales"}
    assert len(state) == 2 * 2 * len(CHANNELS)
    data = safetensors.torch.save({name: x.contiguous() for name, x in state.items()})
    other = build(seed=5, reals=random_images(3, 128, seed=9))
    images = random_images(2, 128, seed=1)
    assert not torch.equal(other(images)[0], projection(images)[0])
    other.load_state_dict(safetensors.torch.load(data))
    for x, y in zip(projection(images), other(images), strict=True):
        assert torch.equal(x, y)


def test_a_deep_copy_is_independent(projection):
    images = random_images(1, 128)
    assert torch.equal(copy.deepcopy(projection)(images)[0], projection(images)[0])
