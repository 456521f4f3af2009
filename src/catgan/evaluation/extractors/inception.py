"""The 2015 TensorFlow Inception network as TorchScript, whose features FID is defined on.

The file is NVIDIA's `inception-2015-12-05.pt`, a conversion of the network of Heusel et al. It is
given by path or downloaded once. Since TorchScript is code, it is loaded only if its sha256 is the
published one.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import IO

import numpy as np
import torch

from catgan.data.dataset.cache import cache_directory
from catgan.errors import CatganError
from catgan.evaluation.extractors.extractor import (
    Extractor,
    Resizer,
    default_batch_size,
    pick_device,
)
from catgan.evaluation.extractors.resize import Rule, fingerprint_name
from catgan.evaluation.extractors.torchscript import load_module
from catgan.evaluation.fingerprint import ExtractorIdentity
from catgan.files import rename

INCEPTION_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
INCEPTION_BYTES = 95_607_719
_SIZE = 299
_FEATURES = 2048


def cached_inception() -> Path | None:
    """Return the path of the downloaded file, or None; loading verifies its content."""
    path = _cache_path()
    return path if path.is_file() else None


def load_inception(
    path: Path | None = None, *, resize: Rule = "clean", sha256: str = INCEPTION_SHA256
) -> Extractor:
    """Return the extractor of Inception's 2,048 pooled features.

    `path` None means the cached file, which is downloaded if it is missing. With `resize`
    "tensorflow", the network's own layers resize the images, as in StyleGAN's and the original FID;
    with any other rule, images are resized here and skip those layers.

    Raises:
        CatganError: the file is missing, unreadable, does not match `sha256`, or cannot be
            downloaded.
    """
    if path is None:
        path = cached_inception() or _download(_cache_path())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatganError(
            f"{path}: cannot be read ({error.strerror}); pass the path of inception-2015-12-05.pt"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CatganError(
            f"{path}: is not the published Inception file (its sha256 differs); delete it and "
            f"download {INCEPTION_URL} again"
        )
    device = pick_device()
    module = load_module(content, device)
    resizer = Resizer(resize, _SIZE, device)

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            if resize == "tensorflow":
                planes = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous()
                features = module(planes, return_features=True)
            else:
                features = module.layers((resizer(images) - 128) / 128)
            return features.reshape(len(images), _FEATURES).float().cpu().numpy()

    identity = ExtractorIdentity(
        "inception", 1, sha256, _FEATURES, _SIZE, fingerprint_name(resize), "float32"
    )
    return Extractor(identity, default_batch_size(device), device, features_of_batch)


def _cache_path() -> Path:
    return cache_directory() / "weights" / "inception-2015-12-05.pt"


def _download(target: Path) -> Path:
    """Download the file to `target`, which exists only once size and sha256 are verified."""
    remedy = "pass its path, or use the extractor lite2, which works offline"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(INCEPTION_URL, timeout=60) as response,
            tempfile.TemporaryDirectory(dir=target.parent) as directory,
        ):
            temporary = Path(directory, target.name)
            with temporary.open("wb") as file:
                _copy_and_verify(response, file)
            rename(temporary, target)
    except OSError as error:  # URLError and timeouts are OSErrors
        raise CatganError(
            f"inception-2015-12-05.pt could not be downloaded ({error}); {remedy}"
        ) from error
    return target


def _copy_and_verify(response: IO[bytes], file: IO[bytes]) -> None:
    digest, received = hashlib.sha256(), 0
    while block := response.read(1 << 20):
        received += len(block)
        if received > INCEPTION_BYTES:
            break
        digest.update(block)
        file.write(block)
    if received != INCEPTION_BYTES or digest.hexdigest() != INCEPTION_SHA256:
        raise CatganError(
            f"{INCEPTION_URL}: sent another file than the published one; try again, or pass a path"
        )
    file.flush()
    os.fsync(file.fileno())
