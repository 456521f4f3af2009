"""Download published image collections from their official addresses, with resume.

Nothing that a server sends is trusted. Its size is limited while it arrives; afterwards it is read
as a hostile zip. Only regular files of the expected folder with safe names are kept.
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

Progress = Callable[[str, int, int], None]  # task, done, total

_CHUNK = 2**18
_TIMEOUT = 60  # s without any data
_MAX_ATTEMPTS = 8  # in a row without any new data
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.(?:jpg|jpeg|png)", re.IGNORECASE)
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


@dataclass(frozen=True)
class Collection:
    """A published collection: the files in `folder` of the zip at `address`.

    `images` is the published number of images; `max_bytes` limits the size of the archive.
    """

    name: str
    address: str
    folder: str
    images: int
    max_bytes: int
    license: str
    license_address: str
    credit: str


# The address is from `download.sh` in github.com/clovaai/stargan-v2. The first version of AFHQ has
# 5,153 cats in its training split.
COLLECTIONS = {
    "afhq-cat": Collection(
        name="afhq-cat",
        address="https://www.dropbox.com/s/t9l9o3vsx2jai3z/afhq.zip?dl=1",
        folder="afhq/train/cat/",
        images=5_153,
        max_bytes=4 * 2**30,
        license="CC BY-NC 4.0",
        license_address="https://creativecommons.org/licenses/by-nc/4.0/",
        credit="Animal Faces-HQ, NAVER Corp. (Choi et al., StarGAN v2, CVPR 2020)",
    )
}


def download(collection: Collection, destination: Path, *, progress: Progress | None = None) -> int:
    """Download a collection to the zip `destination` and return the number of images in it.

    An interrupted download is resumed, by this call and by later ones: the partial file is kept
    beside the destination.

    Raises `CatganError` when `destination` exists, the server cannot be reached or sends something
    else than the collection, or the disk is full. The partial file is kept, unless its content is
    wrong.
    """
    _check_free(destination)
    archive = destination.with_name(f".{destination.name}.download")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _locked(archive, destination):
            try:
                _fetch(collection, archive, progress)
                count = _select(collection, archive, destination, progress)
            except _WrongArchiveError:  # resuming would not help
                _remove_download(archive)
                raise
            _remove_download(archive)
    except OSError as error:
        remedy = "free some space or choose" if is_no_space(error) else "choose"
        raise CatganError(
            f"cannot write {destination}: {error.strerror or error}; {remedy} another path with "
            "--out."
        ) from error
    return count


def _fetch(collection: Collection, archive: Path, progress: Progress | None) -> None:
    """Download the complete archive to `archive`, retrying and resuming."""
    failures, max_arrived, state = 0, archive.stat().st_size, _read_state(archive)
    while True:
        try:
            if _fetch_more(collection, archive, progress):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise CatganError(
                    f"{collection.address}: the server answered {error.code}; the collection may "
                    "have moved: download it by hand and prepare the zip."
                ) from None
            problem = f"the server answered {error.code}"
        except (http.client.HTTPException, urllib.error.URLError, TimeoutError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        except ConnectionError as error:
            problem = error.strerror or "the connection was cut"
        arrived = archive.stat().st_size
        if (new_state := _read_state(archive)) != state:  # another version: started again
            max_arrived, state = 0, new_state
        failures = 0 if arrived > max_arrived else failures + 1
        max_arrived = max(max_arrived, arrived)
        if failures >= _MAX_ATTEMPTS:
            kept = f"; {arrived / 2**20:.0f} MiB are kept" if arrived else ""
            raise CatganError(
                f"{collection.address}: {label(problem)}{kept}; try again later: the same command "
                "resumes the download."
            )
        time.sleep(min(2.0**failures - 1, 30))


@contextmanager
def _network_errors() -> Iterator[None]:
    """Raise network errors as ConnectionError, to tell them from those of the disk."""
    try:
        yield
    except urllib.error.URLError:
        raise
    except OSError as error:
        raise ConnectionError(error.errno, error.strerror or str(error)) from error


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, except from https to another scheme."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the redirected request. Raises `HTTPError` if it leaves https."""
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise urllib.error.HTTPError(
                req.full_url, code, "redirect from https to an insecure address", headers, fp
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch_more(collection: Collection, archive: Path, progress: Progress | None) -> bool:
    """Send one request for the missing part and return whether the archive is complete."""
    state = _read_state(archive)
    have = archive.stat().st_size if state else 0
    headers = {"User-Agent": f"catgan/{__version__}", "Accept-Encoding": "identity"}
    if have:
        if have == state.get("total"):
            return True
        headers |= {"Range": f"bytes={have}-", "If-Range": str(state["version"])}
    request = urllib.request.Request(collection.address, headers=headers)  # noqa: S310 - ours
    with _network_errors():
        opened = urllib.request.build_opener(_SecureRedirects).open(request, timeout=_TIMEOUT)
    with opened as response:
        length = response.headers.get("Content-Length", "")
        start, total = 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else -1
        found = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
        if response.status == 206:
            if found is None or (int(found[1]), int(found[2])) != (have, state["total"]):
                os.truncate(archive, 0)
                return False  # not the requested range: request all of it
            start, total = have, int(found[2])
        if total > collection.max_bytes:
            raise _wrong_archive(collection, f"{total / 2**20:,.0f} MiB exceed the limit")
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if not version or version.startswith("W/"):
            version = ""  # do not resume: the parts could be of different files
        if start == 0:
            os.truncate(archive, 0)
            text = json.dumps({"version": version, "total": total})
            if version and total > 0:
                write_durably(_state_path(archive), text.encode())
            else:
                _state_path(archive).unlink(missing_ok=True)
        with archive.open("ab") as file:
            arrived = start
            while chunk := _read_chunk(response):
                arrived += len(chunk)
                if arrived > (total if total > 0 else collection.max_bytes):
                    raise _wrong_archive(collection, "it is larger than announced")
                file.write(chunk)
                if progress is not None:
                    progress(f"downloading {collection.name}", arrived, max(total, arrived))
            file.flush()
            os.fsync(file.fileno())
    return arrived == total or total < 0


def _select(
    collection: Collection, archive: Path, destination: Path, progress: Progress | None
) -> int:
    """Copy the collection's files to `destination`; raise if any is damaged or missing."""
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
                        raise _wrong_archive(collection, f"it has {name} twice")
                    names.add(name)
                    # A fixed date, so that the same collection is the same file.
                    entry = zipfile.ZipInfo(f"{collection.name}/{name}", (1980, 1, 1, 0, 0, 0))
                    try:
                        selected.writestr(entry, file.read())
                    except ImageRejected as error:
                        if isinstance(error.__cause__, OSError):
                            raise CatganError(f"{archive}: {error.reason}") from error.__cause__
                        raise _wrong_archive(collection, f"{name}: {error.reason}") from None
                if progress is not None:
                    progress("checking", done, len(files))
        if len(names) != collection.images:
            raise _wrong_archive(
                collection, f"expected {collection.images:,} images, found {len(names):,}"
            )
        with partial.open("r+b") as written:  # Windows cannot flush a file opened for reading
            os.fsync(written.fileno())
        rename(partial, destination)
        flush_directory(destination.parent)
    except CatganError as error:
        # An error of the disk does not mean that the archive is wrong.
        if isinstance(error, _WrongArchiveError) or isinstance(error.__cause__, OSError):
            raise
        raise _wrong_archive(collection, "not a valid zip") from error
    finally:
        partial.unlink(missing_ok=True)
    return len(names)


class _WrongArchiveError(CatganError):
    """The downloaded archive is not the collection."""


def _wrong_archive(collection: Collection, reason: str) -> _WrongArchiveError:
    return _WrongArchiveError(
        f"{collection.address}: the download is not {collection.name} ({reason}); try again, or "
        "download it by hand and prepare the zip."
    )


def _read_chunk(response: http.client.HTTPResponse) -> bytes:
    with _network_errors():
        return response.read(_CHUNK)


@contextmanager
def _locked(archive: Path, destination: Path) -> Iterator[None]:
    """Lock `archive` for this process, creating it if missing."""
    lock = ProcessLock(archive.with_name(f"{archive.name}.lock"))
    if not lock.acquire():
        raise CatganError(
            f"{destination} is being downloaded by another catgan: wait for it, or choose another "
            "path with --out."
        )
    try:
        _check_free(destination)  # another process may have just finished
        archive.touch()
        try:
            yield
        finally:
            if archive.exists() and archive.stat().st_size == 0:  # nothing to resume
                _remove_download(archive)
    finally:
        lock.release(remove=True)


def _check_free(destination: Path) -> None:
    if os.path.lexists(destination):
        raise CatganError(f"{destination} already exists: delete it, or prepare it as it is.")


def _remove_download(archive: Path) -> None:
    archive.unlink(missing_ok=True)
    _state_path(archive).unlink(missing_ok=True)


def _state_path(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.json")


def _read_state(archive: Path) -> dict[str, object]:
    """Return the version and total size of the partial download; {} if there is no valid state."""
    try:
        state = json.loads(_state_path(archive).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    valid = (
        isinstance(state, dict)
        and isinstance(state.get("version"), str)
        and isinstance(state.get("total"), int)
    )
    return state if valid else {}
