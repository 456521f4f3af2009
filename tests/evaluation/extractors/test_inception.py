"""The Inception path, with a stand-in of the same interface: the real file is not shipped."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from catgan.errors import CatganError  # noqa: E402
from catgan.evaluation.extractors import inception  # noqa: E402
from catgan.evaluation.extractors.inception import load_inception  # noqa: E402
from catgan.evaluation.extractors.registry import load_extractor  # noqa: E402
from catgan.evaluation.extractors.resize import resize_matrix  # noqa: E402


class Layers(torch.nn.Module):
    """299 x 299 images in [-1, 1] to 2,048 features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.nn.functional.adaptive_avg_pool2d(x, 26).flatten(1)  # 2028
        return torch.nn.functional.pad(pooled, [0, 20])


class StandIn(torch.nn.Module):
    """forward(uint8 N x 3 x H x W, return_features=True), resizing inside, as the real file."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert images.dtype == torch.uint8
        resized = torch.nn.functional.interpolate(images.float(), [299, 299], mode="nearest")
        features = self.layers((resized - 128) / 128)
        return features if return_features else features[:, :1008]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def stand_in(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "inception-2015-12-05.pt"
    torch.jit.script(StandIn()).save(str(path))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3), dtype=np.uint8)


def test_clean_features_enter_behind_the_files_own_resizing(
    stand_in: tuple[Path, str], images: np.ndarray
) -> None:
    path, sha256 = stand_in
    extractor = load_inception(path, sha256=sha256)
    rows, columns = (resize_matrix("clean", side, 299) for side in (32, 40))
    planes = np.einsum("ij,njkc,lk->ncil", rows, images.astype(float), columns)
    expected = Layers()((torch.from_numpy(planes).clip(0, 255) - 128) / 128).numpy()
    np.testing.assert_allclose(extractor.extract(images), expected, atol=1e-5)
    identity = extractor.identity
    assert (identity.frechet_name, identity.kernel_name) == ("FID", "KID")
    assert (identity.resize, identity.input_size) == ("clean-2", 299)
    assert identity.weights_sha256 == sha256


def test_the_tensorflow_rule_uses_the_files_own_resizing(
    stand_in: tuple[Path, str], images: np.ndarray
) -> None:
    path, sha256 = stand_in
    extractor = load_inception(path, sha256=sha256, resize="tensorflow")
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    expected = StandIn()(planes, return_features=True).numpy()
    np.testing.assert_allclose(extractor.extract(images), expected, atol=1e-6)
    assert extractor.identity.resize == "tensorflow"
    clean = load_inception(path, sha256=sha256)
    assert np.abs(clean.extract(images) - expected).max() > 0.05


def test_a_file_that_is_not_the_published_one_is_refused(stand_in: tuple[Path, str]) -> None:
    path, sha256 = stand_in
    with pytest.raises(CatganError, match="sha256 differs") as caught:
        load_extractor("inception", inception_path=path)
    assert "\n" not in str(caught.value)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CatganError, match="sha256 differs"):
        load_inception(path, sha256=sha256)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatganError, match="cannot be read"):
        load_inception(tmp_path / "none.pt")


class Response(io.BytesIO):
    """What `urlopen` returns, as far as it is used."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, stand_in: tuple[Path, str]) -> list[bytes]:
    """The stand-in behind the download address; its one element may be replaced."""
    content = stand_in[0].read_bytes()
    answers = [content]
    monkeypatch.setattr(inception, "INCEPTION_SHA256", stand_in[1])
    monkeypatch.setattr(inception, "INCEPTION_BYTES", len(content))
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Response(answers[0]))
    return answers


def test_downloaded_once_checked_and_kept(served: list[bytes], stand_in: tuple[Path, str]) -> None:
    assert inception.cached_inception() is None
    load_inception(sha256=stand_in[1])
    cached = inception.cached_inception()
    assert cached is not None
    assert cached.read_bytes() == served[0]
    served[0] = b"gone"
    assert load_inception(sha256=stand_in[1]).identity.name == "inception"


@pytest.mark.parametrize("change", ["short", "long", "tampered"])
def test_a_wrong_download_is_refused_and_leaves_nothing(
    served: list[bytes], empty_cache: Path, change: str
) -> None:
    good = served[0]
    served[0] = {"short": good[:-1], "long": good + b"x", "tampered": b"x" + good[1:]}[change]
    with pytest.raises(CatganError, match="another file than the published one"):
        load_inception()
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_offline_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", reject)
    with pytest.raises(CatganError, match="lite2, which works offline"):
        load_inception()
