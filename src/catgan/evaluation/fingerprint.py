"""Fingerprints of scores. Scores with different fingerprints are never compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from catgan.errors import CatganError


@dataclass(frozen=True)
class ExtractorIdentity:
    """Everything about an extractor that affects a score.

    `resize` is the rule's name and version. `precision` is the type that the network computes in;
    features are always float32. `input_size` is the side in pixels that images are resized to.
    """

    name: str
    version: int
    weights_sha256: str
    feature_size: int
    input_size: int
    resize: str
    precision: str

    @property
    def frechet_name(self) -> str:
        """`FID` for the 2015 Inception features, `FD-<name>` for any other."""
        return "FID" if self.name == "inception" else f"FD-{self.name}"

    @property
    def kernel_name(self) -> str:
        """`KID` for the 2015 Inception features, `KD-<name>` for any other."""
        return "KID" if self.name == "inception" else f"KD-{self.name}"


@dataclass(frozen=True)
class Fingerprint:
    """How a score was computed; only scores with equal fingerprints are comparable.

    `dataset` is the identity of the dataset, or None for reals outside a dataset; `split` is the
    part of it that the reals are. `reals_sha256` is the checksum of the reals' pixels, independent
    of their order; it distinguishes selections from one dataset.
    """

    extractor: ExtractorIdentity
    generated_count: int
    reals_count: int
    dataset: str | None
    split: str
    reals_sha256: str


def require_comparable(fingerprints: Mapping[str, Fingerprint]) -> None:
    """Raise unless all `fingerprints`, by the name of what was scored, are equal.

    Raises:
        CatganError: two differ; the message names both and the first part that differs.
    """
    named = list(fingerprints.items())
    for name, fingerprint in named[1:]:
        first_name, first = named[0]
        expected = parts(first)
        for part, value in parts(fingerprint).items():
            if value != expected[part]:
                raise CatganError(
                    f"{first_name} and {name} cannot be compared: their {part} differs "
                    f"({_short(expected[part])} and {_short(value)}); score both in the same way"
                )


def require_parts(name: str, fingerprint: Fingerprint, expected: Mapping[str, object]) -> None:
    """Raise unless the fingerprint of the score `name` has the `expected` parts.

    Raises:
        CatganError: it has not; the message names the first part that differs.
    """
    for part, value in parts(fingerprint).items():
        if part in expected and value != expected[part]:
            raise CatganError(
                f"{name} cannot be compared: its {part} is {_short(value)}, expected "
                f"{_short(expected[part])}; change the options, or score it again"
            )


def extractor_parts(extractor: ExtractorIdentity) -> dict[str, object]:
    """Return the parts of an extractor, by their names in messages."""
    return {
        f"extractor's {key.replace('_', ' ')}": value for key, value in asdict(extractor).items()
    }


def parts(fingerprint: Fingerprint) -> dict[str, object]:
    """Return all parts, by their names in messages, the most significant first."""
    return {
        **extractor_parts(fingerprint.extractor),
        "dataset": fingerprint.dataset,
        "split": fingerprint.split,
        "number of reals": fingerprint.reals_count,
        "set of reals": fingerprint.reals_sha256,
        "number of samples": fingerprint.generated_count,
    }


def _short(value: object) -> str:
    if value is None:
        return "none"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return f"{text[:12]}…" if len(text) > 40 else text
