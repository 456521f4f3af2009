from __future__ import annotations

from dataclasses import replace

import pytest

from catgan.errors import CatganError
from catgan.evaluation.fingerprint import ExtractorIdentity, Fingerprint, require_comparable

EXTRACTOR = ExtractorIdentity("lite2", 1, "ab" * 32, 1280, 260, "clean", "float32")
FINGERPRINT = Fingerprint(EXTRACTOR, 5000, 4400, "cd" * 32, "train", "ef" * 32)


def test_equal_fingerprints_are_comparable() -> None:
    require_comparable({"a": FINGERPRINT, "b": replace(FINGERPRINT), "c": FINGERPRINT})
    require_comparable({})


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (replace(FINGERPRINT, extractor=replace(EXTRACTOR, name="inception")), "extractor's name"),
        (replace(FINGERPRINT, extractor=replace(EXTRACTOR, version=2)), "extractor's version"),
        (
            replace(FINGERPRINT, extractor=replace(EXTRACTOR, weights_sha256="00" * 32)),
            "weights sha256",
        ),
        (replace(FINGERPRINT, extractor=replace(EXTRACTOR, resize="pytorch")), "resize"),
        (replace(FINGERPRINT, extractor=replace(EXTRACTOR, precision="bfloat16")), "precision"),
        (replace(FINGERPRINT, generated_count=1000), r"number of samples differs \(5,000 and"),
        (replace(FINGERPRINT, reals_count=1000), "number of reals"),
        (replace(FINGERPRINT, dataset=None), "dataset"),
        (replace(FINGERPRINT, split="holdout"), "split"),
        (replace(FINGERPRINT, reals_sha256="00" * 32), "set of reals"),
    ],
)
def test_error_names_the_part_that_differs(other: Fingerprint, part: str) -> None:
    with pytest.raises(CatganError, match=f"a and c cannot be compared.*{part}") as caught:
        require_comparable({"a": FINGERPRINT, "b": FINGERPRINT, "c": other})
    assert "\n" not in str(caught.value)


def test_only_inception_gives_fid() -> None:
    assert EXTRACTOR.frechet_name == "FD-lite2"
    assert EXTRACTOR.kernel_name == "KD-lite2"
    assert replace(EXTRACTOR, name="inception").frechet_name == "FID"
