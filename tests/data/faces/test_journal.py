from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from catgan import locks
from catgan.data.faces.find import Face
from catgan.data.faces.framing import Frame
from catgan.data.faces.gates import Measures
from catgan.data.faces.journal import CROPS, JOURNAL, Journal
from catgan.errors import CatganError

MEASURES = Measures(90.5, 0.01, 0.8, 0.02, 0.4, 2.5, 4.5, 40, 9.0, 170.0)


def face(seed: int, size: int = 32) -> Face:
    crop = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Face(Frame(50.25, 40.5, 30.0, -3.5), MEASURES, crop)


def filled(directory, photos=3):
    with Journal(directory, 32, {"version": 1}) as journal:
        for number in range(photos):
            journal.add(
                f"{number}.jpg", f"{number}" * 64, photo_size=(99, 80), faces=[face(number)]
            )
        journal.add("none.jpg", "f" * 64)
        journal.add("bad.jpg", "e" * 64, rejected="damaged JPEG file")
        return dict(journal.found)


def test_round_trip(tmp_path):
    before = filled(tmp_path / "j")
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        assert journal.found == before
        for number in range(3):
            photo = journal.found[f"{number}.jpg", f"{number}" * 64]
            assert photo.faces[0].measures == MEASURES
            assert photo.faces[0].box == (34, 24, 67, 57)
            np.testing.assert_array_equal(journal.crop(photo.faces[0]), face(number).crop)
        assert journal.found["none.jpg", "f" * 64].faces == ()
        assert journal.found["bad.jpg", "e" * 64].rejected == "damaged JPEG file"
        journal.add("more.jpg", "a" * 64, photo_size=(99, 80), faces=[face(7)])
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        again = journal.found["more.jpg", "a" * 64].faces[0]
        np.testing.assert_array_equal(journal.crop(again), face(7).crop)


@pytest.mark.parametrize("lost", [1, 40, 2000])
def test_truncated_line_loses_only_that_photo(tmp_path, lost):
    filled(tmp_path / "j")
    lines = tmp_path / "j" / JOURNAL
    lines.write_bytes(lines.read_bytes()[:-lost])
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        kept = len(journal.found)
        assert kept < 5
        for photo in journal.found.values():
            for each in photo.faces:
                journal.crop(each)
        journal.add("new.jpg", "a" * 64, photo_size=(99, 80), faces=[face(5)])
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        assert len(journal.found) == kept + 1
        new = journal.found["new.jpg", "a" * 64].faces[0]
        np.testing.assert_array_equal(journal.crop(new), face(5).crop)


def test_photos_without_their_crops_are_dropped(tmp_path):
    filled(tmp_path / "j")
    crops = tmp_path / "j" / CROPS
    crops.write_bytes(crops.read_bytes()[: 2 * 32 * 32 * 3 + 5])
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        assert [photo.name for photo in journal.found.values()] == ["0.jpg", "1.jpg"]
    assert crops.stat().st_size == 2 * 32 * 32 * 3


def test_journal_of_another_search_is_kept(tmp_path):
    filled(tmp_path / "j")
    before = (tmp_path / "j" / JOURNAL).read_bytes(), (tmp_path / "j" / CROPS).read_bytes()
    with (
        pytest.raises(CatganError, match="of another version: resume that, or delete"),
        Journal(tmp_path / "j", 32, {"version": 2}),
    ):
        pass
    with (
        pytest.raises(CatganError, match="at 32 px: resume that, or delete"),
        Journal(tmp_path / "j", 64, {"version": 1}),
    ):
        pass
    assert before == (
        (tmp_path / "j" / JOURNAL).read_bytes(),
        (tmp_path / "j" / CROPS).read_bytes(),
    )


def test_invalid_journal_is_replaced(tmp_path):
    filled(tmp_path / "j")
    (tmp_path / "j" / JOURNAL).write_bytes(b"\x00\xff not a journal\n")
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        assert journal.found == {}


def test_corrupt_crops_raise(tmp_path):
    filled(tmp_path / "j")
    crops = tmp_path / "j" / CROPS
    content = bytearray(crops.read_bytes())
    content[100] ^= 1
    crops.write_bytes(content)
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        photo = journal.found["0.jpg", "0" * 64]
        with pytest.raises(CatganError, match="has changed on disk"):
            journal.crop(photo.faces[0])


def test_journal_is_locked(tmp_path):
    with (
        Journal(tmp_path / "j", 32, {"version": 1}),
        pytest.raises(CatganError, match="in use"),
        Journal(tmp_path / "j", 32, {"version": 1}),
    ):
        pass


def test_journal_is_locked_on_a_file_system_without_locks(tmp_path, monkeypatch):
    def lock_descriptor(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "lock_descriptor", lock_descriptor)
    filled(tmp_path / "j")
    with (
        Journal(tmp_path / "j", 32, {"version": 1}) as journal,
        pytest.raises(CatganError, match="in use"),
        Journal(tmp_path / "j", 32, {"version": 1}),
    ):
        pass
    assert len(journal.found) == 5


def test_crops_are_read_without_pread(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "pread", raising=False)
    found = filled(tmp_path / "j")
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        photo = found["1.jpg", "1" * 64]
        np.testing.assert_array_equal(journal.crop(photo.faces[0]), face(1).crop)
        added = journal.add("new.jpg", "a" * 64, photo_size=(99, 80), faces=[face(7)])
        np.testing.assert_array_equal(journal.crop(photo.faces[0]), face(1).crop)
        np.testing.assert_array_equal(journal.crop(added.faces[0]), face(7).crop)


def test_full_disk_loses_only_the_current_photo(tmp_path):
    class Full:
        """A file on a disk that fills up in the middle of a crop."""

        def __init__(self, file):
            self.file = file

        def write(self, payload):
            self.file.write(payload[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name):
            return getattr(self.file, name)

    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        journal.add("0.jpg", "0" * 64, photo_size=(99, 80), faces=[face(0)])
        file, journal._crops = journal._crops, Full(journal._crops)
        expected = r"^cannot write [^\n]*No space left on device; free some space and run the same"
        with pytest.raises(CatganError, match=expected):
            journal.add("1.jpg", "1" * 64, photo_size=(99, 80), faces=[face(1)])
        journal._crops = file  # another thread, later: there is space again
        with pytest.raises(CatganError, match="cannot write"):
            journal.add("2.jpg", "2" * 64, photo_size=(99, 80), faces=[face(2)])
    with Journal(tmp_path / "j", 32, {"version": 1}) as journal:
        assert [photo.name for photo in journal.found.values()] == ["0.jpg"]
        journal.add("3.jpg", "3" * 64, photo_size=(99, 80), faces=[face(3)])
        for photo in journal.found.values():
            crop = journal.crop(photo.faces[0])
            np.testing.assert_array_equal(crop, face(int(photo.name[0])).crop)


def test_directory_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CatganError, match=r"^cannot write [^\n]*choose another destination\.$"),
        Journal(tmp_path / "file" / "j", 32, {"version": 1}),
    ):
        pass
