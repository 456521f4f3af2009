from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from catgan import locks
from catgan.data.dataset import writer as writer_module
from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.writer import (
    DatasetWriter,
    DestinationExistsError,
    NotWritableError,
    assign_splits,
)
from catgan.errors import CatganError
from catgan.locks import ProcessLock

SHA = "0" * 64


def fill(writer: DatasetWriter, count: int = 3) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        sha256 = hashlib.sha256(bytes([index])).hexdigest()
        writer.append(image, source=f"{index}.jpg", sha256=sha256, crop=(0, 0, 32, 32))
    return images


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path):
    with DatasetWriter(tmp_path / "d", 32, name="n", license="CC0", credit="me") as writer:
        images = fill(writer, 40)
        writer.reject("x", "bad")
        writer.duplicate("y", "0.jpg")
        assert not (tmp_path / "d").exists()
    assert names(tmp_path) == ["d"]
    assert names(tmp_path / "d") == ["dataset.json", "images.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "d" / "images.npy"), images)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.identity == hashlib.sha256(images.tobytes()).hexdigest()
    assert (dataset.name, dataset.license, dataset.credit) == ("n", "CC0", "me")
    assert [(r.name, r.reason) for r in dataset.rejected] == [("x", "bad")]
    assert [(d.name, d.kept) for d in dataset.duplicates] == [("y", "0.jpg")]
    assert writer.splits == [record.split for record in dataset.records]


def test_unencodable_text_is_replaced(tmp_path):
    with DatasetWriter(tmp_path / "d", 32, name="caf\udce9") as writer:
        fill(writer)
    assert Dataset.open(tmp_path / "d").name == "caf?"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_any_exception_leaves_nothing(tmp_path, error):
    with pytest.raises(error), DatasetWriter(tmp_path / "d", 32, name="n") as writer:  # noqa: PT012
        fill(writer)
        raise error
    assert names(tmp_path) == []


def test_no_image_leaves_nothing(tmp_path):
    with pytest.raises(CatganError, match="no image"), DatasetWriter(tmp_path / "d", 32, name="n"):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder", "broken link"])
def test_existing_destination_is_left_alone(tmp_path, kind):
    destination = tmp_path / "d"
    match kind:
        case "file":
            destination.write_text("precious")
        case "folder":
            destination.mkdir()
        case _:
            destination.symlink_to("nowhere")
    with (
        pytest.raises(DestinationExistsError, match="already exists"),
        DatasetWriter(destination, 32, name="n"),
    ):
        pass
    assert names(tmp_path) == ["d"]


def test_destination_created_meanwhile_is_left_alone(tmp_path):
    with (  # noqa: PT012
        pytest.raises(DestinationExistsError),
        DatasetWriter(tmp_path / "d", 32, name="n") as writer,
    ):
        fill(writer)
        (tmp_path / "d").mkdir()
    assert names(tmp_path) == ["d"]
    assert names(tmp_path / "d") == []


def test_first_of_two_concurrent_writers_wins(tmp_path, monkeypatch):
    rival = DatasetWriter(tmp_path / "d", 32, name="rival")
    rename = writer_module.rename

    def rename_second(source, target):
        monkeypatch.undo()
        with rival:
            fill(rival, 5)
        rename(source, target)

    monkeypatch.setattr(writer_module, "rename", rename_second)
    with pytest.raises(DestinationExistsError), DatasetWriter(tmp_path / "d", 32, name="n") as late:
        fill(late)
    assert len(Dataset.open(tmp_path / "d")) == 5
    assert names(tmp_path) == ["d"]


def test_writer_retries_when_its_unlocked_file_is_removed_as_stale(tmp_path, monkeypatch):
    destination = tmp_path / "d"
    real = locks.lock_descriptor

    def lock_second(descriptor, *, blocking):
        monkeypatch.undo()
        (starting,) = tmp_path.iterdir()
        writer_module._remove_stale(destination)
        assert not starting.exists()
        return real(descriptor, blocking=blocking)

    monkeypatch.setattr(locks, "lock_descriptor", lock_second)
    with DatasetWriter(destination, 32, name="n") as writer:
        fill(writer)
    assert len(Dataset.open(destination)) == 3
    assert names(tmp_path) == ["d"]


def test_writer_retries_when_another_process_takes_its_lock(tmp_path, monkeypatch):
    real, rivals = locks.lock_descriptor, []

    def lock_second(descriptor, *, blocking):
        monkeypatch.undo()
        (path,) = tmp_path.iterdir()
        rivals.append(ProcessLock(path))
        assert rivals[0].acquire()
        return real(descriptor, blocking=blocking)

    monkeypatch.setattr(locks, "lock_descriptor", lock_second)
    with DatasetWriter(tmp_path / "d", 32, name="n") as writer:
        assert writer._lock.held
        fill(writer)
        rivals[0].release(remove=True)
    assert names(tmp_path) == ["d"]


def test_file_system_without_locks(tmp_path, monkeypatch):
    def lock_descriptor(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "lock_descriptor", lock_descriptor)
    rival = DatasetWriter(tmp_path / "other", 32, name="rival")
    with DatasetWriter(tmp_path / "d", 32, name="n") as writer, rival:
        fill(writer)
        fill(rival)
        writer_module._remove_stale(writer.destination)
        assert writer._temporary.exists()  # its writer is alive
    assert names(tmp_path) == ["d", "other"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs a list of open files")
def test_no_file_is_open_in_the_renamed_directory(tmp_path, monkeypatch):
    """Windows cannot rename a directory with an open file in it."""
    rename, renamed = writer_module.rename, []

    def all_closed(source, target):
        links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
        assert not [link for link in links if source in link.readlink().parents]
        assert f"{source}/" not in Path("/proc/self/maps").read_text()
        renamed.append(source)
        rename(source, target)

    monkeypatch.setattr(writer_module, "rename", all_closed)
    with DatasetWriter(tmp_path / "d", 32, name="n") as writer:
        fill(writer)
    assert renamed


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_dataset_has_default_permissions(tmp_path):
    (tmp_path / "folder").mkdir()
    with DatasetWriter(tmp_path / "d", 32, name="n") as writer:
        fill(writer)
    assert (tmp_path / "d").stat().st_mode == (tmp_path / "folder").stat().st_mode


def test_stale_locks_and_directories_are_removed(tmp_path):
    prefix = writer_module._temporary_prefix(tmp_path / "d")
    (tmp_path / f"{prefix}one.lock").touch()
    (tmp_path / f"{prefix}two.partial").mkdir()
    with DatasetWriter(tmp_path / "d", 32, name="n") as writer:
        fill(writer)
    assert names(tmp_path) == ["d"]


def test_read_only_disk(tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", read_only)
    with (
        pytest.raises(NotWritableError, match="file system; choose another destination"),
        DatasetWriter(tmp_path / "d", 32, name="n") as writer,
    ):
        fill(writer)


def test_full_disk(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(NotWritableError, match="No space left on device; free some space") as error,
        DatasetWriter(tmp_path / "d", 32, name="n") as writer,
    ):
        fill(writer)
    assert "\n" not in str(error.value)
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_while_appending(tmp_path):
    with (  # noqa: PT012
        pytest.raises(NotWritableError, match="No space left"),
        DatasetWriter(tmp_path / "d", 32, name="n") as writer,
    ):
        os.dup2(os.open("/dev/full", os.O_WRONLY), writer._file.fileno())
        fill(writer, 400)
    assert names(tmp_path) == []


def test_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritableError), DatasetWriter(tmp_path / "file" / "d", 32, name="n"):
        pass


def test_missing_parents_are_created(tmp_path):
    with DatasetWriter(tmp_path / "a" / "b" / "d", 32, name="n") as writer:
        fill(writer)
    assert len(Dataset.open(tmp_path / "a" / "b" / "d")) == 3


@pytest.mark.parametrize("name", ["d", "[x]*?", "n" * 255])
def test_files_of_a_killed_writer_are_removed_but_not_those_of_a_live_one(tmp_path, name):
    script = (
        "import sys, time, numpy as np\n"
        "from catgan.data.dataset.writer import DatasetWriter\n"
        "with DatasetWriter(sys.argv[1], 32, name='n') as writer:\n"
        "    writer.append(np.zeros((32, 32, 3), np.uint8), source='s', sha256='0' * 64,\n"
        "                  crop=(0, 0, 32, 32))\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    destination = tmp_path / name
    command = [sys.executable, "-c", script, str(destination)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "ready\n"
            (leftover,) = tmp_path.glob(".catgan-*.partial")
            with DatasetWriter(destination, 32, name="n") as writer:
                fill(writer)
            assert leftover.exists()  # its writer is alive
            Dataset.open(destination).images.max()
            other.send_signal(signal.SIGKILL)
            other.wait()
            assert leftover.exists()
            with pytest.raises(DestinationExistsError), DatasetWriter(destination, 32, name="n"):
                pass
            for file in destination.iterdir():
                file.unlink()
            destination.rmdir()
            with DatasetWriter(destination, 32, name="n") as writer:
                fill(writer)
        finally:
            other.kill()
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    "image", [np.zeros((32, 31, 3), np.uint8), np.zeros((32, 32, 3)), np.zeros((32, 32), np.uint8)]
)
def test_wrong_images_raise_value_error(tmp_path, image):
    with (
        pytest.raises(ValueError, match="expected"),
        DatasetWriter(tmp_path / "d", 32, name="n") as writer,
    ):
        writer.append(image, source="s", sha256=SHA, crop=(0, 0, 32, 32))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_invalid_holdout_fraction(tmp_path, fraction):
    with pytest.raises(CatganError, match="holdout fraction"):
        DatasetWriter(tmp_path / "d", 32, name="n", holdout_fraction=fraction)


def test_splits_depend_on_the_hash():
    low, middle, high = "19" + "0" * 62, "1a" + "0" * 62, "f" * 64
    # 0x19 / 256 = 0.0977 lies below a tenth, 0x1a / 256 = 0.1016 above.
    assert assign_splits([low, middle, high], 0.1) == ["holdout", "train", "train"]
    assert assign_splits([low, middle, high], 0.0) == ["train", "train", "train"]
    assert assign_splits([low, low], 0.1) == ["train", "holdout"]
    assert assign_splits([], 0.1) == []


def test_holdout_fraction_is_met():
    hashes = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(10_000)]
    held = assign_splits(hashes, 0.2).count("holdout")
    assert abs(held - 2000) < 4 * 40  # four standard deviations of a binomial
