"""Feature extractors from a user's own file: TorchScript (.pt) or ONNX (.onnx).

The network takes RGB images, float32 in [0, 1], N x 3 x size x size, and returns N x D features.
An ONNX file is data. A TorchScript file is code that runs with the user's rights: load only what
you would also run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from catgan.data.reading.sources import label
from catgan.errors import CatganError
from catgan.evaluation.extractors.extractor import Extractor, Resizer, batch_for, pick_device
from catgan.evaluation.extractors.resize import Rule, fingerprint_name
from catgan.evaluation.extractors.torchscript import load_module
from catgan.evaluation.fingerprint import ExtractorIdentity
from catgan.onnx_runtime import load_onnxruntime

_DEFAULT_SIZE = 224


def load_torchscript(path: Path, *, resize: Rule, input_size: int | None = None) -> Extractor:
    """An extractor of the TorchScript module at `path`; `input_size` is 224 if None.

    Raises:
        CatganError: the file cannot be read, is no TorchScript, or does not give N x D features.
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

    return _extractor(path, content, size, resize, batch_for(device), device, features_of_batch)


def load_onnx(path: Path, *, resize: Rule, input_size: int | None = None) -> Extractor:
    """An extractor of the ONNX network at `path`, on the CPU.

    Its own input size and batch size are used where the file states them, else `input_size` (224
    if None) and ours.

    Raises:
        CatganError: the file cannot be read, is no such network, or `input_size` contradicts it.
    """
    onnxruntime = load_onnxruntime()
    content = _read(path)
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # batches run side by side instead
        options.log_severity_level = 4  # what it would say on stderr is said below, in one line
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen types of its own, by kind of damage
        raise CatganError(f"{path}: is not an ONNX file that onnxruntime can run") from error
    inputs = [(each.name, each.type, each.shape) for each in session.get_inputs()]
    if [(kind, len(shape), shape[1:2]) for _, kind, shape in inputs] != [("tensor(float)", 4, [3])]:
        raise CatganError(
            f"{path}: must take one input, float32 N x 3 x H x W; export the network so"
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
    batch = shape[0] if isinstance(shape[0], int) else batch_for(cpu)
    resizer = Resizer(resize, size, cpu)

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        pixels = (resizer(images) / 255).numpy()
        return session.run([output], {name: pixels})[0]

    return _extractor(path, content, size, resize, batch, cpu, features_of_batch)


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
    batch: int,
    device: torch.device,
    features_of_batch: Callable[[np.ndarray], np.ndarray],
) -> Extractor:
    """Try the network on a black batch: the feature size, and whether it fits at all."""
    try:
        features = features_of_batch(np.zeros((batch, size, size, 3), dtype=np.uint8))
        shape = features.shape
    except Exception as error:  # the user's network may fail in any way
        raise CatganError(
            f"{path}: cannot take float32 {batch} x 3 x {size} x {size} ({_reason(error)}); "
            "check its input size"
        ) from error
    if len(shape) != 2 or shape[0] != batch or not shape[1]:
        raise CatganError(
            f"{path}: gives {' x '.join(map(str, shape))}, not N x D features; "
            "let it return one vector for each image"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    # The name keeps its ending, so that no file can pass for a built-in extractor.
    identity = ExtractorIdentity(
        label(path.name), 1, sha256, shape[1], size, fingerprint_name(resize), "float32"
    )

    def checked(images: np.ndarray) -> np.ndarray:
        """What passed with black images may still fail with others."""
        try:
            found = features_of_batch(images)
        except Exception as error:
            raise CatganError(f"{path}: fails on the images ({_reason(error)})") from error
        if found.shape != shape:
            raise CatganError(
                f"{path}: gives {' x '.join(map(str, found.shape))} features, and before "
                f"{' x '.join(map(str, shape))}; let it return one vector for each image"
            )
        return found

    return Extractor(identity, batch, device, checked)


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[-1][:200] if text else "no reason"
