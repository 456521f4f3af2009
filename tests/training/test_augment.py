from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
import torch

from catgan.config import AugmentConfig
from catgan.errors import CatganError
from catgan.training import augment as augmentation
from catgan.training.augment import (
    AUGMENTATIONS,
    Augmentation,
    augment,
    augment_reals,
    views_of_each,
)
from catgan.training.streams import BatchRandom, Stream, torch_generator

NOTHING = AugmentConfig(flip=False)
EVERYTHING = AugmentConfig(
    flip=True,
    zoom=0.2,
    crop=0.1,
    color_jitter=0.3,
    sharpness=0.5,
    diffaugment_color=True,
    diffaugment_translation=True,
    diffaugment_cutout=True,
)
EACH = [
    dataclasses.replace(NOTHING, **{field.name: getattr(EVERYTHING, field.name)})
    for field in dataclasses.fields(AugmentConfig)
    if field.name != "views"  # only affects which augmentations of real images recur
]
RANGES = [(-1.0, 1.0), (0.0, 1.0)]


def stream(step=0):
    return BatchRandom(torch_generator(1, Stream.AUGMENT, step))


def random_images(count=8, side=32, low=-1.0, high=1.0):
    torch.manual_seed(3)
    return low + (high - low) * torch.rand(count, 3, side, side)


@pytest.mark.parametrize("config", [*EACH, EVERYTHING])
@pytest.mark.parametrize("pixel_range", RANGES)
def test_augmentations_are_pure_and_change_images(config, pixel_range):
    images = random_images(low=pixel_range[0], high=pixel_range[1])
    before = images.clone()
    first, again = (augment(images, config, stream(5), pixel_range) for _ in range(2))
    other = augment(images, config, stream(6), pixel_range)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, images)
    assert torch.equal(images, before)
    assert first.shape == images.shape


@pytest.mark.parametrize("config", [*EACH, EVERYTHING])
def test_differentiable(config):
    images = random_images(2, 16).double().mul(0.5).requires_grad_()
    augment(images, config, stream(), (-1, 1)).square().sum().backward()
    direction = torch.randn_like(images)
    step = 1e-6
    with torch.no_grad():
        ends = [
            augment(images + sign * step * direction, config, stream(), (-1, 1)).square().sum()
            for sign in (1, -1)
        ]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert (images.grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)
    assert images.grad.abs().sum() > 0


def test_no_augmentation_returns_the_images():
    images = random_images()
    assert augment(images, NOTHING, stream(), (-1, 1)) is images


@pytest.mark.parametrize("pixel_range", RANGES)
def test_both_pixel_ranges_get_the_same_augmentation(pixel_range):
    low, high = pixel_range
    unit = random_images(low=0.0)
    ours = augment(low + (high - low) * unit, EVERYTHING, stream(), pixel_range)
    reference = augment(unit, EVERYTHING, stream(), (0.0, 1.0))
    torch.testing.assert_close((ours - low) / (high - low), reference, rtol=0, atol=1e-5)


def test_flip_mirrors_about_half_and_nothing_else():
    images = random_images(400, 4)
    flipped = augmentation.flip(images, True, stream(), (-1, 1))
    mirrored = (flipped == images.flip(3)).all(dim=(1, 2, 3))
    same = (flipped == images).all(dim=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 150 < mirrored.sum() < 250


def test_crop_and_translate_shift_each_image_by_whole_pixels_within_reach():
    ramp = torch.arange(32.0).expand(64, 3, 32, 32)  # a pixel's value is its column
    for function, setting in ((augmentation.crop, 0.125), (augmentation.translate, True)):
        moved = function(ramp, setting, stream(), (-8.0, -6.0))
        shifts = (moved - ramp)[:, 0, 8:24, 8:24]
        assert shifts.unique().tolist() == list(range(-4, 5))
        assert (shifts == shifts[:, :1, :1]).all()
    assert (moved == -7.0).any()


def test_translate_fills_and_crop_reflects_what_comes_in():
    images = torch.ones(50, 3, 16, 16)
    assert (augmentation.crop(images, 0.25, stream(), (-1, 1)) == 1).all()
    translated = augmentation.translate(images, True, stream(), (-1, 1))
    assert set(translated.unique().tolist()) == {0.0, 1.0}


def test_cutout_covers_a_square_of_half_the_side_clipped_at_the_border():
    covered = augmentation.cutout(torch.ones(200, 3, 32, 32), True, stream(), (-1, 1)) == 0
    area = covered[:, 0].float().mean(dim=(1, 2))
    assert area.max().item() == pytest.approx(0.25, abs=0.02)
    assert area.min().item() < 0.2
    assert (covered[:, :1] == covered).all()
    for mask in covered[:, 0]:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.all()


def test_color_equals_its_description():
    images = random_images(4, 8, 0.0, 1.0)
    one, zero = torch.ones(4, 1, 1, 1), torch.zeros(4, 1, 1, 1)
    color = augmentation.color
    torch.testing.assert_close(color(images, 0.0, one, one, 0.0), images)
    torch.testing.assert_close(color(images, 0.25, one, one, 0.0), images + 0.25)
    torch.testing.assert_close(color(images, 0.0, one, one, 0.0, scale=2 * one), 2 * images)
    flat = color(images, 0.0, zero, one, 0.0)
    torch.testing.assert_close(flat, images.mean((1, 2, 3), keepdim=True).expand_as(flat))
    gray = color(images, 0.0, one, zero, 0.0)
    assert (gray.max(1).values - gray.min(1).values).max() < 1e-6


def test_sharpness_leaves_constants_alone_and_goes_both_ways():
    flat = torch.full((8, 3, 16, 16), 0.3)
    torch.testing.assert_close(augmentation.sharpness(flat, 1.0, stream(), (0, 1)), flat)
    images = random_images(200, 16)
    changed = augmentation.sharpness(images, 0.5, stream(), (-9, 9))  # a range that clips nothing
    contrast = changed.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    assert contrast.min() < 0.6
    assert contrast.max() > 1.4
    untouched = (changed - images).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert 70 < untouched.sum() < 130


# -- the table -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WithUpsideDown(AugmentConfig):
    upside_down: float = 0.0  # probability


def turn_upside_down(images, probability, random, pixel_range):
    turned = random.uniform(len(images)) < probability
    return torch.where(turned[:, None, None, None], images.flip(2), images)


def test_every_setting_has_a_line_in_the_table_in_the_same_order():
    settings = [field.name for field in dataclasses.fields(AugmentConfig)]
    assert [*AUGMENTATIONS, "views"] == settings


def test_an_augmentation_is_one_line_in_the_table(monkeypatch):
    config = WithUpsideDown(upside_down=1.0, flip=False)
    images = random_images()
    line = Augmentation(turn_upside_down, cacheable=False)
    monkeypatch.setitem(AUGMENTATIONS, "upside_down", line)
    assert torch.equal(augment(images, config, stream(), (-1, 1)), images.flip(2))
    assert views_of_each(config) == 0
    _, ids = augment_reals(images, torch.arange(8), config, stream(), (-1, 1), 0)
    assert ids is None


def test_ids_tell_apart_the_views_of_all_cacheable_augmentations(monkeypatch):
    config = WithUpsideDown(upside_down=0.5)
    line = Augmentation(turn_upside_down, cacheable=True)
    monkeypatch.setitem(AUGMENTATIONS, "upside_down", line)
    assert views_of_each(config) == 4
    images, pixels_of_id = random_images(5, 8), {}
    for step in range(40):
        which = torch.tensor([4, 0, 2])
        views, ids = augment_reals(images[which], which, config, stream(step), (-1, 1), 0)
        for view, view_id in zip(views, ids.tolist(), strict=True):
            assert torch.equal(view, pixels_of_id.setdefault(view_id, view))
    assert sorted(pixels_of_id) == [*range(4), *range(8, 12), *range(16, 20)]
    assert len({tuple(view.flatten().tolist()) for view in pixels_of_id.values()}) == 12


def test_a_setting_that_is_not_in_the_table_raises():
    images = random_images()
    for call in (
        lambda: augment(images, WithUpsideDown(), stream(), (-1, 1)),
        lambda: views_of_each(WithUpsideDown()),
    ):
        with pytest.raises(CatganError, match="no augmentation 'upside_down': choose from flip, "):
            call()
