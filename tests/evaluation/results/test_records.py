from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_sets import as_dataset, evaluated, photos  # type: ignore[import-not-found]

from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.image_sets import ImageSet, ScoredCheckpoint, array_images
from catgan.evaluation.results.read import read_evaluation
from catgan.evaluation.results.records import free_directory, require_writable, write_evaluation

pytest.importorskip("matplotlib")

MADE = array_images("made", photos(30, 1))
REALS = as_dataset("cats", photos(40, 0), "train")


@pytest.fixture(scope="module")
def evaluation(plain: Extractor, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATGAN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return evaluated(MADE, REALS, plain)


def test_write_evaluation(evaluation: Evaluation, tmp_path: Path) -> None:
    page = write_evaluation(tmp_path / "a" / "b", evaluation, MADE, REALS)
    assert page == tmp_path / "a" / "b" / "evaluation.html"
    assert "made" in page.read_text()
    assert read_evaluation(page.with_name("evaluation.json")) == evaluation


def test_record_is_written_even_if_the_page_fails(evaluation: Evaluation, tmp_path: Path) -> None:
    def fail(numbers: object) -> object:
        raise RuntimeError("the drive was pulled")

    gone = ImageSet("made", 30, fail, str)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        write_evaluation(tmp_path, evaluation, gone, REALS)
    assert read_evaluation(tmp_path / "evaluation.json") == evaluation


def test_free_directory_never_replaces_another_evaluation(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    wanted = tmp_path / "made"
    assert free_directory(evaluation, wanted) == wanted
    write_evaluation(wanted, evaluation, MADE, REALS)
    again = replace(evaluation, extrapolated=0.0, checkpoint=None)
    assert free_directory(again, wanted) == wanted  # the same thing, scored again
    fewer = replace(evaluation.fingerprint, generated_count=20)
    for other in (
        replace(evaluation, fingerprint=fewer),
        replace(evaluation, generated="other"),
        replace(evaluation, reals="dogs"),
        replace(evaluation, checkpoint=ScoredCheckpoint(8, ())),
    ):
        assert free_directory(other, wanted) == tmp_path / "made-2"
    (tmp_path / "made-2").mkdir()
    (tmp_path / "made-2" / "evaluation.json").write_text("of another version")
    assert free_directory(replace(evaluation, generated="other"), wanted) == tmp_path / "made-3"


def test_free_directory_ignores_moved_pointers(evaluation: Evaluation, tmp_path: Path) -> None:
    latest = replace(evaluation, checkpoint=ScoredCheckpoint(8, ("latest",)))
    write_evaluation(tmp_path, latest, MADE, REALS)
    assert (
        free_directory(replace(evaluation, checkpoint=ScoredCheckpoint(8, ())), tmp_path)
        == tmp_path
    )


def test_require_writable(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b")
    require_writable(Path("relative/and/new"))
    assert not list(tmp_path.iterdir())
    blocked = tmp_path / "file"
    blocked.write_text("")
    for path in (blocked, blocked / "below"):
        with pytest.raises(OSError, match="Not a directory"):
            require_writable(path)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX: Windows lets administrators make links")
def test_require_writable_rejects_broken_links(tmp_path: Path) -> None:
    link = tmp_path / "link"
    for target in ("link", "missing"):
        link.symlink_to(target)
        for path in (link, link / "below"):
            with pytest.raises(OSError, match=r"symbolic links|No such file"):
                require_writable(path)
        link.unlink()
