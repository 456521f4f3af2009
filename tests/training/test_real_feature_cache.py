from __future__ import annotations

from unittest import mock

import pytest
import torch

from catgan.config import AugmentConfig
from catgan.network_config import ProjectedConfig
from catgan.networks.build import build_discriminator
from catgan.training import real_feature_cache as memory_module
from catgan.training.augment import augment_reals
from catgan.training.real_feature_cache import RealFeatureCache
from catgan.training.streams import BatchRandom, Stream, torch_generator

CPU = torch.device("cpu")
ONLY_FLIP = AugmentConfig(flip=True)


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(2)
    return torch.rand(5, 3, 64, 64, generator=random) * 2 - 1


@pytest.fixture(scope="module")
def discriminator(images):
    torch.manual_seed(0)
    config = ProjectedConfig(64, feature_resolution=128)
    return build_discriminator(config, lambda: images, torch.float32)


def view_ids(chosen, mirrored):
    return 2 * chosen + torch.tensor(mirrored)


def looks(discriminator):
    """Count the images that pass the frozen backbone."""
    counted = []

    def count_pass(augmented):
        assert len(augmented) in (5, memory_module.CHUNK_SIZE)
        counted.extend(augmented.flatten(1).unique(dim=0))
        return projection(augmented)

    projection = discriminator.projection.forward
    return mock.patch.object(discriminator.projection, "forward", count_pass), counted


@torch.no_grad()
def test_each_image_and_mirror_image_passes_the_backbone_once(discriminator, images):
    cache = RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU)
    patch, counted = looks(discriminator)
    for numbers, turned in (
        ([0, 1, 2], [False, False, True]),
        ([2, 1, 0], [True, False, True]),  # new: 0 mirrored
        ([0, 0, 2, 2], [False, True, False, True]),  # new: 2 as it is
        ([1, 0, 2], [False, True, False]),
    ):
        chosen, mirrored = torch.tensor(numbers), torch.tensor(turned)[:, None, None, None]
        augmented = torch.where(mirrored, images[chosen].flip(3), images[chosen])
        with patch:
            seen = cache.features(augmented, view_ids(chosen, turned))
        for ours, expected in zip(seen, discriminator.features(augmented), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert len(counted) == 5


@torch.no_grad()
def test_features_do_not_depend_on_batch_or_order(discriminator, images):
    together, alone = (RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU) for _ in range(2))
    everything = together.features(images, 2 * torch.arange(5))
    for number in (3, 0, 4):
        one = images[number : number + 1]
        seen = alone.features(one, torch.tensor([2 * number]))
        for ours, expected in zip(seen, everything, strict=True):
            assert torch.equal(ours[0], expected[number])


@pytest.mark.parametrize(
    "augmentation", [AugmentConfig(crop=0.1), AugmentConfig(flip=False, diffaugment_color=True)]
)
def test_views_that_never_recur_are_not_cached(discriminator, images, augmentation):
    cache = RealFeatureCache(discriminator, augmentation, 5, CPU)
    patch, counted = looks(discriminator)
    with patch:
        for step in range(2):
            random = BatchRandom(torch_generator(0, Stream.AUGMENT, step))
            augmented = augment_reals(images, torch.arange(5), augmentation, random, (-1, 1), 0)
            cache.features(*augmented)
    assert len(counted) == 10


@torch.no_grad()
def test_maps_of_eyes_are_cached_too(images):
    config = ProjectedConfig(64, feature_resolution=128, eye_heads=True)
    discriminator = build_discriminator(config, lambda: images, torch.float32)
    cache = RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU)
    ids = view_ids(torch.tensor([0, 1, 2]), [False, False, False])
    first = cache.features(images[:3], ids)
    with mock.patch.object(discriminator, "projected", side_effect=AssertionError):
        again = cache.features(images[:3], ids)  # without a pass of the backbone
    expected = discriminator.features(images[:3])
    assert len(first) == len(again) == len(expected) == 7
    for x, y, z in zip(first, again, expected, strict=True):
        assert torch.equal(x, y)
        torch.testing.assert_close(x, z, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_each_fixed_view_passes_the_backbone_once(discriminator, images):
    augmentation = AugmentConfig(zoom=0.3, views=3)
    cache = RealFeatureCache(discriminator, augmentation, 5, CPU)
    patch, counted = looks(discriminator)
    with patch:
        for step in range(40):
            random = BatchRandom(torch_generator(0, Stream.AUGMENT, step))
            augmented, known = augment_reals(
                images, torch.arange(5), augmentation, random, (-1, 1), 0
            )
            seen = cache.features(augmented, known)
    assert len(counted) == 15
    for ours, expected in zip(seen, discriminator.features(augmented), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_generated_images_get_gradients(discriminator, images):
    augmented = images.clone().requires_grad_()
    seen = RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU).features(augmented, None)
    (gradient,) = torch.autograd.grad(sum(x.sum() for x in seen), augmented)
    assert gradient.abs().sum() > 0


def give_room(monkeypatch, discriminator, views):
    """Limit the cache to this many views."""
    maps = RealFeatureCache(discriminator, ONLY_FLIP, 1, CPU).maps
    monkeypatch.setattr(memory_module, "MAX_BYTES", views * sum(4 * m[0].numel() for m in maps))


# Of 10 views, the even ones occur: 0 to 8.
@pytest.mark.parametrize(("room", "expected"), [(10, 5), (9, 5), (8, 6), (5, 7), (3, 8), (2, 10)])
def test_views_are_cached_if_a_quarter_fits(discriminator, images, monkeypatch, room, expected):
    give_room(monkeypatch, discriminator, room)
    cache = RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU)
    patch, counted = looks(discriminator)
    with patch:
        for _ in range(2):
            cache.features(images, 2 * torch.arange(5))
    assert len(counted) == expected


@torch.no_grad()
def test_features_do_not_depend_on_the_cache_size(discriminator, images, monkeypatch):
    views = torch.tensor([0, 8, 4, 0, 6])
    augmented = images[views // 2]
    whole = RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU)
    give_room(monkeypatch, discriminator, 5)
    part = RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU)
    for _ in range(2):
        for ours, expected in zip(
            part.features(augmented, views), whole.features(augmented, views), strict=True
        ):
            assert torch.equal(ours, expected)


def test_the_cache_takes_at_most_a_quarter_of_memory(discriminator, monkeypatch):
    give_room(monkeypatch, discriminator, 8)
    total = 4 * 6 / 8 * memory_module.MAX_BYTES
    machine = mock.Mock(total=int(total))
    monkeypatch.setattr(memory_module.psutil, "virtual_memory", lambda: machine)
    assert len(RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU).maps[0]) == 6


@pytest.mark.parametrize(("processes", "kept"), [("1", 10), ("2", 5)])
def test_processes_of_a_machine_divide_the_cache_limit(discriminator, monkeypatch, processes, kept):
    give_room(monkeypatch, discriminator, 10)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert len(RealFeatureCache(discriminator, ONLY_FLIP, 5, CPU).maps[0]) == kept
