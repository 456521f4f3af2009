"""Collections that can be fetched: official addresses, resumable, nothing trusted on arrival.

What a server sends is bounded while it arrives, and read as a hostile zip afterwards: only plain
files of the expected folder enter the collection, under names of our own making.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from catgan import __version__
from catgan.data.reading.images import ImageRejected
from catgan.data.reading.sources import label, open_source
from catgan.errors import CatganError
from catgan.files import flush_directory, is_no_space, rename, write_durably
from catgan.locks import ProcessLock

Progress = Callable[[str, int, int], None]  # what, done, total

_CHUNK = 2**18
_TIMEOUT = 60  # s without a byte
_ATTEMPTS = 8  # in a row without a single new byte
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.(?:jpg|jpeg|png)", re.IGNORECASE)
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


@dataclass(frozen=True)
class Collection:
    """A published collection: the files below `folder` of the zip at `address`.

    `images` is how many of them were published; `most_bytes` bounds the archive.
    """

    name: str
    address: str
    folder: str
    images: int
    most_bytes: int
    license: str
    license_address: str
    credit: str


# The address is that of `download.sh` in github.com/clovaai/stargan-v2. AFHQ's first version has
# 5,153 cats in its training split.
COLLECTIONS = {
    "afhq-cat": Collection(
        name="afhq-cat",
        address="https://www.dropbox.com/s/t9l9o3vsx2jai3z/afhq.zip?dl=1",
        folder="afhq/train/cat/",
        images=5_153,
        most_bytes=4 * 2**30,
        license="CC BY-NC 4.0",
        license_address="https://creativecommons.org/licenses/by-nc/4.0/",
        credit="Animal Faces-HQ, NAVER Corp. (Choi et al., StarGAN v2, CVPR 2020)",
    )
}


def download(collection: Collection, destination: Path, *, progress: Progress | None = None) -> int:
    """Fetch a collection to the zip `destination`; the number of images in it.

    A connection that is cut is taken up where it ended, in this call and in later ones: what has
    arrived lies beside the destination until all is there.

    Raises `CatganError` when something lies at `destination`, the server cannot be reached or sends
    something else than the collection, or the disk is full. What has arrived is kept, unless it is
    itself what is wrong.
    """
    _check_free(destination)
    archive = destination.with_name(f".{destination.name}.download")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _locked(archive, destination):
            try:
                _fetch(collection, archive, progress)
                count = _select(collection, archive, destination, progress)
            except _WrongArchiveError:  # going on with it would not help
                _forget(archive)
                raise
            _forget(archive)
    except OSError as error:
        remedy = "free some space or choose" if is_no_space(error) else "choose"
        raise CatganError(
            f"cannot write {destination}: {error.strerror or error}; {remedy} another place with "
            "--out."
        ) from error
    return count


def _fetch(collection: Collection, archive: Path, progress: Progress | None) -> None:
    """Bring the whole archive to `archive`, going on with what is already there."""
    failures, furthest, version = 0, archive.stat().st_size, _read_state(archive)
    while True:
        try:
            if _fetch_more(collection, archive, progress):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise CatganError(
                    f"{collection.address}: the server answered {error.code}; the collection may "
                    "have moved: fetch it by hand and prepare the zip."
                ) from None
            problem = f"the server answered {error.code}"
        except (http.client.HTTPException, urllib.error.URLError, TimeoutError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        except ConnectionError as error:
            problem = error.strerror or "the connection was cut"
        arrived = archive.stat().st_size
        if (now := _read_state(archive)) != version:  # another file, which begins anew
            furthest, version = 0, now
        failures = 0 if arrived > furthest else failures + 1
        furthest = max(furthest, arrived)
        if failures >= _ATTEMPTS:
            kept = f"; {arrived / 2**20:.0f} MiB are kept" if arrived else ""
            raise CatganError(
                f"{collection.address}: {label(problem)}{kept}; the same command goes on from "
                "there: try again later."
            )
        time.sleep(min(2.0**failures - 1, 30))


@contextmanager
def _network() -> Iterator[None]:
    """Whatever the network does is a cut, and no fault of the disk's."""
    try:
        yield
    except urllib.error.URLError:
        raise
    except OSError as error:
        raise ConnectionError(error.errno, error.strerror or str(error)) from error


class _NoWayBack(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but none from https to where anybody on the way may answer."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request to go on with. Raises `HTTPError` when there may be none."""
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise urllib.error.HTTPError(req.full_url, code, "leads away from https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch_more(collection: Collection, archive: Path, progress: Progress | None) -> bool:
    """One request for what is missing; whether the archive is then whole."""
    state = _read_state(archive)
    have = archive.stat().st_size if state else 0
    headers = {"User-Agent": f"catgan/{__version__}", "Accept-Encoding": "identity"}
    if have:
        if have == state.get("total"):
            return True
        headers |= {"Range": f"bytes={have}-", "If-Range": str(state["version"])}
    request = urllib.request.Request(collection.address, headers=headers)  # noqa: S310 - ours
    with _network():
        answer = urllib.request.build_opener(_NoWayBack).open(request, timeout=_TIMEOUT)
    with answer as response:
        length = response.headers.get("Content-Length", "")
        start, total = 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else -1
        found = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
        if response.status == 206:
            if found is None or (int(found[1]), int(found[2])) != (have, state["total"]):
                os.truncate(archive, 0)
                return False  # an answer to another question; ask for all of it
            start, total = have, int(found[2])
        if total > collection.most_bytes:
            raise _not_it(collection, f"{total / 2**20:,.0f} MiB are too many")
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if not version or version.startswith("W/"):
            version = ""  # not to be resumed: the parts might be of different files
        if start == 0:
            os.truncate(archive, 0)
            text = json.dumps({"version": version, "total": total})
            if version and total > 0:
                write_durably(_state_path(archive), text.encode())
            else:
                _state_path(archive).unlink(missing_ok=True)
        with archive.open("ab") as file:
            arrived = start
            while chunk := _next(response):
                arrived += len(chunk)
                if arrived > (total if total > 0 else collection.most_bytes):
                    raise _not_it(collection, "more arrives than was announced")
                file.write(chunk)
                if progress is not None:
                    progress(f"downloading {collection.name}", arrived, max(total, arrived))
            file.flush()
            os.fsync(file.fileno())
    return arrived == total or total < 0


def _select(
    collection: Collection, archive: Path, destination: Path, progress: Progress | None
) -> int:
    """Write the collection's own files to `destination`; what is damaged or missing raises."""
    partial = destination.with_name(f".{destination.name}.partial-{os.getpid()}")
    names: set[str] = set()
    try:
        with (
            open_source(archive) as files,
            zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as selected,
        ):
            for done, file in enumerate(files, start=1):
                folder, _, name = file.name.rpartition("/")
                if f"{folder}/" == collection.folder and _SAFE_NAME.fullmatch(name):
                    if name in names:
                        raise _not_it(collection, f"{name} is in it twice")
                    names.add(name)
                    # A fixed date, so that the same collection is the same file.
                    entry = zipfile.ZipInfo(f"{collection.name}/{name}", (1980, 1, 1, 0, 0, 0))
                    try:
                        selected.writestr(entry, file.read())
                    except ImageRejected as verdict:
                        if isinstance(verdict.__cause__, OSError):
                            raise CatganError(f"{archive}: {verdict.reason}") from verdict.__cause__
                        raise _not_it(collection, f"{name}: {verdict.reason}") from None
                if progress is not None:
                    progress("checking", done, len(files))
        if len(names) != collection.images:
            raise _not_it(collection, f"{len(names):,} images instead of {collection.images:,}")
        with partial.open("r+b") as written:  # Windows flushes nothing that was opened to read
            os.fsync(written.fileno())
        rename(partial, destination)
        flush_directory(destination.parent)
    except CatganError as error:
        # What the disk says of itself is no judgment on what arrived.
        if isinstance(error, _WrongArchiveError) or isinstance(error.__cause__, OSError):
            raise
        raise _not_it(collection, "no sound zip") from error
    finally:
        partial.unlink(missing_ok=True)
    return len(names)


class _WrongArchiveError(CatganError):
    """What arrived is not the collection."""


def _not_it(collection: Collection, reason: str) -> _WrongArchiveError:
    return _WrongArchiveError(
        f"{collection.address}: what it sent is not {collection.name} ({reason}); try again, or "
        "fetch it by hand and prepare the zip."
    )


def _next(response: http.client.HTTPResponse) -> bytes:
    with _network():
        return response.read(_CHUNK)


@contextmanager
def _locked(archive: Path, destination: Path) -> Iterator[None]:
    """Have `archive`, which is made if need be, for this process alone."""
    lock = ProcessLock(archive.with_name(f"{archive.name}.lock"))
    if not lock.acquire():
        raise CatganError(
            f"{destination} is being fetched by another catgan: wait for it, or choose another "
            "place with --out."
        )
    try:
        _check_free(destination)  # another may have just finished
        archive.touch()
        try:
            yield
        finally:
            if archive.exists() and archive.stat().st_size == 0:  # nothing to go on with
                _forget(archive)
    finally:
        lock.release(remove=True)


def _check_free(destination: Path) -> None:
    if os.path.lexists(destination):
        raise CatganError(f"{destination} already exists: delete it, or prepare it as it is.")


def _forget(archive: Path) -> None:
    archive.unlink(missing_ok=True)
    _state_path(archive).unlink(missing_ok=True)


def _state_path(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.json")


def _read_state(archive: Path) -> dict[str, object]:
    """Which version of the file is arriving, and how large it is; {} where nothing sound is."""
    try:
        state = json.loads(_state_path(archive).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    sound = (
        isinstance(state, dict)
        and isinstance(state.get("version"), str)
        and isinstance(state.get("total"), int)
    )
    return state if sound else {}
