"""Feature extractors from a user's own file: TorchScript (.pt) or ONNX (.onnx).

The network takes RGB images, float32 in [0, 1], N x 3 x size x size, and returns N x D features. An
ONNX file is data. A TorchScript file is code that runs with the user's rights: load only files that
you trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from catgan.data.reading.sources import label
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
from catgan.onnx_runtime import load_onnxruntime

_DEFAULT_SIZE = 224


def load_torchscript(path: Path, *, resize: Rule, input_size: int | None = None) -> Extractor:
    """Return the extractor of the TorchScript module at `path`; `input_size` None means 224.

    Raises:
        CatganError: the file cannot be read, is not TorchScript, or does not return N x D features.
    """
    content = _read(path)
    device = pick_device()
    try:
        module = load_module(content, device)
    except RuntimeError as error:
        raise CatganError(
            f"{path}: is not a TorchScript file; save the network with torch.jit.save"
        ) from error
    size = input_size or _DEFAULT_SIZE
    resizer = Resizer(resize, size, device)

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(resizer(images) / 255).float().cpu().numpy()

    return _extractor(
        path, content, size, resize, default_batch_size(device), device, features_of_batch
    )


def load_onnx(path: Path, *, resize: Rule, input_size: int | None = None) -> Extractor:
    """Return the extractor of the ONNX network at `path`, on the CPU.

    The file's own input size and batch size are used if it states them, else `input_size` (None
    means 224) and the default batch size.

    Raises:
        CatganError: the file cannot be read, is not such a network, or contradicts `input_size`.
    """
    onnxruntime = load_onnxruntime()
    content = _read(path)
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # batches run in parallel instead
        options.log_severity_level = 4  # its errors are reported below, in one line
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen types of its own
        raise CatganError(f"{path}: is not an ONNX file that onnxruntime can run") from error
    inputs = [(tensor.name, tensor.type, tensor.shape) for tensor in session.get_inputs()]
    if [(kind, len(shape), shape[1:2]) for _, kind, shape in inputs] != [("tensor(float)", 4, [3])]:
        raise CatganError(
            f"{path}: expected one input, float32 N x 3 x H x W; export the network that way"
        )
    ((name, _, shape),) = inputs
    output = session.get_outputs()[0].name
    stated = shape[2] if isinstance(shape[2], int) else None
    if input_size is not None and stated is not None and input_size != stated:
        raise CatganError(
            f"{path}: takes {stated} x {stated} images, not {input_size}; leave the input size out"
        )
    size = stated or input_size or _DEFAULT_SIZE
    cpu = torch.device("cpu")
    batch_size = shape[0] if isinstance(shape[0], int) else default_batch_size(cpu)
    resizer = Resizer(resize, size, cpu)

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        pixels = (resizer(images) / 255).numpy()
        return session.run([output], {name: pixels})[0]

    return _extractor(path, content, size, resize, batch_size, cpu, features_of_batch)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CatganError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _extractor(
    path: Path,
    content: bytes,
    size: int,
    resize: Rule,
    batch_size: int,
    device: torch.device,
    features_of_batch: Callable[[np.ndarray], np.ndarray],
) -> Extractor:
    """Return the extractor, after a black batch has shown the feature size and that it fits."""
    try:
        features = features_of_batch(np.zeros((batch_size, size, size, 3), dtype=np.uint8))
        shape = features.shape
    except Exception as error:  # a user's network may raise anything
        raise CatganError(
            f"{path}: cannot take float32 {batch_size} x 3 x {size} x {size} ({_reason(error)}); "
            "check its input size"
        ) from error
    if len(shape) != 2 or shape[0] != batch_size or not shape[1]:
        raise CatganError(
            f"{path}: returns {' x '.join(map(str, shape))}, expected N x D features; "
            "let it return one vector per image"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    # The name keeps its suffix, so that no file can pass for a built-in extractor.
    identity = ExtractorIdentity(
        label(path.name), 1, sha256, shape[1], size, fingerprint_name(resize), "float32"
    )

    def checked(images: np.ndarray) -> np.ndarray:
        """Return the features; a network that passed the black batch may still fail on others."""
        try:
            found = features_of_batch(images)
        except Exception as error:
            raise CatganError(
                f"{path}: fails on the images ({_reason(error)}); correct the network"
            ) from error
        if found.shape != shape:
            raise CatganError(
                f"{path}: returns {' x '.join(map(str, found.shape))} features, expected "
                f"{' x '.join(map(str, shape))} as before; let it return one vector per image"
            )
        return found

    return Extractor(identity, batch_size, device, checked)


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[-1][:200] if text else "no reason"
