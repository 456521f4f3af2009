"""TorchScript archives, the format that feature networks are published in."""

from __future__ import annotations

import io
import warnings

import torch


def load_module(content: bytes, device: torch.device) -> torch.jit.ScriptModule:
    """Return the TorchScript module in `content`, on `device`, in evaluation mode.

    TorchScript is code that runs with the user's rights: pass only bytes that are verified or
    trusted.

    Raises:
        RuntimeError: `content` is not a TorchScript archive.
    """
    with warnings.catch_warnings():
        # torch deprecates torch.jit in favor of torch.export, which cannot read these archives. The
        # 2015 Inception network, which FID requires, is published in no other format.
        warnings.filterwarnings("ignore", r".*torch\.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit", category=FutureWarning)
        return torch.jit.load(io.BytesIO(content), map_location=device).eval()
