"""What a score carries with it, and the rejection to compare scores that carry different things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from catgan.errors import CatganError


@dataclass(frozen=True)
class ExtractorIdentity:
    """Everything about an extractor that moves a score.

    `resize` is the rule's name and version; `precision` is that of the network's arithmetic, the
    features are float32 in any case; `input_size` is the side in pixels that images are resized to.
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
    """The circumstances of a score; only scores with equal fingerprints may be compared.

    `dataset` is the identity of the dataset, or None for reals that were no dataset; `split` the
    part of it that served as reals. `reals_sha256` is of the reals' pixels in an order-free form:
    it tells two selections of one dataset apart.
    """

    extractor: ExtractorIdentity
    generated_count: int
    reals_count: int
    dataset: str | None
    split: str
    reals_sha256: str


def require_comparable(fingerprints: Mapping[str, Fingerprint]) -> None:
    """Pass if all `fingerprints` (by the name of what was scored) are equal.

    Raises:
        CatganError: two differ; the message names them and the first part that differs.
    """
    named = list(fingerprints.items())
    for name, fingerprint in named[1:]:
        first_name, first = named[0]
        wanted = parts(first)
        for part, value in parts(fingerprint).items():
            if value != wanted[part]:
                raise CatganError(
                    f"{first_name} and {name} cannot be compared: their {part} differs "
                    f"({_short(wanted[part])} and {_short(value)}); score both in the same way"
                )


def require_asked(name: str, fingerprint: Fingerprint, asked: Mapping[str, object]) -> None:
    """Pass if the score `name` has those of its `parts` that are `asked` for.

    Raises:
        CatganError: it has not; the message names the first part that differs.
    """
    for part, value in parts(fingerprint).items():
        if part in asked and value != asked[part]:
            raise CatganError(
                f"{name} cannot be compared: its {part} is {_short(value)}, not "
                f"{_short(asked[part])} as asked; change what is asked, or score it again"
            )


def extractor_parts(extractor: ExtractorIdentity) -> dict[str, object]:
    """The parts of an extractor under the names that a person knows them by."""
    return {
        f"extractor's {key.replace('_', ' ')}": value for key, value in asdict(extractor).items()
    }


def parts(fingerprint: Fingerprint) -> dict[str, object]:
    """All parts under the names that a person knows them by, the most telling ones first."""
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
