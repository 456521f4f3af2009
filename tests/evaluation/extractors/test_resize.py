from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from catgan.evaluation.extractors.resize import RULES, fingerprint_name, resize_matrix

torch = pytest.importorskip("torch")

from catgan.evaluation.extractors.extractor import Resizer  # noqa: E402


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)


def pillow(image: np.ndarray, size: int, method: Image.Resampling) -> np.ndarray:
    planes = [
        Image.fromarray(image[:, :, channel].astype(np.float32)).resize((size, size), method)
        for channel in range(3)
    ]
    return np.stack([np.asarray(plane) for plane in planes])


@pytest.mark.parametrize("size", [260, 299, 64, 41, 17, 40])
def test_clean_equals_clipped_pillow_float_bicubic(images: np.ndarray, size: int) -> None:
    resized = Resizer("clean", size, torch.device("cpu"))(images).numpy()
    for image, found in zip(images, resized, strict=True):
        expected = pillow(image, size, Image.Resampling.BICUBIC).clip(0, 255)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * 255)


def test_clean_clips_its_overshoot_without_rounding() -> None:
    """The rule of clean-fid: float, both axes, then 0..255; the fingerprint's version pins it."""
    edge = np.zeros((1, 16, 16, 3), np.uint8)
    edge[:, :, 8:] = 255
    resized = Resizer("clean", 40, torch.device("cpu"))(edge).numpy()
    assert pillow(edge[0], 40, Image.Resampling.BICUBIC).max() > 260
    assert resized.min() == 0
    assert resized.max() == 255
    assert np.abs(resized - np.rint(resized)).max() > 0.2
    assert fingerprint_name("clean") == "clean-2"
    assert [fingerprint_name(rule) for rule in RULES if rule != "clean"] == list(RULES[1:])


@pytest.mark.parametrize("size", [80, 23])
def test_pytorch_equals_interpolate(images: np.ndarray, size: int) -> None:
    resized = Resizer("pytorch", size, torch.device("cpu"))(images)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(
        planes, (size, size), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(resized.numpy(), expected.numpy(), rtol=1e-4, atol=1e-3)


def test_tensorflow_samples_from_the_top_left_corner() -> None:
    np.testing.assert_allclose(
        resize_matrix("tensorflow", 2, 4), [[1, 0], [0.5, 0.5], [0, 1], [0, 1]]
    )


def test_area_is_the_mean_over_each_target_pixel(images: np.ndarray) -> None:
    np.testing.assert_allclose(
        resize_matrix("area", 3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], atol=1e-12
    )
    square = images[:, :40, :40]
    resized = Resizer("area", 20, torch.device("cpu"))(square).numpy()
    expected = square.reshape(3, 20, 2, 20, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(resized, expected, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("source", "target"), [(128, 260), (128, 64), (97, 64), (50, 64), (1, 5)])
def test_flat_images_stay_flat(rule: str, source: int, target: int) -> None:
    matrix = resize_matrix(rule, source, target)  # type: ignore[arg-type]
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_same_size_changes_nothing(rule: str) -> None:
    np.testing.assert_allclose(
        resize_matrix(rule, 9, 9),  # type: ignore[arg-type]
        np.eye(9),
        atol=1e-12,
    )
