"""Download from a local server that cuts connections, lies and sends hostile archives."""

from __future__ import annotations

import errno
import http.client
import io
import os
import re
import ssl
import stat
import threading
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from catgan import locks
from catgan.data.reading import download as module
from catgan.data.reading.download import COLLECTIONS, Collection, download
from catgan.errors import CatganError

FOLDER = "afhq/train/cat/"


def archive_of(*extra: tuple[str, bytes], count: int = 5, method=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for number in range(count):
            content = b"\xff\xd8\xff" + bytes([number]) * 40_000
            archive.writestr(f"{FOLDER}cat_{number}.jpg", content)
        archive.writestr("afhq/train/dog/dog_0.jpg", b"\xff\xd8\xffdog")
        for name, content in extra:
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Behavior:
    """What the server does; `cuts` are the numbers of bytes after which it disconnects, in turn."""

    content: bytes
    cuts: list[int] = field(default_factory=list)
    etag: str = '"one"'
    ranges: bool = True
    range: str | None = None  # a false Content-Range
    announced: int | None = None
    length: str | None = None  # the Content-Length header verbatim
    statuses: list[int] = field(default_factory=list)
    requested: list[str | None] = field(default_factory=list)


@pytest.fixture
def server():
    behavior = Behavior(b"")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            range_header = self.headers.get("Range")
            behavior.requested.append(range_header)
            if behavior.statuses and (status := behavior.statuses.pop(0)) != 200:
                self.send_error(status)
                return
            content, start = behavior.content, 0
            if range_header and behavior.ranges and self.headers.get("If-Range") == behavior.etag:
                start = int(re.fullmatch(r"bytes=(\d+)-", range_header)[1])
                self.send_response(206)
                range_ = behavior.range or f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", range_)
            else:
                self.send_response(200)
            if behavior.etag:
                self.send_header("ETag", behavior.etag)
            if behavior.length is not None:
                self.send_header("Content-Length", behavior.length)
            elif behavior.announced != -1:
                length = behavior.announced or len(content)
                self.send_header("Content-Length", str(length - start))
            self.end_headers()
            cut = behavior.cuts.pop(0) if behavior.cuts else len(content)
            self.wfile.write(content[start : start + cut])

        def log_message(self, *arguments):
            pass

    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, daemon=True)
    thread.start()
    yield behavior, f"http://127.0.0.1:{http_server.server_port}/afhq.zip"
    http_server.shutdown()
    thread.join()


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


def collection(address: str, images: int = 5, max_bytes: int = 10**6) -> Collection:
    return Collection("cats", address, FOLDER, images, max_bytes, "CC0", "-", "nobody")


def fails(address, destination, **options) -> str:
    with pytest.raises(CatganError, match=r"^[^\n]+$") as error:
        download(collection(address, **options), destination)
    return str(error.value)


def files_in(tmp_path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_only_the_folder_is_kept(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    calls = []
    count = download(
        collection(address), tmp_path / "c.zip", progress=lambda *numbers: calls.append(numbers)
    )
    assert count == 5
    assert files_in(tmp_path) == ["c.zip"]
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        assert archive.namelist() == [f"cats/cat_{number}.jpg" for number in range(5)]
        assert archive.read("cats/cat_3.jpg") == b"\xff\xd8\xff" + bytes([3]) * 40_000
    assert ("downloading cats", len(behavior.content), len(behavior.content)) in calls


def test_cut_connection_is_resumed(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [50_000, 1, 70_000]
    download(collection(address), tmp_path / "c.zip")
    assert behavior.requested == [None, "bytes=50000-", "bytes=50001-", "bytes=120001-"]
    assert files_in(tmp_path) == ["c.zip"]


def test_network_error_while_reading_is_retried(server, tmp_path, monkeypatch):
    behavior, address = server
    behavior.content = archive_of()
    real, errors = http.client.HTTPResponse.read, [errno.EHOSTUNREACH, errno.ENETDOWN]

    def read(self, amount=None):
        if errors:
            raise OSError(number := errors.pop(), os.strerror(number))
        return real(self, amount)

    monkeypatch.setattr(http.client.HTTPResponse, "read", read)
    download(collection(address), tmp_path / "c.zip")
    assert not errors
    assert files_in(tmp_path) == ["c.zip"]


def test_network_error_while_connecting_is_retried(server, tmp_path, monkeypatch):
    behavior, address = server
    behavior.content = archive_of()
    real = http.client.HTTPConnection.getresponse
    errors = [
        OSError(errno.EHOSTUNREACH, "No route"),
        ssl.SSLError(1, "bad record"),
        TimeoutError(),
    ]

    def getresponse(self):
        if errors:
            raise errors.pop()
        return real(self)

    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", getresponse)
    assert download(collection(address), tmp_path / "c.zip") == 5
    assert not errors


@pytest.mark.parametrize("length", ["abc", "-5", "9" * 5000, "\N{SUPERSCRIPT TWO}"])
def test_invalid_content_length(server, tmp_path, length):
    behavior, address = server
    behavior.content, behavior.length = archive_of(), length
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_invalid_content_range(server, tmp_path):
    behavior, address = server
    behavior.content, behavior.cuts = archive_of(), [60_000]
    behavior.range = "bytes 60000-9/" + "9" * 5000
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_new_version_resets_the_count_of_failures(server, tmp_path):
    """It has less data than the old version for a while, which is not a failure."""
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [150_000] + [0] * module._MAX_ATTEMPTS
    fails(address, tmp_path / "c.zip")
    behavior.etag, behavior.cuts = '"two"', [10_000] * (module._MAX_ATTEMPTS + 2)
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_concurrent_download_is_rejected(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    messages = []

    def second(what, done, total):
        if not messages:
            messages.append(fails(address, tmp_path / "c.zip"))

    assert download(collection(address), tmp_path / "c.zip", progress=second) == 5
    assert "is being downloaded by another catgan" in messages[0]
    assert files_in(tmp_path) == ["c.zip"]


def test_flushed_files_are_open_for_writing(server, tmp_path, monkeypatch):
    behavior, address = server
    behavior.content = archive_of()
    real, flushed = os.fsync, []

    def fsync(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.write(descriptor, b"")  # EBADF if it is not, as on Windows
            flushed.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert download(collection(address), tmp_path / "c.zip") == 5
    assert flushed


def test_file_system_without_locks(server, tmp_path, monkeypatch):
    def lock_descriptor(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    behavior, address = server
    behavior.content = archive_of()
    monkeypatch.setattr(locks, "lock_descriptor", lock_descriptor)
    assert download(collection(address), tmp_path / "c.zip") == 5
    assert files_in(tmp_path) == ["c.zip"]


@pytest.mark.parametrize(
    ("target", "allowed"), [("http://there/x", False), ("https://there/x", True)]
)
def test_redirects_do_not_leave_https(target, allowed):
    request = urllib.request.Request("https://here/afhq.zip")
    arguments = io.BytesIO(), 302, "Found", http.client.HTTPMessage(), target
    if allowed:
        followed = module._SecureRedirects().redirect_request(request, *arguments)
        assert followed.full_url == target
    else:
        with pytest.raises(urllib.error.HTTPError, match="redirect from https"):
            module._SecureRedirects().redirect_request(request, *arguments)


def test_disk_error_keeps_the_archive(server, tmp_path, monkeypatch):
    behavior, address = server
    behavior.content = archive_of()
    source = module.open_source

    @contextmanager
    def failing(path):
        raise CatganError(f"{path} cannot be read: Input/output error.") from OSError(errno.EIO, "")
        yield

    monkeypatch.setattr(module, "open_source", failing)
    assert "Input/output error" in fails(address, tmp_path / "c.zip")
    behavior.requested.clear()
    monkeypatch.setattr(module, "open_source", source)
    assert download(collection(address), tmp_path / "c.zip") == 5
    assert behavior.requested == []  # the archive was complete


def test_later_call_resumes(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [60_000] + [0] * module._MAX_ATTEMPTS
    text = fails(address, tmp_path / "c.zip")
    assert "resumes the download" in text
    assert files_in(tmp_path) == [".c.zip.download", ".c.zip.download.json"]
    assert (tmp_path / ".c.zip.download").stat().st_size == 60_000
    behavior.requested.clear()
    download(collection(address), tmp_path / "c.zip")
    assert behavior.requested == ["bytes=60000-"]
    assert files_in(tmp_path) == ["c.zip"]


@pytest.mark.parametrize("change", ["other version", "no ranges", "no version"])
def test_parts_of_different_versions_are_never_joined(server, tmp_path, change):
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [60_000] + [0] * module._MAX_ATTEMPTS
    if change == "no version":
        behavior.etag = ""
    fails(address, tmp_path / "c.zip")
    behavior.content = archive_of(("afhq/more.txt", b"new"))
    if change == "other version":
        behavior.etag = '"two"'
    if change == "no ranges":
        behavior.ranges = False
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_server_errors(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    behavior.statuses = [503, 429, 200]
    download(collection(address), tmp_path / "c.zip")
    behavior.statuses = [404]
    assert "answered 404" in fails(address, tmp_path / "d.zip")
    assert "try again later" in fails("http://127.0.0.1:9/none.zip", tmp_path / "e.zip")


def test_wrong_sizes(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    assert "exceed the limit" in fails(address, tmp_path / "c.zip", max_bytes=100_000)
    behavior.announced = -1  # none announced, and more than allowed
    assert "not cats" in fails(address, tmp_path / "d.zip", max_bytes=100_000)
    assert files_in(tmp_path) == []  # not kept: resuming would not help
    behavior.announced = len(behavior.content) + 1000  # the end is never sent
    assert "resumes the download" in fails(address, tmp_path / "e.zip")
    assert not any(name.endswith(".zip") and name[0] != "." for name in files_in(tmp_path))


HOSTILE = {
    "no zip": b"<html>sign in</html>" * 100,
    "cut zip": archive_of()[:-30],
    "empty": b"",
    "too few": archive_of(count=4),
    "too many": archive_of((f"{FOLDER}cat_9.jpg", b"\xff\xd8\xff")),
    "bomb": archive_of((f"{FOLDER}cat_0b.jpg", bytes(2**25)), count=4, method=zipfile.ZIP_DEFLATED),
    "damaged": archive_of().replace(bytes([2]) * 100, bytes([7]) * 100, 1),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_wrong_archive_is_rejected_and_removed(server, tmp_path, kind):
    behavior, address = server
    behavior.content = HOSTILE[kind]
    text = fails(address, tmp_path / "c.zip")
    assert "is not cats" in text
    assert files_in(tmp_path) == []


def test_hostile_names_are_skipped(server, tmp_path):
    behavior, address = server
    link = zipfile.ZipInfo(f"{FOLDER}link.jpg")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO(archive_of(
        ("../../escape.jpg", b"x"),
        ("/etc/absolute.jpg", b"x"),
        (f"{FOLDER}../../up.jpg", b"x"),
        (f"{FOLDER}sub/deeper.jpg", b"x"),
        (f"{FOLDER}-rf.jpg", b"x"),
        (f"{FOLDER}script.sh", b"x"),
        (f"{FOLDER}new\nline.jpg", b"x"),
    ))  # fmt: skip
    behavior.content = buffer.getvalue()
    assert download(collection(address), tmp_path / "c.zip") == 5
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        assert archive.namelist() == [f"cats/cat_{number}.jpg" for number in range(5)]
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    behavior.content = buffer.getvalue()
    assert "symbolic link" in fails(address, tmp_path / "d.zip", images=6)
    assert files_in(tmp_path) == ["c.zip"]


def test_existing_destination_is_left_alone(server, tmp_path):
    (tmp_path / "c.zip").write_text("other")
    assert "already exists" in fails(server[1], tmp_path / "c.zip")
    assert (tmp_path / "c.zip").read_text() == "other"


def test_published_collections():
    for name, each in COLLECTIONS.items():
        assert each.name == name
        assert each.address.startswith("https://")
        assert each.license
        assert each.credit
