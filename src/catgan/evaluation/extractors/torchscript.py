"""TorchScript archives read from memory: the format that feature networks are published in."""

from __future__ import annotations

import io
import warnings

import torch


def load_module(content: bytes, device: torch.device) -> torch.jit.ScriptModule:
    """The TorchScript module in `content`, on `device`, in evaluation mode.

    It is code, run with the user's rights: check or trust the bytes before they come here.

    Raises:
        RuntimeError: `content` is no TorchScript archive.
    """
    with warnings.catch_warnings():
        # torch deprecates torch.jit in favor of torch.export, which cannot read these archives;
        # the 2015 Inception network, without which no number is FID, is published as nothing else.
        warnings.filterwarnings("ignore", r".*torch\.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit", category=FutureWarning)
        return torch.jit.load(io.BytesIO(content), map_location=device).eval()
