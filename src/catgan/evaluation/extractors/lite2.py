"""The extractor `lite2`: EfficientNet-Lite2 trained on ImageNet, which comes as a package."""

from __future__ import annotations

import numpy as np
import torch

from catgan.evaluation.extractors.extractor import Extractor, Resizer, batch_for, pick_device
from catgan.evaluation.extractors.resize import Rule, fingerprint_name
from catgan.evaluation.fingerprint import ExtractorIdentity
from catgan.networks import efficientnet_lite


def load_lite2(rule: Rule) -> Extractor:
    """EfficientNet-Lite2's 1,280 pooled features, at the 260 px that it was trained for."""
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
    return Extractor(identity, batch_for(device), device, features_of_batch)
