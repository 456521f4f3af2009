from __future__ import annotations

import io
import os
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from catgan.data.reading import sources
from catgan.data.reading.images import ImageRejected
from catgan.data.reading.sources import content_key, label, open_source, source_name
from catgan.errors import CatganError

NEEDS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX: named pipes")


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def only_reason(path: Path) -> str:
    with open_source(path) as files:
        (file,) = files
        with pytest.raises(ImageRejected) as error:
            file.read()
    return error.value.reason


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cats/tom.jpg", "cats/tom.jpg"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("a\nb\x00c", "a\ufffdb\ufffdc"),
        ("\u202egpj.exe", "\ufffdgpj.exe"),
        ("caf\udce9", "caf\ufffd"),
        ("", "(unnamed)"),
        ("x" * 300, "…" + "x" * 199),
        ("ねこ é.png", "ねこ é.png"),
    ],
)
def test_label(name, expected):
    assert label(name) == expected
    assert label(name).isprintable()


def test_folder_and_zip_give_the_same_list(tmp_path):
    members = {"b/2.jpg": b"two", "a.jpg": b"one", "b/10.jpg": b"ten", ".x": b"", "b/.y/z": b""}
    folder = tmp_path / "folder"
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    archive = write_zip(tmp_path / "z.zip", members | {"__MACOSX/._a.jpg": b"", "empty/": b""})
    listings = []
    for source in (folder, archive):
        with open_source(source) as files:
            listings.append([(file.name, file.read()) for file in files])
    assert listings[0] == [("a.jpg", b"one"), ("b/10.jpg", b"ten"), ("b/2.jpg", b"two")]
    assert listings[1] == listings[0]


def test_single_file(tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"content")
    with open_source(tmp_path / "one.jpg") as files:
        assert [(file.name, file.read()) for file in files] == [("one.jpg", b"content")]


@pytest.mark.parametrize("path", ["missing", "missing.zip", "a\0b"])
def test_missing_source(tmp_path, path):
    with pytest.raises(CatganError) as error, open_source(tmp_path / path):
        pass
    assert "\n" not in str(error.value)


def test_errors_inside_the_block_are_not_caught(tmp_path):
    with pytest.raises(FileNotFoundError), open_source(tmp_path):
        (tmp_path / "gone").read_bytes()


@NEEDS_PIPES
def test_fifo_as_source(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CatganError, match="neither"), open_source(tmp_path / "pipe"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX: permission bits")
@pytest.mark.skipif(getattr(os, "geteuid", lambda: None)() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "secret.jpg").chmod(0)
    assert "Permission denied" in only_reason(tmp_path)


@NEEDS_PIPES
def test_file_swapped_for_a_pipe_after_listing_does_not_block(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    with open_source(tmp_path) as files:
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ImageRejected, match="not a regular file"):
            files[0].read()
        path.unlink()
        with pytest.raises(ImageRejected, match="cannot be read"):
            files[0].read()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs a list of open files")
def test_rejected_paths_leave_no_open_file(tmp_path):
    """Found by fuzzing: a list of a thousand directories ran out of descriptors."""
    before = len(list(Path("/dev/fd").iterdir()))
    for path in [tmp_path, Path("/dev/null"), tmp_path / "none"] * 5:
        with pytest.raises(ImageRejected):
            sources._read_regular(path)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_size_is_checked_before_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 2**20)
    (tmp_path / "a.jpg").write_bytes(b"x" * (2**20 + 1))
    assert "1 MiB allowed" in only_reason(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x" * 2**20)
    with open_source(tmp_path) as files:
        assert len(files[0].read()) == 2**20


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    archive = write_zip(tmp_path / "z.zip", dict.fromkeys("abc", b""))
    with pytest.raises(CatganError, match="more than 2 files"), open_source(archive):
        pass


@pytest.mark.parametrize("zip64", [False, True])
def test_zip_with_a_huge_list_of_members_is_not_parsed(tmp_path, monkeypatch, zip64):
    archive = write_zip(tmp_path / "z.zip", {f"{i:0100}": b"" for i in range(20)})
    if zip64:
        data = archive.read_bytes()
        at = data.rindex(b"PK\x05\x06")
        count, size, offset = struct.unpack_from("<HII", data, at + 10)
        record = struct.pack(
            "<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, offset
        )
        locator = struct.pack("<IIQI", 0x07064B50, 0, at, 1)
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
        archive.write_bytes(data[:at] + record + locator + end)
        with open_source(archive) as files:
            assert len(files) == 20  # the forged zip is valid
    monkeypatch.setattr(sources, "MAX_DIRECTORY_BYTES", 1000)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("parsed"))
    with pytest.raises(CatganError, match="too many members"), open_source(archive):
        pass


def test_zip_bomb(tmp_path):
    assert only_reason(write_zip(tmp_path / "z.zip", {"a.bmp": bytes(2**24)})) == "compression bomb"


def test_zip_member_with_a_wrong_size(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "z.zip", {"a.bmp": bytes(2**24)})
    data = archive.read_bytes().replace(struct.pack("<I", 2**24), struct.pack("<I", 100))
    archive.write_bytes(data)
    assert only_reason(archive) == "damaged inside the zip"
    # A member that claims more than it has.
    archive = write_zip(tmp_path / "y.zip", {"a.bmp": b"abc" * 5}, zipfile.ZIP_STORED)
    data = archive.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    archive.write_bytes(data[: at + 24] + struct.pack("<I", 5000) + data[at + 28 :])
    assert only_reason(archive) == "damaged inside the zip"


def test_overlapping_zip_members(tmp_path):
    archive = write_zip(tmp_path / "z.zip", {"a": os.urandom(5000)}, zipfile.ZIP_STORED)
    data = archive.read_bytes()
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[at:end]
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, 3, 3, 3 * len(entry))
    archive.write_bytes(data[:at] + 3 * entry + tail)
    with pytest.raises(CatganError, match="hostile"), open_source(archive):
        pass


def test_zip_with_wrong_checksum(tmp_path):
    archive = write_zip(tmp_path / "z.zip", {"a.jpg": b"marker" * 9}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"markermarker", b"markerMARKER", 1))
    assert only_reason(archive) == "damaged inside the zip"


def test_encrypted_member(tmp_path):
    archive = write_zip(tmp_path / "z.zip", {"a.jpg": b"x"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert "encrypted" in only_reason(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unbounded_compression_methods_are_rejected(tmp_path, method):
    assert "unusual method" in only_reason(write_zip(tmp_path / "z.zip", {"a": b"x"}, method))


def test_link_inside_a_zip(tmp_path):
    info = zipfile.ZipInfo("a.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "symbolic link" in only_reason(tmp_path / "z.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_in_a_zip_are_labels_only(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("../../evil.jpg", b"1")
        archive.writestr("/etc/evil.jpg", b"2")
        archive.writestr("same.jpg", b"3")
        archive.writestr("same.jpg", b"4")
    with open_source(folder / "z.zip") as files:
        found = {(file.name, file.read()) for file in files}
    assert found == {
        ("../../evil.jpg", b"1"),
        ("/etc/evil.jpg", b"2"),
        ("same.jpg", b"3"),
        ("same.jpg", b"4"),
    }
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "z.zip"]


def test_not_a_zip(tmp_path):
    good = write_zip(tmp_path / "z.zip", {"a": b"x" * 999}).read_bytes()
    for cut in range(4, len(good), 7):
        (tmp_path / "cut.zip").write_bytes(good[:cut])
        with pytest.raises(CatganError, match="not a valid zip"), open_source(tmp_path / "cut.zip"):
            pass


def test_content_key_depends_on_content_only(tmp_path):
    def folder(name: str, files: dict[str, bytes]) -> Path:
        for file, content in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(content)
        return tmp_path / name

    first = content_key(folder("one", {"a": b"1", "b/c": b"2"}))
    assert content_key(folder("two", {"b/c": b"2", "a": b"1", ".hidden": b"3"})) == first
    others = [{"a": b"1", "b/d": b"2"}, {"a": b"1", "b/c": b"3"}, {"a": b"1"}, {"a": b"1b/c2"}]
    keys = {content_key(folder(f"other{i}", files)) for i, files in enumerate(others)}
    assert len(keys | {first}) == len(others) + 1
    archive = write_zip(tmp_path / "z.zip", {"a": b"1"})
    moved = tmp_path / "y.zip"
    moved.write_bytes(archive.read_bytes())
    assert content_key(archive) == content_key(moved)


@NEEDS_PIPES
def test_content_key_of_unreadable_files(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    first = content_key(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert content_key(tmp_path) != first


def test_photo_with_a_zip_appended_is_a_photo(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", b"x")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff" + packed.getvalue())
    with open_source(tmp_path / "a.jpg") as files:
        assert [file.name for file in files] == ["a.jpg"]


def test_source_name(tmp_path):
    (tmp_path / "cats.2024").mkdir()
    for path, name in (
        ("cats.2024", "cats.2024"),
        ("cats.2024/..", tmp_path.name),
        ("cats.zip", "cats"),
        ("cats.2024.tar.gz", "cats.2024"),
        (".zip", ".zip"),
        ("cats", "cats"),
    ):
        assert source_name(tmp_path / path) == name


@pytest.mark.skipif(sys.platform == "win32", reason="Windows: links need administrator rights")
def test_source_name_resolves_links(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "link").symlink_to("cats")
    (tmp_path / "loop").symlink_to("loop")
    assert source_name(tmp_path / "link") == "cats"
    assert source_name(tmp_path / "loop") == "loop"
