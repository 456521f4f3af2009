"""Fetching against a local server that cuts, lies, and sends hostile archives."""

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
    """What the server does: `cuts` are the numbers of bytes after which it hangs up, in turn."""

    content: bytes
    cuts: list[int] = field(default_factory=list)
    etag: str = '"one"'
    ranges: bool = True
    range: str | None = None  # what it says that it sends, in place of the truth
    announced: int | None = None
    length: str | None = None  # the header itself, whatever it says
    statuses: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server():
    behavior = Behavior(b"")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            behavior.asked.append(wanted)
            if behavior.statuses and (status := behavior.statuses.pop(0)) != 200:
                self.send_error(status)
                return
            content, start = behavior.content, 0
            if wanted and behavior.ranges and self.headers.get("If-Range") == behavior.etag:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
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

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield behavior, f"http://127.0.0.1:{listening.server_port}/afhq.zip"
    listening.shutdown()
    thread.join()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


def collection(address: str, images: int = 5, most: int = 10**6) -> Collection:
    return Collection("cats", address, FOLDER, images, most, "CC0", "-", "nobody")


def fails(address, destination, **options) -> str:
    with pytest.raises(CatganError, match=r"^[^\n]+$") as error:
        download(collection(address, **options), destination)
    return str(error.value)


def left(tmp_path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_only_the_folder_is_kept(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    calls = []
    count = download(
        collection(address), tmp_path / "c.zip", progress=lambda *numbers: calls.append(numbers)
    )
    assert count == 5
    assert left(tmp_path) == ["c.zip"]
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        assert archive.namelist() == [f"cats/cat_{number}.jpg" for number in range(5)]
        assert archive.read("cats/cat_3.jpg") == b"\xff\xd8\xff" + bytes([3]) * 40_000
    assert ("downloading cats", len(behavior.content), len(behavior.content)) in calls


def test_a_cut_connection_is_taken_up(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [50_000, 1, 70_000]
    download(collection(address), tmp_path / "c.zip")
    assert behavior.asked == [None, "bytes=50000-", "bytes=50001-", "bytes=120001-"]
    assert left(tmp_path) == ["c.zip"]


def test_a_network_that_goes_away_is_no_fault_of_the_disk(server, tmp_path, monkeypatch):
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
    assert left(tmp_path) == ["c.zip"]


def test_an_answer_that_never_comes_is_no_fault_of_the_disk(server, tmp_path, monkeypatch):
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
def test_a_length_that_is_none(server, tmp_path, length):
    behavior, address = server
    behavior.content, behavior.length = archive_of(), length
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_a_range_that_is_none(server, tmp_path):
    behavior, address = server
    behavior.content, behavior.cuts = archive_of(), [60_000]
    behavior.range = "bytes 60000-9/" + "9" * 5000
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_a_file_that_begins_anew_is_progress(server, tmp_path):
    """A new version is behind the old one for a while: no reason to give up."""
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [150_000] + [0] * module._ATTEMPTS
    fails(address, tmp_path / "c.zip")
    behavior.etag, behavior.cuts = '"two"', [10_000] * (module._ATTEMPTS + 2)
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_two_at_once_do_not_mix(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    told = []

    def second(what, done, total):
        if not told:
            told.append(fails(address, tmp_path / "c.zip"))

    assert download(collection(address), tmp_path / "c.zip", progress=second) == 5
    assert "is being fetched by another catgan" in told[0]
    assert left(tmp_path) == ["c.zip"]


def test_windows_flushes_only_what_was_opened_to_write(server, tmp_path, monkeypatch):
    behavior, address = server
    behavior.content = archive_of()
    real, flushed = os.fsync, []

    def fsync(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.write(descriptor, b"")  # EBADF, as Windows says
            flushed.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert download(collection(address), tmp_path / "c.zip") == 5
    assert flushed


def test_a_file_system_without_locks(server, tmp_path, monkeypatch):
    def lock_descriptor(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    behavior, address = server
    behavior.content = archive_of()
    monkeypatch.setattr(locks, "lock_descriptor", lock_descriptor)
    assert download(collection(address), tmp_path / "c.zip") == 5
    assert left(tmp_path) == ["c.zip"]


@pytest.mark.parametrize(
    ("target", "sound"), [("http://there/x", False), ("https://there/x", True)]
)
def test_no_redirection_leaves_https(target, sound):
    request = urllib.request.Request("https://here/afhq.zip")
    arguments = io.BytesIO(), 302, "Found", http.client.HTTPMessage(), target
    if sound:
        followed = module._NoWayBack().redirect_request(request, *arguments)
        assert followed.full_url == target
    else:
        with pytest.raises(urllib.error.HTTPError, match="leads away from https"):
            module._NoWayBack().redirect_request(request, *arguments)


def test_a_disk_that_cannot_be_read_is_no_judgment_on_the_archive(server, tmp_path, monkeypatch):
    behavior, address = server
    behavior.content = archive_of()
    source = module.open_source

    @contextmanager
    def failing(path):
        raise CatganError(f"{path} cannot be read: Input/output error.") from OSError(errno.EIO, "")
        yield

    monkeypatch.setattr(module, "open_source", failing)
    assert "Input/output error" in fails(address, tmp_path / "c.zip")
    behavior.asked.clear()
    monkeypatch.setattr(module, "open_source", source)
    assert download(collection(address), tmp_path / "c.zip") == 5
    assert behavior.asked == []  # it had all arrived


def test_a_later_call_goes_on_and_nothing_is_lost(server, tmp_path):
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [60_000] + [0] * module._ATTEMPTS
    text = fails(address, tmp_path / "c.zip")
    assert "goes on from there" in text
    assert left(tmp_path) == [".c.zip.download", ".c.zip.download.json"]
    assert (tmp_path / ".c.zip.download").stat().st_size == 60_000
    behavior.asked.clear()
    download(collection(address), tmp_path / "c.zip")
    assert behavior.asked == ["bytes=60000-"]
    assert left(tmp_path) == ["c.zip"]


@pytest.mark.parametrize("change", ["other version", "no ranges", "no version"])
def test_parts_of_different_files_are_never_joined(server, tmp_path, change):
    behavior, address = server
    behavior.content = archive_of()
    behavior.cuts = [60_000] + [0] * module._ATTEMPTS
    if change == "no version":
        behavior.etag = ""
    fails(address, tmp_path / "c.zip")
    behavior.content = archive_of(("afhq/more.txt", b"new"))
    if change == "other version":
        behavior.etag = '"two"'
    if change == "no ranges":
        behavior.ranges = False
    assert download(collection(address), tmp_path / "c.zip") == 5


def test_errors_of_the_server(server, tmp_path):
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
    assert "too many" in fails(address, tmp_path / "c.zip", most=100_000)
    behavior.announced = -1  # none announced, and more than may come
    assert "not cats" in fails(address, tmp_path / "d.zip", most=100_000)
    assert left(tmp_path) == []  # what is too much is of no use later either
    behavior.announced = len(behavior.content) + 1000  # the end never comes
    assert "goes on from there" in fails(address, tmp_path / "e.zip")
    assert not any(name.endswith(".zip") and name[0] != "." for name in left(tmp_path))


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
def test_what_is_not_the_collection_is_refused_and_removed(server, tmp_path, kind):
    behavior, address = server
    behavior.content = HOSTILE[kind]
    text = fails(address, tmp_path / "c.zip")
    assert "is not cats" in text
    assert left(tmp_path) == []


def test_hostile_names_stay_outside(server, tmp_path):
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
    assert left(tmp_path) == ["c.zip"]


def test_what_is_in_the_way_is_left(server, tmp_path):
    (tmp_path / "c.zip").write_text("mine")
    assert "already exists" in fails(server[1], tmp_path / "c.zip")
    assert (tmp_path / "c.zip").read_text() == "mine"


def test_the_published_collections():
    for name, each in COLLECTIONS.items():
        assert each.name == name
        assert each.address.startswith("https://")
        assert each.license
        assert each.credit
