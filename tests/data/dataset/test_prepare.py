from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catgan.data.dataset.cache import open_or_prepare
from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.prepare import prepare
from catgan.data.reading.images import center_square, decode, resize
from catgan.errors import CatganError

SHARED_DATA = Path(__file__).parents[4] / "shared" / "data"


def save(path: Path, seed: int, width: int, height: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def snapshot(dataset: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dataset.iterdir()}


def test_dataset_contents(photos, tmp_path):
    calls = []
    report = prepare(
        photos,
        tmp_path / "d",
        32,
        license="CC0",
        credit="me",
        on_progress=lambda *numbers: calls.append(numbers),
    )
    dataset = Dataset.open(tmp_path / "d")
    assert report.path == tmp_path / "d"
    assert (report.kept, report.rejected, report.duplicates) == (40, (), ())
    assert report.train + report.holdout == 40
    assert report.holdout == len(dataset.indices("holdout")) > 0
    assert (dataset.name, dataset.license, dataset.credit) == ("photos", "CC0", "me")
    assert calls == [(done, 40, done, 0) for done in range(1, 41)]
    names = [record.source for record in dataset.records]
    assert names == sorted(names)
    for record, image in zip(dataset.records, dataset.images, strict=True):
        data = (photos / record.source).read_bytes()
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        square, box = center_square(decode(data))
        assert record.crop == box
        np.testing.assert_array_equal(image, resize(square, 32))
        held = int(record.sha256, 16) / 2**256 < 0.1
        assert record.split == ("holdout" if held else "train")


def test_result_does_not_depend_on_workers(photos, tmp_path):
    for workers in (1, 2, 7):
        prepare(photos, tmp_path / str(workers), 32, workers=workers)
    first = snapshot(tmp_path / "1")
    assert snapshot(tmp_path / "2") == first
    assert snapshot(tmp_path / "7") == first


def test_folder_and_zip_give_the_same_images(photos, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    prepare(photos, tmp_path / "folder", 32)
    prepare(archive, tmp_path / "zip", 32)
    assert snapshot(tmp_path / "folder") == snapshot(tmp_path / "zip")


def test_single_image(tmp_path):
    report = prepare(save(tmp_path / "a.png", 0, 50, 40), tmp_path / "d", 32)
    assert (report.kept, report.train) == (1, 1)


def test_rejected_files(hostile_files, tmp_path):
    folder, expected, reasons = hostile_files
    assert len(reasons) >= 24
    report = prepare(folder, tmp_path / "d", 32)
    dataset = Dataset.open(tmp_path / "d")
    duplicates = {("plain.jpg", "link-in.png"), ("link-in.png", "plain.jpg")}
    assert len(report.duplicates) == 1
    assert set(report.duplicates) < duplicates
    kept = {record.source for record in dataset.records}
    assert kept | {"plain.jpg"} == expected | (kept & {"link-in.png"})
    rejected = dict(report.rejected)
    assert set(rejected) == set(reasons)
    for name, part in reasons.items():
        assert part in rejected[name], name
    assert [(entry.name, entry.reason) for entry in dataset.rejected] == list(report.rejected)
    assert all(text.isprintable() for pair in report.rejected for text in pair)


def test_rejected_files_in_a_zip(hostile_files, tmp_path):
    folder, expected, reasons = hostile_files
    with zipfile.ZipFile(tmp_path / "hostile_files.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 2**20:
                archive.writestr(name.encode(errors="replace").decode(), path.read_bytes())
        archive.writestr("bomb.bmp", bytes(2**25), zipfile.ZIP_DEFLATED)
    report = prepare(tmp_path / "hostile_files.zip", tmp_path / "d", 32)
    rejected = dict(report.rejected)
    assert rejected.pop("bomb.bmp") == "compression bomb"
    assert len(rejected) == len([name for name in reasons if name in rejected]) >= 24
    assert report.kept == len(expected)


def test_duplicates_are_dropped_and_named(tmp_path):
    first = save(tmp_path / "in" / "b.png", 0, 40, 40)
    save(tmp_path / "in" / "c.png", 1, 40, 40)
    for name in ("a.jpg", "z.png"):
        shutil.copy(first, tmp_path / "in" / name)
    report = prepare(tmp_path / "in", tmp_path / "d", 32)
    assert report.kept == 2
    assert report.duplicates == (("b.png", "a.jpg"), ("z.png", "a.jpg"))


def test_small_photos_are_rejected(tmp_path):
    save(tmp_path / "in" / "small.png", 0, 63, 200)
    save(tmp_path / "in" / "right.png", 1, 64, 64)
    report = prepare(tmp_path / "in", tmp_path / "d", 64)
    assert report.rejected == (("small.png", "too small: 63 x 200, less than 64 x 64"),)
    expected = np.asarray(Image.open(tmp_path / "in" / "right.png"))
    np.testing.assert_array_equal(Dataset.open(tmp_path / "d").images[0], expected)


def test_training_split_is_never_empty(tmp_path):
    save(tmp_path / "in" / "a.png", 0, 40, 40)
    report = prepare(tmp_path / "in", tmp_path / "d", 32, holdout_fraction=0.9999)
    assert (report.train, report.holdout) == (1, 0)


def errors(*arguments, **options) -> str:
    with pytest.raises(CatganError) as error:
        prepare(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_usable_image(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    assert "has no files" in errors(folder, tmp_path / "d", 32)
    save(folder / "a.png", 0, 40, 40)
    save(folder / "b.png", 1, 41, 41)
    message = errors(folder, tmp_path / "d", 64)
    assert "2 rejected: 2 too small" in message
    assert "use a size smaller than 64" in message
    (folder / "c.txt").write_text("text")
    message = errors(folder, tmp_path / "d", 64)
    assert "3 rejected: 2 too small, 1 text, not an image" in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_invalid_arguments(photos, tmp_path):
    assert "try 64" in errors(photos, tmp_path / "d", 60)
    assert "does not exist" in errors(tmp_path / "missing", tmp_path / "d", 32)
    assert "workers" in errors(photos, tmp_path / "d", 32, workers=0)
    assert "holdout" in errors(photos, tmp_path / "d", 32, holdout_fraction=1.0)
    assert "already exists" in errors(photos, photos, 32)
    prepare(photos, tmp_path / "d", 32)
    before = snapshot(tmp_path / "d")
    assert "already exists" in errors(photos, tmp_path / "d", 32)
    long = tmp_path / ("x" * 256)
    assert "too long" in errors(photos, long, 32, on_progress=lambda *_: pytest.fail("started"))
    assert "already a dataset" in errors(tmp_path / "d", tmp_path / "e", 32)
    assert snapshot(tmp_path / "d") == before


def test_callback_that_raises_leaves_nothing(photos, tmp_path):
    def stop(done: int, *_: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "d", 32, on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


SLOWLY = """
import signal, sys, time
from catgan.data.dataset.prepare import prepare

# A shell that runs the tests in the background makes them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

def slowly(done, total, kept, rejected):
    print(done, flush=True)
    time.sleep(0.05)

try:
    prepare(sys.argv[1], sys.argv[2], 32, on_progress=slowly)
except KeyboardInterrupt:
    sys.exit(42)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_prepare_leaves_no_partial_dataset(photos, tmp_path, how):
    work = tmp_path / "work"
    command = [sys.executable, "-c", SLOWLY, str(photos), str(work / "d")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.stdout.readline() != "10\n":
            assert process.poll() is None
        process.send_signal(how)
        code = process.wait(timeout=30)
    assert code == (42 if how == signal.SIGINT else -signal.SIGKILL)
    left = list(work.iterdir())
    assert not (work / "d").exists()
    if how == signal.SIGINT:
        assert left == []
    prepare(photos, work / "d", 32)
    assert [path.name for path in work.iterdir()] == ["d"]
    assert len(Dataset.open(work / "d")) == 40


def test_memory_stays_bounded(tmp_path):
    """Sixty decoded images of 6 MB each must not be in memory at once."""
    pytest.importorskip("resource", reason="POSIX: peak memory is read by the resource module")
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(60):
        color = (index, index // 2, 255 - 3 * index)
        Image.new("RGB", (1400, 1400), color).save(folder / f"{index}.jpg")
    script = (
        "import resource, sys\n"
        "from catgan.data.dataset.prepare import prepare\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "prepare(sys.argv[1], sys.argv[2], 32, workers=2)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(tmp_path / "d")],
        capture_output=True,
        check=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 100e6


def test_real_photos(tmp_path):
    archive = SHARED_DATA / "cat-faces-64.zip"
    if not archive.exists():
        pytest.skip(f"REAL DATA MISSING: {archive}")
    report = prepare(archive, tmp_path / "d", 64)
    assert (report.kept, report.rejected, report.duplicates) == (8354, (), ())
    assert 0.08 < report.holdout / report.kept < 0.12
    dataset = Dataset.open(tmp_path / "d")
    with zipfile.ZipFile(archive) as members:
        for index in (0, 4000, 8353):
            data = members.read(dataset.records[index].source)
            np.testing.assert_array_equal(dataset.images[index], decode(data))


def test_training_run_is_rejected_as_source(photos, tmp_path):
    """Its sample grids are images and would become training data."""
    run = tmp_path / "my run"
    shutil.copytree(photos / "0", run / "samples")
    (run / "checkpoints").mkdir()
    for name in ("config.toml", "run.json"):
        (run / name).write_text("")
    for call in (lambda: prepare(run, tmp_path / "d", 32), lambda: open_or_prepare(run, 32)):
        with pytest.raises(CatganError, match=r"is a training run.*--resume '.*my run', or"):
            call()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows: links need administrator rights")
def test_link_to_itself(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CatganError, match="cannot be read"):
        prepare(tmp_path / "loop", tmp_path / "d", 32)
