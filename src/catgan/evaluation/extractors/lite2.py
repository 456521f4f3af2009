"""The extractor `lite2`: EfficientNet-Lite2 trained on ImageNet, installed as a package."""

from __future__ import annotations

import numpy as np
import torch

from catgan.evaluation.extractors.extractor import (
    Extractor,
    Resizer,
    default_batch_size,
    pick_device,
)
from catgan.evaluation.extractors.resize import Rule, fingerprint_name
from catgan.evaluation.fingerprint import ExtractorIdentity
from catgan.networks import efficientnet_lite


def load_lite2(rule: Rule) -> Extractor:
    """Return the extractor of EfficientNet-Lite2's 1,280 pooled features at its 260 px."""
    variant = efficientnet_lite.LITE2
    device = pick_device()
    network = efficientnet_lite.load(variant).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    resizer = Resizer(rule, variant.resolution, device)

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = resizer(images).contiguous(memory_format=torch.channels_last)
            return network.pooled(pixels / 255).cpu().numpy()

    identity = ExtractorIdentity(
        "lite2", 1, variant.sha256, 1280, variant.resolution, fingerprint_name(rule), "float32"
    )
    return Extractor(identity, default_batch_size(device), device, features_of_batch)
