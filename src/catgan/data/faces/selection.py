"""Which faces become images: a person's word first, then the gates, then one of all twins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from catgan.data.faces.gates import Gates, NearDuplicates, rejection
from catgan.data.faces.journal import FoundFace, FoundPhoto


@dataclass(frozen=True)
class Candidate:
    """A face and its verdict: `reason` says why it is rejected, None that it is kept.

    `identity` names it in a file of decisions: the photo's content and the face's place in it.
    """

    photo: FoundPhoto
    face: FoundFace
    reason: str | None

    @property
    def identity(self) -> str:
        """The photo's sha256, cut to 16 digits, and the face's center in whole pixels."""
        frame = self.face.frame
        return f"{self.photo.sha256[:16]}@{frame.x:.0f},{frame.y:.0f}"


class CropSelector:
    """Gives every face of `photos` its verdict; called with decisions (identity -> kept).

    In the order of the photos, a face is kept when a person keeps it, or when nobody rejects it, it
    passes the gates, and no face kept before it is a near-duplicate. So of twins, the second steps
    in when a person rejects the first. All pixels are looked at once, by `read`, when the judge is
    made; after that a verdict on thousands of faces takes a moment.
    """

    def __init__(
        self,
        photos: Iterable[FoundPhoto],
        read: Callable[[FoundFace], np.ndarray],
        gates: Gates,
        size: int,
    ) -> None:
        self.read = read
        self._by_gates = [
            Candidate(photo, face, rejection(face.measures, gates, size))
            for photo in photos
            for face in photo.faces
        ]
        near = NearDuplicates(gates.distance)
        self._twins = [
            near.add(read(each.face)) if gates.distance >= 0 else np.empty((0, 2), np.int32)
            for each in self._by_gates
        ]

    def __call__(self, decisions: Mapping[str, bool]) -> list[Candidate]:
        """Every face in order; decisions about faces that are not there have no effect."""
        verdicts: list[Candidate] = []
        for candidate, twins in zip(self._by_gates, self._twins, strict=True):
            reason = candidate.reason
            told = decisions.get(candidate.identity)
            if told is not None:
                reason = None if told else reason or "rejected in review"
            elif reason is None:
                reason = next(
                    (
                        f"near-duplicate: {bits} of 64 bits from {verdicts[other].photo.name}"
                        for other, bits in twins
                        if verdicts[other].reason is None
                    ),
                    None,
                )
            verdicts.append(Candidate(candidate.photo, candidate.face, reason))
        return verdicts


# Is given the judge and the decisions so far; answers all decisions, which then count.
Review = Callable[[CropSelector, Mapping[str, bool]], Mapping[str, bool]]
