"""Which device, which precision, and what the machine is."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence

import psutil
import torch
import torch.distributed as dist

from catgan.errors import CatganError
from catgan.networks.capabilities import (
    bfloat16_is_faster,
    bfloat16_works,
    vector_instructions,
)

DEVICES: Sequence[str] = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device to train on; `auto` takes CUDA, then MPS, then the CPU.

    Of several processes that torchrun started on a machine, each takes a GPU of its own.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    alone = not dist.is_initialized()  # by `distributed.joined`
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
    """Return the type that networks compute in: "float32", "bfloat16", or with "auto" the faster.

    Raises:
        CatganError: "bfloat16" was asked for, and this device cannot train in it.
    """
    if name == "bfloat16" and not bfloat16_works(device.type):
        raise CatganError(
            "training.precision=bfloat16 is impossible here: PyTorch has no bfloat16 convolutions "
            f"for this {device.type} ({_processor(device)}): take "
            "--set training.precision=float32, or auto, which chooses the faster one"
        )
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8  # Ampere; earlier ones emulate it
    else:
        fast = device.type == "cpu" and bfloat16_is_faster()
    return torch.bfloat16 if fast else torch.float32


def precision_to_resume(
    name: str, began: Mapping[str, object], device: torch.device
) -> torch.dtype:
    """Return the type that a run goes on in; `name` is its setting, `began` its first machine.

    On the machine where it began, "auto" is what it was then, so that the measurement behind it
    cannot change a run halfway. Where bfloat16 is impossible, a run that began in it elsewhere goes
    on in float32.
    """
    here = describe_machine(device)
    same = all(began.get(key, here[key]) == here[key] for key in ("device", "processor", "vectors"))
    if name == "auto" and same and began.get("precision") in ("float32", "bfloat16"):
        name = str(began["precision"])
    if name == "bfloat16" and not bfloat16_works(device.type):
        name = "float32"
    return choose_precision(name, device)


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """What a report says of the machine; no names of hosts or users."""
    return {
        "device": _processor(device) if device.type == "cuda" else device.type,
        "processor": _processor(torch.device("cpu")),
        "vectors": vector_instructions(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())


def memory_mib(device: torch.device) -> int:
    """Memory in use, in MiB: the device's peak on CUDA, else what the process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return psutil.Process().memory_info().rss // 2**20
