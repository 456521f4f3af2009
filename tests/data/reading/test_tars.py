from __future__ import annotations

import errno
import io
import lzma
import os
import tarfile
import zlib

import numpy as np
import pytest

from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.prepare import prepare
from catgan.data.reading.images import ImageRejected
from catgan.data.reading.sources import content_key, open_source
from catgan.data.reading.tars import MAX_HEADER_BYTES
from catgan.errors import CatganError


def tar_of(path, members, mode="w"):
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def contents(path):
    with open_source(path) as files:
        found = []
        for file in files:
            try:
                found.append((file.name, file.read()))
            except ImageRejected as error:
                found.append((file.name, error.reason))
        return found


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_tar_and_folder_give_the_same_dataset(photos, tmp_path, ending):
    names = sorted(path for path in photos.rglob("*") if path.is_file())
    members = [(str(path.relative_to(photos)), path.read_bytes()) for path in reversed(names)]
    packing = {"tar": "w", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}.get(ending, "w:gz")
    archive = tar_of(tmp_path / f"photos.{ending}", members, packing)
    prepare(photos, tmp_path / "folder", 32)
    prepare(archive, tmp_path / "tar", 32, name="photos")
    one, two = Dataset.open(tmp_path / "folder"), Dataset.open(tmp_path / "tar")
    assert one.identity == two.identity
    assert list(one.records) == list(two.records)
    np.testing.assert_array_equal(one.images, two.images)


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


def test_hostile_members(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    archive = tar_of(
        tmp_path / "hostile.tar",
        [
            ("../../escape.jpg", b"1"),
            ("/etc/absolute.jpg", b"2"),
            ("dir/good.jpg", b"3"),
            ("dir/good.jpg", b"4"),
            special("symbolic.jpg", tarfile.SYMTYPE, str(secret)),
            special("hard.jpg", tarfile.LNKTYPE, "dir/good.jpg"),
            special("pipe.jpg", tarfile.FIFOTYPE),
            special("device.jpg", tarfile.CHRTYPE),
            special("folder", tarfile.DIRTYPE),
            ("bad\x1b[31m\nname.jpg", b"5"),
            (".hidden.jpg", b"6"),
            ("__MACOSX/._x.jpg", b"7"),
        ],
    )
    found = contents(archive)
    assert ("../../escape.jpg", b"1") in found  # a label, never a path
    assert ("/etc/absolute.jpg", b"2") in found
    assert [content for name, content in found if name == "dir/good.jpg"] == [b"3", b"4"]
    assert ("symbolic.jpg", "link inside a tar") in found
    assert ("hard.jpg", "link inside a tar") in found
    assert ("pipe.jpg", "not a regular file inside the tar") in found
    assert ("device.jpg", "not a regular file inside the tar") in found
    assert all(name.isprintable() for name, _ in found)
    assert len(found) == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hostile.tar", "secret"]


def error_message(path):
    with pytest.raises(CatganError, match=r"^[^\n]+$") as error:
        contents(path)
    return str(error.value)


def test_compression_bomb(tmp_path):
    archive = tar_of(tmp_path / "bomb.tar.gz", [("zeros.bmp", bytes(2**26))], "w:gz")
    assert archive.stat().st_size < 2**17
    assert "compression bomb" in error_message(archive)


def test_truncated_tars(tmp_path):
    plain = tar_of(tmp_path / "a.tar", [("a.jpg", b"a" * 5000), ("b.jpg", b"b" * 5000)])
    (tmp_path / "cut.tar").write_bytes(plain.read_bytes()[:8000])
    assert "not a valid tar" in error_message(tmp_path / "cut.tar")
    packed = tar_of(tmp_path / "a.tar.gz", [("a.jpg", np.random.bytes(50_000))], "w:gz")
    (tmp_path / "cut.tar.gz").write_bytes(packed.read_bytes()[:30_000])
    assert "not a valid tar" in error_message(tmp_path / "cut.tar.gz")
    (tmp_path / "no.tar.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    assert "not a valid tar" in error_message(tmp_path / "no.tar.gz")


def test_huge_header(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, MAX_HEADER_BYTES * 2
    path = tmp_path / "header.tar"
    with path.open("wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(MAX_HEADER_BYTES * 3)
    assert "not a valid tar" in error_message(path)


def test_member_larger_than_the_tar(tmp_path):
    info = tarfile.TarInfo("huge.jpg")
    info.size = 2**40
    (tmp_path / "huge.tar").write_bytes(info.tobuf() + bytes(1024))
    assert "not a valid tar" in error_message(tmp_path / "huge.tar")


def test_header_with_a_negative_size(tmp_path):
    """A reader would read the same header in an endless loop (CVE-2025-8194)."""
    first, second = tarfile.TarInfo("first.jpg"), tarfile.TarInfo(".hidden")
    backwards = bytearray(second.tobuf())
    backwards[124:136] = (2**96 - 512).to_bytes(12, "big")  # base 256, two's complement
    backwards[148:156] = b" " * 8
    backwards[148:156] = f"{sum(backwards):06o}\0 ".encode()
    (tmp_path / "loop.tar").write_bytes(first.tobuf() + bytes(backwards) + bytes(1024))
    assert "not a valid tar" in error_message(tmp_path / "loop.tar")


def test_long_chain_of_headers(tmp_path):
    longer = tarfile.TarInfo("x")
    longer.type, longer.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "chain.tar").write_bytes((longer.tobuf() + b"a".ljust(512, b"\0")) * 1500)
    assert "not a valid tar" in error_message(tmp_path / "chain.tar")


def test_list_of_paths(photos, tmp_path):
    names = sorted(path for path in photos.rglob("*") if path.is_file())[:5]
    lines = [
        "# my cats",
        "",
        str(names[3]),
        "photos/" + str(names[0].relative_to(photos)),
        "no.jpg",
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    found = contents(tmp_path / "list.txt")
    assert [name for name, _ in found] == lines[2:]
    assert found[0][1] == names[3].read_bytes()
    assert found[1][1] == names[0].read_bytes()
    assert found[2][1].startswith("cannot be read")
    before = content_key(tmp_path / "list.txt")
    names[0].write_bytes(b"changed")
    assert content_key(tmp_path / "list.txt") != before


def test_lists_with_invalid_lines(tmp_path):
    (tmp_path / "odd.txt").write_bytes(b"\xef\xbb\xbfa\0b\r\n\xff\xfe.jpg\r\n/dev/zero\n")
    found = contents(tmp_path / "odd.txt")
    assert len(found) == 3
    assert all(isinstance(reason, str) and name.isprintable() for name, reason in found)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(CatganError, match="has no files"):
        prepare(tmp_path / "empty.txt", tmp_path / "d", 32)


def test_damaged_bzip2(tmp_path):
    packed = tar_of(tmp_path / "a.tar.bz2", [("a.jpg", np.random.bytes(50_000))], "w:bz2")
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 255
    packed.write_bytes(content)
    assert "not a valid tar" in error_message(packed)


def test_xz_memory_limit(tmp_path):
    """A few bytes of a header can ask for a dictionary of gigabytes."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**24}]
    plain = tar_of(tmp_path / "a.tar", [("a.jpg", np.random.bytes(50_000))]).read_bytes()
    packed = tmp_path / "a.tar.xz"
    packed.write_bytes(lzma.compress(plain, filters=filters))
    assert len(contents(packed)) == 1
    content = bytearray(packed.read_bytes())
    # The block header after the stream's 12 bytes: size, flags, filter 0x21, 1 byte of properties.
    assert content[14:16] == b"\x21\x01"
    content[16] = 40  # 4 GiB
    length = (content[12] + 1) * 4
    content[12 + length - 4 : 12 + length] = zlib.crc32(content[12 : 12 + length - 4]).to_bytes(
        4, "little"
    )
    packed.write_bytes(content)
    assert "needs more than 256 MiB of memory" in error_message(packed)


@pytest.mark.parametrize("damage", ["cut", "flipped", "tail"])
def test_damaged_xz(tmp_path, damage):
    packed = tar_of(tmp_path / "a.tar.xz", [("a.jpg", np.random.bytes(50_000))], "w:xz")
    content = bytearray(packed.read_bytes())
    if damage == "cut":
        content = content[:30_000]
    elif damage == "flipped":
        content[25_000] ^= 255
    else:
        content += b"not xz at all"
    packed.write_bytes(content)
    assert "not a valid tar" in error_message(packed)


def test_xz_of_several_streams(tmp_path):
    plain = tar_of(tmp_path / "a.tar", [("a.jpg", b"a" * 5000), ("b.jpg", b"b" * 5000)])
    content = plain.read_bytes()
    (tmp_path / "b.tar.xz").write_bytes(
        lzma.compress(content[:700]) + bytes(8) + lzma.compress(content[700:]) + bytes(4)
    )
    assert contents(tmp_path / "b.tar.xz") == contents(plain)


def test_full_temporary_directory(tmp_path, monkeypatch):
    packed = tar_of(tmp_path / "a.tar.gz", [("a.jpg", np.random.bytes(50_000))], "w:gz")

    class Full(io.BytesIO):
        def write(self, chunk):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    text = error_message(packed)
    assert "cannot be unpacked to" in text
    assert "No space left on device" in text
    assert "TMPDIR" in text
