"""Whole photos to a dataset of cat faces: find, judge, let a person decide, write.

Finding is slow and goes into a journal beside the destination, photo by photo; judging and writing
are quick and start from the journal. So an interrupted preparation goes on where it was, and other
thresholds cost nothing while the journal is there. It is removed when the dataset is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from catgan.data.dataset import check_resolution, is_dataset
from catgan.data.faces.cascade import CascadeDetector
from catgan.data.faces.find import Classify, Face, find_faces
from catgan.data.faces.gates import Gates, NearDuplicates, refusal
from catgan.data.faces.journal import FoundFace, FoundPhoto, Journal
from catgan.data.images import ImageRejected, decode, quiet_pillow, resize
from catgan.data.parallel import ordered_map
from catgan.data.prepare import OnProgress
from catgan.data.sources import SourceFile, label, open_source
from catgan.data.writer import DatasetWriter, DestinationExistsError
from catgan.errors import CatganError

# Change it whenever the same photo would give other faces, crops or measures.
FINDING_VERSION = 1

PREPARATION, THUMBNAILS = "preparation.json", "refused.npy"
THUMBNAIL = 96  # px
MOST_THUMBNAILS = 2_000

NO_FACE = "no cat face found"


@dataclass(frozen=True)
class Candidate:
    """A face and its verdict: `reason` says why it is refused, None that it is kept.

    `identity` names it in a file of decisions: the photo's content and the face's place in it.
    """

    photo: FoundPhoto
    face: FoundFace
    reason: str | None

    @property
    def identity(self) -> str:
        """The photo's sha256, cut to 16 digits, and the face's centre in whole pixels."""
        frame = self.face.frame
        return f"{self.photo.sha256[:16]}@{frame.x:.0f},{frame.y:.0f}"


# Sees all candidates and how to read a crop; answers identity -> kept, for those that it decided.
Review = Callable[[Sequence[Candidate], Callable[[FoundFace], np.ndarray]], Mapping[str, bool]]


@dataclass(frozen=True)
class FacesReport:
    """What became of a source of whole photos.

    `photos` were read, `with_face` of them gave an image, `kept` images were written in all, of
    which `enlarged` were smaller than that in the photo. `known` photos were found finished in the
    journal. `refused` and `duplicates` are as in `PrepareReport`.
    """

    path: Path
    photos: int
    with_face: int
    known: int
    kept: int
    train: int
    holdout: int
    enlarged: int
    refused: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, str], ...]
    seconds: float


def journal_directory(destination: Path) -> Path:
    """Where the unfinished preparation of `destination` lies."""
    return destination.with_name(f".{destination.name}.preparing")


def prepare_faces(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    size: int,
    classify: Classify,
    *,
    gates: Gates | None = None,
    decisions: Mapping[str, bool] | None = None,
    review: Review | None = None,
    holdout_fraction: float = 0.1,
    workers: int | None = None,
    licence: str = "unknown",
    credit: str = "unknown",
    on_progress: OnProgress | None = None,
) -> FacesReport:
    """Make a dataset of size x size cat faces from whole photos.

    `decisions` (identity -> kept) overrule the gates; `review`, called once with every candidate,
    overrules both. `on_progress(done, total, faces, without)` is called after each photo with the
    number of faces found and of photos without one. The other arguments are those of
    `data.prepare.prepare`. What is written does not depend on `workers`, nor on interruptions.

    Raises `CatganError` as `prepare` does, and when no face is left; the journal stays.
    """
    started = time.perf_counter()
    check_resolution(size)
    destination = Path(os.path.abspath(destination))  # noqa: PTH100 - keeps symlinks
    if is_dataset(source):
        raise CatganError(f"{source} is already a dataset: use it as it is, or give the photos.")
    if os.path.lexists(destination):
        raise DestinationExistsError(
            f"{destination} already exists and is left as it is: "
            "choose another destination or delete it."
        )
    gates = gates or Gates()
    work = journal_directory(destination)
    key = {"version": FINDING_VERSION, "opencv": cv2.__version__}
    with Journal(work, size, key) as journal:
        known = len(journal.found)
        with open_source(source) as files, quiet_pillow():
            if not files:
                raise CatganError(f"{label(str(source))} holds no files: give photos.")
            photos = list(_find_all(files, journal, size, classify, workers, on_progress))
        writer = DatasetWriter(
            destination,
            size,
            name=label(Path(source).resolve().stem),
            licence=licence,
            credit=credit,
            holdout_fraction=holdout_fraction,
        )
        distinct, duplicates = _without_copies(photos)
        candidates = judged(distinct, journal.crop, gates, size)
        candidates = _decided(candidates, decisions or {})
        if review is not None:
            candidates = _decided(candidates, review(candidates, journal.crop))
        kept = [candidate for candidate in candidates if candidate.reason is None]
        refused = _refusals(distinct, candidates)
        if not kept:
            raise CatganError(_nothing_left(label(str(source)), refused))
        with writer:
            for candidate in kept:
                writer.append(
                    journal.crop(candidate.face),
                    source=candidate.photo.name,
                    sha256=candidate.photo.sha256,
                    crop=candidate.face.box,
                )
            for name, reason, _ in refused:
                writer.refuse(name, reason)
            for name, original in duplicates:
                writer.duplicate(name, original)
            _attach(writer, kept, refused, journal.crop, gates)
    shutil.rmtree(work, ignore_errors=True)
    return FacesReport(
        path=destination,
        photos=len(photos),
        with_face=len({candidate.photo.name for candidate in kept}),
        known=min(known, len(photos)),
        kept=len(kept),
        train=writer.splits.count("train"),
        holdout=writer.splits.count("holdout"),
        enlarged=sum(candidate.face.measures.side < size for candidate in kept),
        refused=tuple((name, reason) for name, reason, _ in refused),
        duplicates=tuple(duplicates),
        seconds=time.perf_counter() - started,
    )


def _find_all(
    files: Sequence[SourceFile],
    journal: Journal,
    size: int,
    classify: Classify,
    workers: int | None,
    on_progress: OnProgress | None,
) -> Iterator[FoundPhoto]:
    """Every file of the source in order, from the journal or looked at now and put there."""
    detector = CascadeDetector()
    one = partial(_find_one, size=size, detector=detector, classify=classify, known=journal.found)
    faces = without = 0
    for done, (file, result) in enumerate(ordered_map(one, files, workers), start=1):
        if isinstance(result, FoundPhoto):
            photo = result
        elif isinstance(result, ImageRejected):
            photo = FoundPhoto(file.name, "", result.reason, ())  # cheap to find out again
        else:
            sha256, photo_size, found, rejected = result
            photo = journal.add(
                file.name, sha256, photo_size=photo_size, faces=found, rejected=rejected
            )
        yield photo
        faces += len(photo.faces)
        without += not photo.faces
        if on_progress is not None:
            on_progress(done, len(files), faces, without)


_Looked = tuple[str, tuple[int, int], list[Face], str | None]


def _find_one(
    file: SourceFile,
    size: int,
    detector: CascadeDetector,
    classify: Classify,
    known: Mapping[tuple[str, str], FoundPhoto],
) -> FoundPhoto | ImageRejected | _Looked:
    try:
        data = file.read()
    except ImageRejected as verdict:
        return verdict.with_traceback(None)
    sha256 = hashlib.sha256(data).hexdigest()
    if (file.name, sha256) in known:
        return known[file.name, sha256]
    try:
        photo = decode(data)
    except ImageRejected as verdict:
        return sha256, (1, 1), [], verdict.reason
    height, width = photo.shape[:2]
    return sha256, (width, height), find_faces(photo, size, detector, classify), None


def judged(
    photos: Iterable[FoundPhoto],
    read: Callable[[FoundFace], np.ndarray],
    gates: Gates,
    size: int,
) -> list[Candidate]:
    """Every face with its verdict; of near-duplicates, the first that passes all else is kept."""
    seen = NearDuplicates()
    candidates = []
    for photo in photos:
        for face in photo.faces:
            reason = refusal(face.measures, gates, size)
            if reason is None and gates.distance >= 0:
                crop = read(face)
                near = seen.nearest(crop)
                if near is not None and near[1] <= gates.distance:
                    reason = f"near-duplicate: {near[1]} of 64 bits from {near[0]}"
                else:
                    seen.remember(photo.name, crop)
            candidates.append(Candidate(photo, face, reason))
    return candidates


def _decided(candidates: Sequence[Candidate], decisions: Mapping[str, bool]) -> list[Candidate]:
    result = []
    for candidate in candidates:
        kept = decisions.get(candidate.identity)
        if kept is True:
            candidate = replace(candidate, reason=None)
        elif kept is False and candidate.reason is None:
            candidate = replace(candidate, reason="refused in review")
        result.append(candidate)
    return result


def _without_copies(
    photos: Iterable[FoundPhoto],
) -> tuple[list[FoundPhoto], list[tuple[str, str]]]:
    names: dict[str, str] = {}
    distinct, duplicates = [], []
    for photo in photos:
        if photo.rejected is None and photo.sha256 in names:
            duplicates.append((photo.name, names[photo.sha256]))
        else:
            names.setdefault(photo.sha256, photo.name)
            distinct.append(photo)
    return distinct, duplicates


_Refusal = tuple[str, str, FoundFace | None]


def _refusals(photos: Sequence[FoundPhoto], candidates: Sequence[Candidate]) -> list[_Refusal]:
    """(name, reason, face) of what was refused: unusable photos, and faces that a person would see.

    Of a photo that gave nothing, its most evident face speaks. Beside a face that was kept, what
    was no cat or no clear face is not worth a word.
    """
    by_photo: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        by_photo.setdefault(id(candidate.photo), []).append(candidate)
    refused: list[_Refusal] = []
    for photo in photos:
        mine = by_photo.get(id(photo), [])
        lost = [candidate for candidate in mine if candidate.reason is not None]
        plain = [c for c in lost if c.reason and not c.reason.startswith(("not a cat", "not a cl"))]
        if photo.rejected is not None or not mine:
            refused.append((photo.name, photo.rejected or NO_FACE, None))
        elif len(lost) == len(mine) and not plain:
            refused.append((photo.name, str(lost[0].reason), lost[0].face))
        else:
            refused += [(photo.name, str(c.reason), c.face) for c in plain]
    return refused


def _nothing_left(source: str, refused: Sequence[_Refusal]) -> str:
    kinds: dict[str, int] = {}
    for _, reason, _ in refused:
        kind = reason.split(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    most = sorted(kinds.items(), key=lambda item: -item[1])[:3]
    reasons = ", ".join(f"{count} {kind}" for kind, count in most)
    return (
        f"{source} gives no cat face ({len(refused)} refused: {reasons}): give photos in which a "
        "cat looks at the camera, or change a threshold with --gate."
    )


def _attach(
    writer: DatasetWriter,
    kept: Sequence[Candidate],
    refused: Sequence[_Refusal],
    read: Callable[[FoundFace], np.ndarray],
    gates: Gates,
) -> None:
    """Add what `catgan inspect` shows: measures, gates, thumbnails of the refused."""
    shown = [entry for entry in refused if entry[2] is not None][:MOST_THUMBNAILS]
    thumbnails = np.empty((len(shown), THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8)
    for row, (_, _, face) in enumerate(shown):
        assert face is not None  # noqa: S101 - for the type checker; see `shown`
        thumbnails[row] = resize(read(face), THUMBNAIL)
    about = {
        "format": "catgan-faces",
        "version": FINDING_VERSION,
        "gates": asdict(gates),
        "images": [
            {
                "identity": each.identity,
                "frame": asdict(each.face.frame),
                **asdict(each.face.measures),
            }
            for each in kept
        ],
        "thumbnails": [{"name": name, "reason": reason} for name, reason, _ in shown],
    }
    writer.attach(PREPARATION, json.dumps(about, ensure_ascii=False).encode(errors="replace"))
    buffer = io.BytesIO()
    np.save(buffer, thumbnails, allow_pickle=False)
    writer.attach(THUMBNAILS, buffer.getvalue())
