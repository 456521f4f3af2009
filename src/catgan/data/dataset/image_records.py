"""Where each image of a dataset came from, stored compactly: one array per field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from operator import itemgetter
from typing import Any, Literal, get_args, overload

import numpy as np

from catgan.data.reading.sources import label

Split = Literal["train", "holdout"]
_SHA256_HEX_DIGITS = 64


@dataclass(frozen=True)
class ImageRecord:
    """The source of one image.

    `sha256` is the checksum of the source file; `crop` is (left, top, right, bottom) in pixels of
    the upright source, right and bottom exclusive.
    """

    source: str
    sha256: str
    crop: tuple[int, int, int, int]
    split: Split


_FIELDS = frozenset(field.name for field in fields(ImageRecord))


@dataclass(frozen=True, eq=False)
class ImageRecords(Sequence[ImageRecord]):
    """The records of a dataset's N images, in order; about 80 bytes per image.

    `sources` is all names concatenated; `ends` (int64, shape (N,)) is where each name ends.
    `sha256s` has 32 bytes per image, `crops` is int32 of shape (N, 4), and `is_held_out` is bool of
    shape (N,).
    """

    sources: str
    ends: np.ndarray
    sha256s: bytes
    crops: np.ndarray
    is_held_out: np.ndarray

    @classmethod
    def of(cls, records: Iterable[ImageRecord]) -> ImageRecords:
        """Pack `records`, without checking them."""
        records = list(records)
        return cls(
            "".join(record.source for record in records),
            np.cumsum([len(record.source) for record in records], dtype=np.int64),
            bytes.fromhex("".join(record.sha256 for record in records)),
            np.array([record.crop for record in records], np.int32).reshape(-1, 4),
            np.array([record.split == "holdout" for record in records], bool),
        )

    @classmethod
    def from_json(cls, entries: list[Any]) -> ImageRecords:
        """Check and pack the `images` list of `dataset.json`; names are made printable.

        Each check covers one field of all entries. Checking entry by entry would take longer than
        parsing the JSON.

        Raises:
            ValueError: an entry does not have the format that `catgan prepare` writes.
        """
        if not (
            _are_all(dict, entries)
            and all(entry.keys() == _FIELDS for entry in entries)
            and _are_all(str, sources := list(map(itemgetter("source"), entries)))
            and _are_all(str, sha256s := list(map(itemgetter("sha256"), entries)))
            and set(map(len, sha256s)) <= {_SHA256_HEX_DIGITS}
            and _are_all(str, splits := list(map(itemgetter("split"), entries)))
            and set(splits) <= set(get_args(Split))
            and _are_all(list, crops := list(map(itemgetter("crop"), entries)))
            and set(map(len, crops)) <= {4}
            and _are_all(int, list(chain.from_iterable(crops)))  # rejects bool
        ):
            raise ValueError("malformed images entry")
        digits = "".join(sha256s)
        try:
            digests = bytes.fromhex(digits)
            corners = np.array(crops, np.int32).reshape(-1, 4)
        except (OverflowError, ValueError):
            raise ValueError("malformed images entry") from None
        if digests.hex() != digits:  # uppercase letters or spaces
            raise ValueError("malformed images entry")
        left, top, right, bottom = corners.T
        if not ((left >= 0) & (left < right) & (top >= 0) & (top < bottom)).all():
            raise ValueError("malformed images entry")
        sources = list(map(label, sources))
        return cls(
            "".join(sources),
            np.cumsum(list(map(len, sources)), dtype=np.int64),
            digests,
            corners,
            np.array([split == "holdout" for split in splits], bool),
        )

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, number: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, number: slice) -> list[ImageRecord]: ...
    def __getitem__(self, number: int | slice) -> ImageRecord | list[ImageRecord]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]  # checks bounds, resolves negative numbers
        left, top, right, bottom = self.crops[number].tolist()
        return ImageRecord(
            self.sources[self.ends[number - 1] if number else 0 : self.ends[number]],
            self.sha256s[32 * number : 32 * (number + 1)].hex(),
            (left, top, right, bottom),
            "holdout" if self.is_held_out[number] else "train",
        )

    def __iter__(self) -> Iterator[ImageRecord]:
        return map(self.__getitem__, range(len(self)))


def _are_all(kind: type, values: list[Any]) -> bool:
    return set(map(type, values)) <= {kind}
