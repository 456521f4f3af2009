"""Prepare whole photos into a dataset of cat faces: find, filter, review, write.

Finding is slow; its results go into a journal beside the destination, photo by photo. Filtering and
writing are fast and start from the journal. So an interrupted preparation can be resumed, also with
other thresholds. The journal is removed once the dataset is written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from catgan.data.dataset.dataset import count_rejection_kinds
from catgan.data.dataset.prepare import OnProgress, require_photos
from catgan.data.dataset.writer import DatasetWriter, require_free_destination
from catgan.data.faces.cascade import CascadeDetector
from catgan.data.faces.find import Classify, find_faces
from catgan.data.faces.gates import Gates
from catgan.data.faces.journal import FoundFace, FoundPhoto, Journal
from catgan.data.faces.selection import Candidate, CropSelector, Review
from catgan.data.reading.images import ImageRejected, decode, quiet_pillow, resize
from catgan.data.reading.sources import SourceFile, label, open_source, source_name
from catgan.errors import CatganError
from catgan.parallel import ordered_map

# Increment when the same photo would give different faces, crops or measures.
FINDING_VERSION = 1

PREPARATION, THUMBNAILS = "preparation.json", "rejected.npy"
THUMBNAIL = 96  # px, side
MAX_THUMBNAILS = 2_000

NO_FACE = "no cat face found"


@dataclass(frozen=True)
class FacesReport:
    """What happened to a source of whole photos.

    `photos` were read, and `with_face` of them gave at least one image. `kept` images were written;
    `enlarged` of them were smaller in the photo. `known` photos were already in the journal.
    `unmatched` decisions were about faces that are not in these photos. `rejected` and `duplicates`
    are as in `PrepareReport`.
    """

    path: Path
    photos: int
    with_face: int
    known: int
    kept: int
    train: int
    holdout: int
    enlarged: int
    unmatched: int
    rejected: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, str], ...]
    seconds: float


def journal_directory(destination: Path) -> Path:
    """Return the directory of the journal of an unfinished preparation of `destination`."""
    return destination.parent / f".{destination.name}.preparing"


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
    license: str = "unknown",
    credit: str = "unknown",
    on_progress: OnProgress | None = None,
) -> FacesReport:
    """Make a dataset of size x size cat faces from whole photos.

    `decisions` (identity -> kept) overrule the gates. `review` is called once with the selector and
    these decisions, and returns the decisions to use instead. `on_progress(done, total, faces,
    without)` is called after each photo with the number of faces found and of photos without one.
    The other arguments are those of `data.dataset.prepare.prepare`. The dataset does not depend on
    `workers` or on interruptions.

    Raises `CatganError` as `prepare` does, and when no face is left; then the journal stays.
    Invalid arguments are rejected before the search.
    """
    started = time.perf_counter()
    destination = Path(os.path.abspath(destination))  # noqa: PTH100 - keeps symlinks
    require_photos(source)
    require_free_destination(destination)
    writer = DatasetWriter(  # before the search, which takes long: it checks its arguments
        destination,
        size,
        name=source_name(source),
        license=license,
        credit=credit,
        holdout_fraction=holdout_fraction,
    )
    gates = gates or Gates()
    directory = journal_directory(destination)
    key = {"version": FINDING_VERSION, "opencv": cv2.__version__}
    with open_source(source) as files:
        if not files:
            raise CatganError(f"{label(str(source))} has no files: give photos.")
        with Journal(directory, size, key) as journal:
            found = _find_all(files, journal, size, classify, workers, on_progress)
            photos, duplicates = _without_copies([photo for photo, _ in found])
            selector = CropSelector(photos, journal.crop, gates, size)
            decisions = decisions or {}
            if review:
                decisions = review(selector, decisions)
            candidates = selector(decisions)
            kept = [candidate for candidate in candidates if candidate.reason is None]
            rejected = _rejections(photos, candidates)
            if not kept:
                raise CatganError(_nothing_left(label(str(source)), rejected))
            with writer:
                _write(writer, kept, rejected, duplicates, journal, gates)
    shutil.rmtree(directory, ignore_errors=True)
    return FacesReport(
        path=destination,
        photos=len(files),
        with_face=len({id(candidate.photo) for candidate in kept}),
        known=sum(known for _, known in found),
        kept=len(kept),
        train=writer.splits.count("train"),
        holdout=writer.splits.count("holdout"),
        enlarged=sum(candidate.face.measures.side < size for candidate in kept),
        unmatched=len(decisions.keys() - {candidate.identity for candidate in candidates}),
        rejected=tuple((name, reason) for name, reason, _ in rejected),
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
) -> list[tuple[FoundPhoto, bool]]:
    """Find the faces in every file, in order; the flag says if it was already in the journal."""
    detector = CascadeDetector()
    find_one = partial(_find_one, size=size, detector=detector, classify=classify, journal=journal)
    found = []
    faces = without = 0
    with quiet_pillow():
        for done, (_, result) in enumerate(ordered_map(find_one, files, workers), start=1):
            found.append(result)
            faces += len(result[0].faces)
            without += not result[0].faces
            if on_progress is not None:
                on_progress(done, len(files), faces, without)
    return found


def _find_one(
    file: SourceFile, size: int, detector: CascadeDetector, classify: Classify, journal: Journal
) -> tuple[FoundPhoto, bool]:
    """Find the faces in a photo and record them in the journal at once, out of order."""
    try:
        data = file.read()
    except ImageRejected as rejection:
        return FoundPhoto(file.name, "", rejection.reason, ()), False  # no need to record it
    sha256 = hashlib.sha256(data).hexdigest()
    if (file.name, sha256) in journal.found:
        return journal.found[file.name, sha256], True
    try:
        photo = decode(data)
    except ImageRejected as rejection:
        return journal.add(file.name, sha256, rejected=rejection.reason), False
    height, width = photo.shape[:2]
    faces = find_faces(photo, size, detector, classify)
    return journal.add(file.name, sha256, photo_size=(width, height), faces=faces), False


def _without_copies(
    photos: Sequence[FoundPhoto],
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


_Rejection = tuple[str, str, FoundFace | None]


def _rejections(photos: Sequence[FoundPhoto], candidates: Sequence[Candidate]) -> list[_Rejection]:
    """Return (name, reason, face) of unusable photos and of rejected faces worth reporting.

    A photo without any kept face is reported once, with its first face. Beside a kept face, "not a
    cat" and "not a clear face" are not reported: most of these are cushions.
    """
    by_photo: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        by_photo.setdefault(id(candidate.photo), []).append(candidate)
    rejected: list[_Rejection] = []
    for photo in photos:
        of_photo = by_photo.get(id(photo), [])
        failed = [candidate for candidate in of_photo if candidate.reason is not None]
        reported = [
            c for c in failed if c.reason and not c.reason.startswith(("not a cat", "not a cl"))
        ]
        if photo.rejected is not None or not of_photo:
            rejected.append((photo.name, photo.rejected or NO_FACE, None))
        elif len(failed) == len(of_photo) and not reported:
            rejected.append((photo.name, str(failed[0].reason), failed[0].face))
        else:
            rejected += [(photo.name, str(c.reason), c.face) for c in reported]
    return rejected


def _nothing_left(source: str, rejected: Sequence[_Rejection]) -> str:
    kinds = count_rejection_kinds(reason for _, reason, _ in rejected)
    reasons = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return (
        f"{source} has no usable cat face ({len(rejected)} rejected: {reasons}): give photos in "
        "which a cat looks at the camera, or change a threshold with --gate."
    )


def _write(
    writer: DatasetWriter,
    kept: Sequence[Candidate],
    rejected: Sequence[_Rejection],
    duplicates: Sequence[tuple[str, str]],
    journal: Journal,
    gates: Gates,
) -> None:
    for candidate in kept:
        writer.append(
            journal.crop(candidate.face),
            source=candidate.photo.name,
            sha256=candidate.photo.sha256,
            crop=candidate.face.box,
        )
    for name, reason, _ in rejected:
        writer.reject(name, reason)
    for name, original in duplicates:
        writer.duplicate(name, original)
    _attach(writer, kept, rejected, journal, gates)


def _attach(
    writer: DatasetWriter,
    kept: Sequence[Candidate],
    rejected: Sequence[_Rejection],
    journal: Journal,
    gates: Gates,
) -> None:
    """Add the files that `catgan inspect` shows: measures, gates, thumbnails of rejected faces."""
    shown = [entry for entry in rejected if entry[2] is not None][:MAX_THUMBNAILS]
    thumbnails = np.empty((len(shown), THUMBNAIL, THUMBNAIL, 3), dtype=np.uint8)
    for row, (_, _, face) in enumerate(shown):
        assert face is not None  # noqa: S101 - for the type checker; see `shown`
        thumbnails[row] = resize(journal.crop(face), THUMBNAIL)
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
