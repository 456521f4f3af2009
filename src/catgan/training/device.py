"""Which device, which precision, and what the machine is."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import psutil
import torch

from catgan.errors import CatganError

DEVICES: Sequence[str] = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device to train on; `auto` takes CUDA, then MPS, then the CPU.

    Of several processes that torchrun started on a machine, each takes a GPU of its own.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if name == "auto":
        kinds = ("cuda", "mps") if alone else ("cuda",)
        name = next((kind for kind in kinds if available[kind]), "cpu")
    if name not in DEVICES:
        raise CatganError(f"no device {name!r}: choose from {', '.join(DEVICES)}")
    if not available.get(name, True):
        raise CatganError(f"torch finds no {name} device on this machine: use --device auto")
    if name == "mps" and not alone:
        raise CatganError("several processes cannot share an mps device: use --device cpu")
    if name == "cuda" and not alone:
        here = int(os.environ.get("LOCAL_RANK", "0"))
        if here >= torch.cuda.device_count():
            raise CatganError(
                f"this machine has {torch.cuda.device_count()} GPUs, fewer than processes: "
                "give torchrun that many with --nproc-per-node, or use --device cpu"
            )
        torch.cuda.set_device(here)
        return torch.device("cuda", here)
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type networks compute in; `auto` is bfloat16 where the processor multiplies it fast."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8  # Ampere; earlier ones emulate it
    elif device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        fast = any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """What a report says of the machine; no names of hosts or users."""
    processor = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": str(processor),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def memory_mib(device: torch.device) -> int:
    """Memory in use, in MiB: the device's peak on CUDA, else what the process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return psutil.Process().memory_info().rss // 2**20
