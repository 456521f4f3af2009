from __future__ import annotations

import json
import os
import shutil
import tarfile
import time

import numpy as np
import pytest
from faces_photos import photo_of
from PIL import Image

from catgan.data.dataset.dataset import Dataset
from catgan.data.faces import prepare as module
from catgan.data.faces.gates import Gates
from catgan.data.faces.journal import Journal
from catgan.data.faces.prepare import NO_FACE, PREPARATION, journal_directory, prepare_faces
from catgan.data.synthetic.procedural import render_cat
from catgan.errors import CatganError

GATES = Gates(sharpness=0, close=1e9)  # procedural cats have little fine detail


def classify(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stand in for the network: a crop with much red in its first row is a dog, any other a cat."""
    probabilities = np.zeros((len(crops), 1000), np.float32)
    dogs = crops[:, 0, :, 0].mean(axis=1) - crops[:, 0, :, 2].mean(axis=1) > 50
    probabilities[~dogs, 282] = 0.9
    probabilities[dogs, 200] = 0.9
    probabilities[dogs, 282] = 0.05
    return probabilities, np.zeros((len(crops), 320, 7, 7), np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / "roll"
    folder.mkdir()

    def save(name: str, photo: np.ndarray) -> None:
        Image.fromarray(photo).save(folder / name)

    save("a-two.png", photo_of((8, 20, 60, 200), (13, 250, 60, 200)))
    save("b-mirrored.png", photo_of((8, 20, 60, 200))[:, ::-1])
    save("c-empty.png", np.full((200, 300, 3), 90, np.uint8))
    red = photo_of((2, 60, 50, 220))
    red[:60] = (250, 40, 40)
    save("d-dog.png", red)
    save("e-dark.png", photo_of((2, 60, 50, 220)) // 5)
    save("f-small.png", photo_of((2, 60, 50, 48)))
    save("g-more.png", photo_of((1, 60, 50, 220)))
    shutil.copy(folder / "g-more.png", folder / "h-copy.png")
    (folder / "i-broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return folder


def run(photos, destination, **options):
    return prepare_faces(photos, destination, 128, classify, gates=GATES, **options)


def snapshot(dataset):
    return {path.name: path.read_bytes() for path in dataset.iterdir()}


def test_report_and_dataset(photos, tmp_path):
    calls = []
    report = run(photos, tmp_path / "d", on_progress=lambda *numbers: calls.append(numbers))
    dataset = Dataset.open(tmp_path / "d")
    dataset.verify()
    names = [record.source for record in dataset.records]
    assert names == ["a-two.png", "a-two.png", "g-more.png"]
    assert (report.photos, report.with_face, report.kept, report.known) == (9, 2, 3, 0)
    rejected = dict(report.rejected)
    assert set(rejected) == {
        "b-mirrored.png", "c-empty.png", "d-dog.png", "e-dark.png", "f-small.png", "i-broken.jpg",
    }  # fmt: skip
    assert "near-duplicate" in rejected["b-mirrored.png"]
    assert "a-two.png" in rejected["b-mirrored.png"]
    assert rejected["c-empty.png"] == NO_FACE
    assert rejected["d-dog.png"].startswith("not a cat, a dog")
    assert rejected["e-dark.png"].startswith("too dark")
    assert rejected["f-small.png"].startswith("too small")
    assert "JPEG" in rejected["i-broken.jpg"]
    assert report.duplicates == (("h-copy.png", "g-more.png"),)
    assert [entry.name for entry in dataset.rejected] == [name for name, _ in report.rejected]
    assert calls[-1][:2] == (9, 9)
    assert not journal_directory(tmp_path / "d").exists()
    about = json.loads((tmp_path / "d" / PREPARATION).read_text())
    assert [entry["cat"] for entry in about["images"]] == pytest.approx([0.9] * 3)
    thumbnails = np.load(tmp_path / "d" / "rejected.npy", allow_pickle=False)
    assert len(thumbnails) == len(about["thumbnails"]) >= 3


def test_result_does_not_depend_on_workers_or_interruptions(photos, tmp_path, monkeypatch):
    run(photos, tmp_path / "straight", workers=1)
    searched: list[int] = []
    interrupted: list[int] = []
    find = module.find_faces

    def counted(*arguments):
        searched.append(1)
        if len(searched) == 4 and not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt
        return find(*arguments)

    monkeypatch.setattr(module, "find_faces", counted)
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "resumed", workers=1)
    assert not (tmp_path / "resumed").exists()
    searched.clear()
    report = run(photos, tmp_path / "resumed", workers=3)
    assert 3 <= report.known < 8
    assert len(searched) <= 8 - 3  # of the eight valid photos
    assert snapshot(tmp_path / "resumed") == snapshot(tmp_path / "straight")


def test_changed_photo_is_searched_again(photos, tmp_path):
    roll = tmp_path / "roll"
    shutil.copytree(photos, roll)
    with pytest.raises(CatganError):
        prepare_faces(roll, tmp_path / "d", 128, classify, gates=Gates(cat=2.0))
    Image.fromarray(photo_of((1, 60, 50, 220))).save(roll / "c-empty.png")
    report = run(roll, tmp_path / "d")
    assert report.known > 0
    assert "c-empty.png" in [record.source for record in Dataset.open(tmp_path / "d").records]


def test_decisions_overrule_gates(photos, tmp_path):
    seen = []

    def review(selector, earlier):
        assert earlier == {}
        candidates = selector({})
        seen.extend(candidates)
        assert selector.read_crop(candidates[0].face).shape == (128, 128, 3)
        return {
            each.identity: each.photo.name == "e-dark.png"
            for each in candidates
            if each.photo.name in ("e-dark.png", "g-more.png")
        }

    run(photos, tmp_path / "reviewed", review=review)
    reviewed = Dataset.open(tmp_path / "reviewed")
    assert {record.source for record in reviewed.records} == {"a-two.png", "e-dark.png"}
    assert ("g-more.png", "rejected in review") in {(r.name, r.reason) for r in reviewed.rejected}
    decisions = {
        each.identity: each.photo.name == "e-dark.png"
        for each in seen
        if each.photo.name in ("e-dark.png", "g-more.png")
    }
    run(photos, tmp_path / "replayed", decisions=decisions)
    assert snapshot(tmp_path / "replayed") == snapshot(tmp_path / "reviewed")


def test_no_face_leaves_no_dataset(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(folder / "wall.png")
    with pytest.raises(
        CatganError, match=r"^[^\n]*has no usable cat face \(1 rejected: 1 no cat face"
    ):
        run(folder, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_invalid_source_or_destination(photos, tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(CatganError, match="already exists"):
        run(photos, tmp_path / "d")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatganError, match="has no files"):
        run(tmp_path / "empty", tmp_path / "e")
    with pytest.raises(CatganError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "e")


def test_crops_show_the_framed_face(photos, tmp_path):
    run(photos, tmp_path / "d")
    dataset = Dataset.open(tmp_path / "d")
    record = dataset.records[0]
    left, top, right, bottom = record.crop
    assert 0 <= left < right <= 480
    assert 0.9 < (right - left) / (bottom - top) < 1.2
    # A procedural cat is a framed face: the crop resembles it.
    cat = np.asarray(Image.fromarray(render_cat(8, 256)).resize((128, 128))).astype(float)
    other = np.asarray(Image.fromarray(render_cat(13, 256)).resize((128, 128))).astype(float)
    crops = dataset.images[:2].astype(float)
    errors = [[np.abs(crop - each).mean() for each in (cat, other)] for crop in crops]
    assert sorted(int(np.argmin(row)) for row in errors) == [0, 1]


@pytest.fixture
def near_duplicates(tmp_path):
    """Three near-duplicate photos of one cat, and one of another."""
    folder = tmp_path / "near_duplicates"
    folder.mkdir()
    shot = photo_of((8, 140, 60, 200))
    for name, photo in (("a", shot), ("b", shot[:, ::-1]), ("c", shot // 8 * 7)):
        Image.fromarray(photo).save(folder / f"{name}.png")
    Image.fromarray(photo_of((1, 140, 60, 200))).save(folder / "other.png")
    return folder


def kept_after(folder, destination, decisions):
    """Return the names of the photos kept after a review with `decisions` (name -> kept)."""

    def review(selector, earlier):
        names = {each.photo.name: each.identity for each in selector({})}
        return {names[name]: kept for name, kept in decisions.items()}

    run(folder, destination, review=review)
    return [record.source for record in Dataset.open(destination).records]


def test_rejecting_a_face_keeps_its_near_duplicate(near_duplicates, tmp_path):
    assert kept_after(near_duplicates, tmp_path / "1", {}) == ["a.png", "other.png"]
    assert kept_after(near_duplicates, tmp_path / "2", {"a.png": False}) == ["b.png", "other.png"]
    assert kept_after(near_duplicates, tmp_path / "3", {"a.png": False, "b.png": False}) == [
        "c.png", "other.png"]  # fmt: skip
    both = {"b.png": True}  # a person may keep both
    assert kept_after(near_duplicates, tmp_path / "4", both) == ["a.png", "b.png", "other.png"]
    third = {"a.png": False, "c.png": True}
    assert kept_after(near_duplicates, tmp_path / "5", third) == ["b.png", "c.png", "other.png"]


def test_finished_photos_are_recorded_out_of_order(near_duplicates, tmp_path, monkeypatch):
    """Photos after a slow one are in the journal before it is finished."""
    find, finished = module.find_faces, []

    def slow_first(photo, *arguments):
        if (photo == first).all():
            while len(finished) < 3:
                time.sleep(0.01)
            raise KeyboardInterrupt
        faces = find(photo, *arguments)
        finished.append(1)
        return faces

    first = np.asarray(Image.open(near_duplicates / "a.png"))
    monkeypatch.setattr(module, "find_faces", slow_first)
    with pytest.raises(KeyboardInterrupt):
        run(near_duplicates, tmp_path / "d", workers=2)
    monkeypatch.setattr(module, "find_faces", find)
    report = run(near_duplicates, tmp_path / "d", workers=2)
    assert (report.photos, report.known) == (4, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX: a copy of this process is killed")
def test_a_killed_process_loses_no_finished_photo(near_duplicates, tmp_path):
    """Lines are flushed one by one, not when the process ends."""
    add = Journal.add

    def then_die(self, *arguments, **options):
        add(self, *arguments, **options)
        if len(self.found) == 2:
            os._exit(9)

    child = os.fork()
    if child == 0:
        Journal.add = then_die
        try:
            run(near_duplicates, tmp_path / "d", workers=1)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert run(near_duplicates, tmp_path / "d").known == 2


def test_report_counts_the_photos_of_this_source(near_duplicates, tmp_path):
    """It counts no photos removed since, and counts photos, not names: several may share one."""
    with pytest.raises(CatganError):
        prepare_faces(near_duplicates, tmp_path / "d", 128, classify, gates=Gates(cat=2.0))
    (near_duplicates / "a.png").unlink()
    new = tmp_path / "new.tar"
    with tarfile.open(new, "w") as archive:
        archive.add(near_duplicates / "b.png", "same.png")
        archive.add(near_duplicates / "other.png", "same.png")
    (near_duplicates / "d.png").write_bytes(new.read_bytes())  # rejected, but read
    report = run(near_duplicates, tmp_path / "d")
    assert (report.photos, report.known, report.with_face) == (4, 3, 2)
    report = run(new, tmp_path / "e")
    assert (report.photos, report.with_face, report.kept) == (2, 2, 2)


def test_unmatched_decisions_are_counted(near_duplicates, tmp_path):
    report = run(near_duplicates, tmp_path / "d", decisions={"0123456789abcdef@1,2": False})
    assert (report.kept, report.unmatched) == (2, 1)


def test_invalid_arguments_are_rejected_before_the_search(near_duplicates, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_faces", lambda *_: pytest.fail("searched"))
    with pytest.raises(CatganError, match="holdout fraction 2"):
        run(near_duplicates, tmp_path / "d", holdout_fraction=2)
    with pytest.raises(CatganError, match="does not exist"):
        run(tmp_path / "nowhere", tmp_path / "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["near_duplicates"]
