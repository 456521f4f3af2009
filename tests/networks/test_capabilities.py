"""The probes: answers come from attempts, are cached, and can be turned off."""

from __future__ import annotations

import pytest
import torch

from catgan.networks import capabilities
from catgan.networks.layers.frozen import SameConv2d, freeze


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    monkeypatch.delenv(capabilities.PLAIN_VARIABLE, raising=False)
    capabilities.clear_cache()
    yield
    monkeypatch.undo()
    capabilities.clear_cache()


def reject(*_):
    raise RuntimeError("mkldnn_convolution: bf16 path needs the cpu support ...")


def test_a_processor_without_bfloat16_convolutions_is_detected(monkeypatch):
    """As on AVX2 alone, where oneDNN raises an error, whatever other kernels do."""
    real = capabilities._relu6_convolution

    def only_float32(operator, images, weight):
        return reject() if images.dtype == torch.bfloat16 else real(operator, images, weight)

    monkeypatch.setattr(capabilities, "_relu6_convolution", only_float32)
    if capabilities.fused_convolution() is None:
        pytest.skip("oneDNN's fused convolution does not work here: NOT tested")
    assert not capabilities.bfloat16_works()
    assert not capabilities.bfloat16_is_faster()


def test_kernels_that_accumulate_in_bfloat16_are_rejected(monkeypatch):
    def rough(images, weight, **options):
        found = real(images, weight, **options)
        return found + 0.02 * found.abs().max() if found.dtype == torch.bfloat16 else found

    real = capabilities.F.conv2d
    monkeypatch.setattr(capabilities.F, "conv2d", rough)
    assert not capabilities.bfloat16_works()


def test_gradients_that_accumulate_in_bfloat16_are_rejected(monkeypatch):
    """As in PyTorch's own kernels on AVX2 alone, whose outputs are accurate."""

    class Rough(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            return weight.clone()

        @staticmethod
        def backward(ctx, gradient):
            rough = gradient.dtype == torch.bfloat16
            return gradient + 0.02 * gradient.abs().max() if rough else gradient

    real = capabilities.F.conv2d
    monkeypatch.setattr(
        capabilities.F,
        "conv2d",
        lambda images, weight, **_: real(images, Rough.apply(weight), padding=1),
    )
    assert not capabilities.bfloat16_works()


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_context_of_the_first_call_does_not_change_the_answers(context):
    """Answers are cached: a probe under `no_grad` or autocast once failed for good."""
    expected = (capabilities.fused_convolution() is not None, capabilities.bfloat16_works())
    capabilities.clear_cache()
    with context():
        found = (capabilities.fused_convolution() is not None, capabilities.bfloat16_works())
    assert found == expected


@pytest.mark.parametrize(
    "failure",
    [
        reject,
        lambda _, images, weight: torch.zeros(len(images), len(weight), 8, 8),
        lambda *_: torch.zeros(3),
        lambda *_: None,
    ],
    ids=["raises", "zeros", "shape", "nothing"],
)
def test_an_operator_that_fails_or_is_wrong_is_not_used(monkeypatch, failure):
    monkeypatch.setattr(capabilities, "_relu6_convolution", failure)
    assert capabilities.fused_convolution() is None
    torch.manual_seed(0)
    layer = SameConv2d(3, 4, 3, relu6=True)
    freeze(layer)
    images = torch.randn(2, 3, 5, 5)
    expected = torch.nn.functional.conv2d(images, layer.weight, layer.bias, padding=1).clamp(0, 6)
    assert torch.allclose(layer(images), expected, atol=1e-6)


@pytest.mark.parametrize(("bfloat16", "faster"), [(1.0, False), (0.95, False), (0.5, True)])
def test_bfloat16_must_be_clearly_faster(monkeypatch, bfloat16, faster):
    monkeypatch.setattr(capabilities, "bfloat16_works", lambda: True)
    seconds = {torch.float32: 1.0, torch.bfloat16: bfloat16}
    monkeypatch.setattr(capabilities, "_seconds", seconds.__getitem__)
    assert capabilities.bfloat16_is_faster() == faster


def test_one_slow_round_does_not_decide(monkeypatch):
    monkeypatch.setattr(capabilities, "bfloat16_works", lambda: True)
    counted = []

    def seconds(precision):
        counted.append(precision)
        return 50.0 if len(counted) == 4 else {torch.float32: 1.0, torch.bfloat16: 0.5}[precision]

    monkeypatch.setattr(capabilities, "_seconds", seconds)
    assert capabilities.bfloat16_is_faster()
    count = len(counted)
    assert capabilities.bfloat16_is_faster()
    assert len(counted) == count  # cached


def test_plain_mode_runs_no_probe(monkeypatch):
    monkeypatch.setenv(capabilities.PLAIN_VARIABLE, "1")
    monkeypatch.setattr(capabilities, "_relu6_convolution", pytest.fail)
    assert capabilities.fused_convolution() is None
    assert not capabilities.bfloat16_works()
    assert not capabilities.bfloat16_is_faster()
    monkeypatch.setenv(capabilities.PLAIN_VARIABLE, "0")
    monkeypatch.undo()
    capabilities.clear_cache()
    assert capabilities.bfloat16_works() in (True, False)


def test_timing_is_positive():
    assert capabilities._seconds(torch.float32) > 0
    assert capabilities.vector_instructions()
