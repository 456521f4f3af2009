"""The 2015 TensorFlow Inception network as TorchScript: the only features whose distance is FID.

The file is NVIDIA's `inception-2015-12-05.pt`, a translation of the network of Heusel et al. It is
given by path, or downloaded once by those who are online. Since TorchScript is code, nothing of it
is loaded before its sha256 is found to be the published one.
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
from catgan.evaluation.extractors.extractor import Extractor, Resizer, batch_for, pick_device
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
    """The downloaded file, if it is there; its content is checked when it is loaded."""
    path = _cache_path()
    return path if path.is_file() else None


def load_inception(
    path: Path | None = None, *, resize: Rule = "clean", sha256: str = INCEPTION_SHA256
) -> Extractor:
    """Inception's 2,048 pooled features; `path` None takes the cached file, downloading it once.

    With `resize` "tensorflow" images go through the resizing inside the file, as in StyleGAN's and
    the original FID; with any other rule they are resized here and enter behind it.

    Raises:
        CatganError: the file is missing, unreadable, not the one of `sha256`, or not downloadable.
    """
    if path is None:
        path = cached_inception() or _download(_cache_path())
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatganError(
            f"{path}: cannot be read ({error.strerror}); give the path of inception-2015-12-05.pt"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CatganError(
            f"{path}: is not the published Inception file (its sha256 differs); delete it and "
            f"fetch {INCEPTION_URL} again"
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
    return Extractor(identity, batch_for(device), device, features_of_batch)


def _cache_path() -> Path:
    return cache_directory() / "weights" / "inception-2015-12-05.pt"


def _download(target: Path) -> Path:
    """Fetch the file to `target`: size and sha256 checked before it gets its name."""
    remedy = "give its path, or use the extractor lite2, which works offline"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(INCEPTION_URL, timeout=60) as response,
            tempfile.TemporaryDirectory(dir=target.parent) as directory,
        ):
            temporary = Path(directory, target.name)
            with temporary.open("wb") as file:
                _copy_checked(response, file)
            rename(temporary, target)
    except OSError as error:  # URLError and timeouts are OSErrors
        raise CatganError(
            f"inception-2015-12-05.pt could not be downloaded ({error}); {remedy}"
        ) from error
    return target


def _copy_checked(response: IO[bytes], file: IO[bytes]) -> None:
    digest, received = hashlib.sha256(), 0
    while block := response.read(1 << 20):
        received += len(block)
        if received > INCEPTION_BYTES:
            break
        digest.update(block)
        file.write(block)
    if received != INCEPTION_BYTES or digest.hexdigest() != INCEPTION_SHA256:
        raise CatganError(
            f"{INCEPTION_URL}: what it sent is not the published file; try again, or give a path"
        )
    file.flush()
    os.fsync(file.fileno())
