"""Classify images with EfficientNet-Lite0: ImageNet probabilities, and the last feature map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from catgan.networks import efficientnet_lite

Classifier = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@contextmanager
def imagenet_classifier() -> Iterator[Classifier]:
    """Yield a function that classifies uint8 images N x 224 x 224 x 3.

    It returns the probabilities of the ImageNet classes, float32 N x 1000, and the feature map of
    stride 32, N x 320 x 7 x 7. Many threads may call it at once, and each computes alone: torch
    uses one thread until the context ends.

    Raises:
        CatganError: the package with the weights is missing or damaged.
    """
    network = efficientnet_lite.load(efficientnet_lite.LITE0)
    threads = torch.get_num_threads()

    def classify(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch.set_num_threads(1)  # the setting is per calling thread
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            last = network.features(pixels)[-1]
            logits = network.classifier(network.head(last).mean(dim=(2, 3)))
            return logits.softmax(dim=1).numpy(), last.numpy()

    try:
        yield classify
    finally:
        torch.set_num_threads(threads)
