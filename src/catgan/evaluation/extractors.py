"""The extractors by name, and the two that need no download: `lite2` and `raw-64`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from catgan.data.sources import label
from catgan.errors import CatganError
from catgan.evaluation.custom import load_onnx, load_torchscript
from catgan.evaluation.extractor import Extractor, Resizer, batch_for, pick_device
from catgan.evaluation.fingerprint import ExtractorIdentity
from catgan.evaluation.inception import cached_inception, load_inception
from catgan.evaluation.resize import RULES, Rule, fingerprint_name
from catgan.networks import efficientnet_lite

_RAW_SIZE = 64
_RAW_CHANNELS = (32, 64, 128, 288)  # of four stride-2 convolutions; 512 features in all
_RAW_KEY = 0x636174  # "cat": the Philox key of the raw-64 weights, for good


def load_extractor(
    name: str | None = None,
    *,
    resize: str | None = None,
    inception_path: Path | None = None,
    input_size: int | None = None,
) -> Extractor:
    """The extractor `name`: `inception`, `lite2`, `raw-64`, or the path of a .pt or .onnx file.

    None picks `inception` if its file is given or was downloaded before, else `lite2`; `inception`
    by name downloads it. `resize` overrides the extractor's own rule. `input_size` is for files
    that do not state theirs. All compute in float32: bfloat16 was measured to move scores by
    percents (docs/evaluation.md).

    Raises:
        CatganError: unknown name or rule, an option that the extractor does not have, or weights
            that are missing or not the expected ones.
    """
    rule = _rule(resize)
    if name is None:
        name = "inception" if inception_path or cached_inception() else "lite2"
    if inception_path is not None and name != "inception":
        raise CatganError(f"{inception_path}: is for the extractor inception, not for {name}")
    if name.endswith(".pt"):
        return load_torchscript(Path(name), resize=rule or "clean", input_size=input_size)
    if name.endswith(".onnx"):
        return load_onnx(Path(name), resize=rule or "clean", input_size=input_size)
    if input_size is not None:
        raise CatganError(f"{name} has its own input size; an input size is for extractor files")
    if name == "inception":
        return load_inception(inception_path, resize=rule or "clean")
    if name == "lite2":
        return _load_lite2(rule or "clean")
    if name == "raw-64":
        return _load_raw(rule or "area")
    raise CatganError(
        f"extractor {name!r} is unknown; choose inception, lite2, raw-64, or a .pt or .onnx file"
    )


def extractor_name(name: str) -> str:
    """The name in the identity of what `load_extractor` makes of `name`, without loading it."""
    return label(Path(name).name) if name.endswith((".pt", ".onnx")) else name


def _rule(name: str | None) -> Rule | None:
    for rule in RULES:
        if name == rule:
            return rule
    if name is None:
        return None
    raise CatganError(f"resize rule {name!r} is unknown; choose one of {', '.join(RULES)}")


def _load_lite2(rule: Rule) -> Extractor:
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


def _load_raw(rule: Rule) -> Extractor:
    """Random convolutions: no pretrained network, no photographs, nothing learned.

    Four 3x3 stride-2 convolutions with leaky rectifiers; the features are the spatial means after
    each of them, so fine texture and coarse layout both count.
    """
    device = pick_device()
    weights = raw_weights()
    sha256 = hashlib.sha256(b"".join(weight.tobytes() for weight in weights)).hexdigest()
    kernels = [torch.from_numpy(weight).to(device) for weight in weights]
    resizer = Resizer(rule, _RAW_SIZE, device)

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = resizer(images) / 127.5 - 1.0
            means = []
            for kernel in kernels:
                x = F.leaky_relu(F.conv2d(x, kernel, stride=2, padding=1), 0.2)
                means.append(x.mean(dim=(2, 3)))
            return torch.cat(means, dim=1).cpu().numpy()

    identity = ExtractorIdentity(
        "raw-64", 1, sha256, sum(_RAW_CHANNELS), _RAW_SIZE, fingerprint_name(rule), "float32"
    )
    return Extractor(identity, batch_for(device), device, features_of_batch)


def raw_weights() -> list[np.ndarray]:
    """The kernels of `raw-64` (out x in x 3 x 3, float32), the same bits on every machine.

    Uniform numbers of He's variance, made of the raw words of Philox by exact arithmetic alone:
    NumPy may change how it turns random words into normal numbers, but never the words.
    """
    words = np.random.Philox(key=_RAW_KEY)
    weights = []
    inputs = 3
    for outputs in _RAW_CHANNELS:
        count = outputs * inputs * 9
        unit = (words.random_raw(count) >> np.uint64(11)) * 2.0**-53  # [0, 1)
        bound = (6.0 / (inputs * 9)) ** 0.5  # variance 2 / fan-in
        kernel = ((2.0 * unit - 1.0) * bound).astype(np.float32)
        weights.append(kernel.reshape(outputs, inputs, 3, 3))
        inputs = outputs
    return weights
