from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from shared_data import real_photos

torch = pytest.importorskip("torch")

from catgan.data.faces.find import CATS, CLASSIFIED_AT, DOGS  # noqa: E402
from catgan.data.faces.gates import Gates  # noqa: E402
from catgan.data.reading.images import center_square, resize  # noqa: E402
from catgan.networks.efficientnet_lite import LITE0  # noqa: E402
from catgan.networks.imagenet import imagenet_classifier  # noqa: E402

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(LITE0.package.replace("-", "_")) is None,
    reason=f"{LITE0.package} is not installed: the classifier was NOT tested",
)


@pytest.fixture(scope="module")
def classify():
    with imagenet_classifier() as function:
        yield function


def squares(photos: list[np.ndarray]) -> np.ndarray:
    return np.stack([resize(center_square(photo)[0], CLASSIFIED_AT) for photo in photos])


def test_probabilities_and_maps(classify):
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    probabilities, maps = classify(images)
    assert (probabilities.shape, maps.shape) == ((3, 1000), (3, 320, 7, 7))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    # The result does not depend on the rest of the batch or on other threads.
    with ThreadPoolExecutor(3) as pool:
        alone = list(pool.map(lambda number: classify(images[number : number + 1])[0][0], range(3)))
    np.testing.assert_allclose(np.stack(alone), probabilities, atol=1e-5)


def test_the_thread_count_is_restored():
    before = torch.get_num_threads()
    with imagenet_classifier() as function:
        function(np.zeros((1, 224, 224, 3), np.uint8))
    assert torch.get_num_threads() == before


def test_real_cats_are_classified_as_cats(classify):
    cats = squares(real_photos("afhq-cat-256.zip", "", 16))
    probabilities, _ = classify(cats)
    assert (probabilities[:, CATS].sum(axis=1) >= Gates().cat).mean() >= 0.9
    assert (probabilities[:, DOGS].sum(axis=1) < 0.3).mean() >= 0.9


def test_real_dogs_are_classified_as_dogs(classify):
    """Tests the order of ImageNet's classes."""
    dogs = squares(real_photos("whole-photos.zip", "dog/", 16))
    probabilities, _ = classify(dogs)
    assert (probabilities[:, CATS].sum(axis=1) < Gates().cat).mean() >= 0.9
    assert (probabilities[:, DOGS].sum(axis=1) > 0.3).mean() >= 0.75
