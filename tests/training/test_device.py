from __future__ import annotations

import pytest
import torch

from catgan.errors import CatganError
from catgan.training.device import choose_device, choose_precision, describe_machine, memory_mib

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),  # another architecture
    ],
)
def test_auto_takes_bfloat16_only_where_it_is_fast(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", CPU) == precision
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16


def test_unknown_and_missing_devices_are_one_line_errors(monkeypatch):
    assert choose_device("cpu") == CPU
    with pytest.raises(CatganError, match="choose from"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CatganError, match="--device auto"):
        choose_device("cuda")


def test_auto_prefers_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"


def test_the_machine_is_described_without_names():
    facts = describe_machine(CPU)
    assert facts["device"] == "cpu"
    assert facts["threads"] == torch.get_num_threads()
    assert memory_mib(CPU) > 10
