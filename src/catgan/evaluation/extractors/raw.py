"""The extractor `raw-64`: random convolutions, unrelated to any trained network."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F

from catgan.evaluation.extractors.extractor import (
    Extractor,
    Resizer,
    default_batch_size,
    pick_device,
)
from catgan.evaluation.extractors.resize import Rule, fingerprint_name
from catgan.evaluation.fingerprint import ExtractorIdentity

_SIZE = 64
_CHANNELS = (32, 64, 128, 288)  # of four stride-2 convolutions; 512 features in total
_KEY = 0x636174  # "cat": the Philox key of the raw-64 weights; never changes


def load_raw(rule: Rule) -> Extractor:
    """Return an extractor with random weights, which needs no pretrained network.

    Four 3x3 stride-2 convolutions with leaky ReLU. The features are the spatial means after each of
    them, so they cover both fine texture and coarse layout.
    """
    device = pick_device()
    weights = raw_weights()
    sha256 = hashlib.sha256(b"".join(weight.tobytes() for weight in weights)).hexdigest()
    kernels = [torch.from_numpy(weight).to(device) for weight in weights]
    resizer = Resizer(rule, _SIZE, device)

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = resizer(images) / 127.5 - 1.0
            means = []
            for kernel in kernels:
                x = F.leaky_relu(F.conv2d(x, kernel, stride=2, padding=1), 0.2)
                means.append(x.mean(dim=(2, 3)))
            return torch.cat(means, dim=1).cpu().numpy()

    identity = ExtractorIdentity(
        "raw-64", 1, sha256, sum(_CHANNELS), _SIZE, fingerprint_name(rule), "float32"
    )
    return Extractor(identity, default_batch_size(device), device, features_of_batch)


def raw_weights() -> list[np.ndarray]:
    """Return the kernels of `raw-64` (out x in x 3 x 3, float32), bit-equal on every machine.

    They are uniform with He's variance, computed from Philox's raw output by exact arithmetic.
    NumPy may change how it makes normal numbers from raw output, but not the raw output.
    """
    philox = np.random.Philox(key=_KEY)
    weights = []
    in_channels = 3
    for out_channels in _CHANNELS:
        count = out_channels * in_channels * 9
        unit = (philox.random_raw(count) >> np.uint64(11)) * 2.0**-53  # [0, 1)
        bound = (6.0 / (in_channels * 9)) ** 0.5  # variance 2 / fan-in
        kernel = ((2.0 * unit - 1.0) * bound).astype(np.float32)
        weights.append(kernel.reshape(out_channels, in_channels, 3, 3))
        in_channels = out_channels
    return weights
