from __future__ import annotations

import pytest
import torch

from catgan.errors import CatganError
from catgan.runs import device as device_module
from catgan.runs.device import (
    choose_device,
    choose_precision,
    describe_machine,
    memory_mib,
    precision_to_resume,
)

CPU = torch.device("cpu")


@pytest.fixture
def finds(monkeypatch):
    """Let the probe find these."""

    def find(*, works, faster):
        monkeypatch.setattr(device_module, "bfloat16_works", lambda kind: works)
        monkeypatch.setattr(device_module, "bfloat16_is_faster", lambda: faster)

    return find


@pytest.mark.parametrize(
    ("works", "faster", "chosen"),
    [
        (True, True, torch.bfloat16),
        (True, False, torch.float32),
        (False, False, torch.float32),
    ],
)
def test_auto_takes_bfloat16_only_where_it_is_faster(finds, works, faster, chosen):
    finds(works=works, faster=faster)
    assert choose_precision("auto", CPU) == chosen
    assert choose_precision("float32", CPU) == torch.float32


def test_bfloat16_is_refused_in_one_line_where_it_is_impossible(finds):
    finds(works=True, faster=False)
    assert choose_precision("bfloat16", CPU) == torch.bfloat16
    finds(works=False, faster=False)
    with pytest.raises(CatganError, match=r"impossible here.*float32, or auto") as error:
        choose_precision("bfloat16", CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "began_in", "here", "expected"),  # here: the machine it began on?
    [
        ("auto", "bfloat16", True, torch.bfloat16),  # whatever a second measurement says
        ("auto", "float32", True, torch.float32),
        ("auto", "float32", False, torch.bfloat16),
        ("auto", None, True, torch.bfloat16),  # facts of an earlier version
        ("float32", "float32", False, torch.float32),
        ("bfloat16", "bfloat16", False, torch.bfloat16),
    ],
)
def test_a_run_goes_on_in_the_precision_it_began_in(finds, setting, began_in, here, expected):
    finds(works=True, faster=began_in != "bfloat16")
    began = describe_machine(CPU) | ({} if here else {"processor": "another"})
    if began_in:
        began["precision"] = began_in
    assert precision_to_resume(setting, began, CPU) == expected


@pytest.mark.parametrize("setting", ["auto", "bfloat16"])
def test_a_run_begun_in_bfloat16_goes_on_where_there_is_none(finds, setting):
    finds(works=False, faster=False)
    began = describe_machine(CPU) | {"precision": "bfloat16"}
    assert precision_to_resume(setting, began, CPU) == torch.float32


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


@pytest.mark.parametrize("size", ["2", "many"])
def test_only_a_process_that_joined_a_job_shares_its_machine(monkeypatch, size):
    """Clusters set torchrun's variables for whatever they start, `catgan sample` included."""
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("mps") == choose_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert choose_device("auto") == CPU
    with pytest.raises(CatganError, match="cannot share an mps device"):
        choose_device("mps")


def test_the_machine_is_described_without_names():
    facts = describe_machine(CPU)
    assert facts["device"] == "cpu"
    assert facts["threads"] == torch.get_num_threads()
    assert facts["vectors"]
    assert memory_mib(CPU) > 10
