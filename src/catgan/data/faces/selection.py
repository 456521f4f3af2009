"""Select the faces to keep: decisions of a person first, then gates, then near-duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from catgan.data.faces.gates import Gates, NearDuplicates, rejection
from catgan.data.faces.journal import FoundFace, FoundPhoto


@dataclass(frozen=True)
class Candidate:
    """A face, and the reason why it is rejected; None if it is kept."""

    photo: FoundPhoto
    face: FoundFace
    reason: str | None

    @property
    def identity(self) -> str:
        """The key of the face in a file of decisions.

        It is the first 16 digits of the photo's sha256 and the face's center in whole pixels.
        """
        frame = self.face.frame
        return f"{self.photo.sha256[:16]}@{frame.x:.0f},{frame.y:.0f}"


class CropSelector:
    """Selects the faces of `photos` to keep; called with decisions (identity -> kept).

    In the order of the photos, a face is kept if a person keeps it, or if nobody rejects it, it
    passes the gates, and no face kept before it is a near-duplicate. So if a person rejects the
    first of several near-duplicates, the next one is kept instead.

    The constructor reads every crop once with `read_crop`; a call takes little time, even for
    thousands of faces.
    """

    def __init__(
        self,
        photos: Iterable[FoundPhoto],
        read_crop: Callable[[FoundFace], np.ndarray],
        gates: Gates,
        size: int,
    ) -> None:
        self.read_crop = read_crop
        self._by_gates = [
            Candidate(photo, face, rejection(face.measures, gates, size))
            for photo in photos
            for face in photo.faces
        ]
        index = NearDuplicates(gates.distance)
        self._near_duplicates = [
            index.add(read_crop(each.face)) if gates.distance >= 0 else np.empty((0, 2), np.int32)
            for each in self._by_gates
        ]

    def __call__(self, decisions: Mapping[str, bool]) -> list[Candidate]:
        """Return every face in order, with its reason; decisions about other faces are ignored."""
        selected: list[Candidate] = []
        for candidate, near_duplicates in zip(self._by_gates, self._near_duplicates, strict=True):
            reason = candidate.reason
            decision = decisions.get(candidate.identity)
            if decision is not None:
                reason = None if decision else reason or "rejected in review"
            elif reason is None:
                reason = next(
                    (
                        f"near-duplicate: {bits} of 64 bits from {selected[other].photo.name}"
                        for other, bits in near_duplicates
                        if selected[other].reason is None
                    ),
                    None,
                )
            selected.append(Candidate(candidate.photo, candidate.face, reason))
        return selected


# Takes the selector and the decisions so far, and returns the decisions to use.
Review = Callable[[CropSelector, Mapping[str, bool]], Mapping[str, bool]]
