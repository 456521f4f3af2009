from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_sets import as_dataset, evaluated, photos  # type: ignore[import-not-found]

from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.fingerprint import extractor_parts
from catgan.evaluation.image_sets import ImageSet, ScoredCheckpoint, array_images
from catgan.evaluation.results.comparison import (
    Contender,
    require_alike,
    require_extractor,
    with_distinct_titles,
)

REALS = as_dataset("cats", photos(60, 0), "train")
FOLDER = array_images("photos", photos(60, 0))


def unread(count: int, name: str = "run") -> ImageSet:
    """Return images that can be counted but not read."""

    def read(numbers: object) -> object:
        raise AssertionError("read before the checks were done")

    return ImageSet(name, count, read, str)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def record(plain: Extractor, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATGAN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return evaluated(array_images("old", photos(30, 1)), REALS, plain)


def test_equal_titles_are_distinguished_by_path(record: Evaluation) -> None:
    def titles(*named: tuple[str, ImageSet | Evaluation]) -> list[str]:
        found = with_distinct_titles([Contender(Path(path), each) for path, each in named])
        assert [each.path for each in found] == [Path(path) for path, _ in named]
        return [each.title for each in found]

    run = unread(30)
    assert titles(("/a/run", run), ("/b/cats", unread(30, "cats"))) == ["run", "cats"]
    assert titles(("/a/run", run), ("/b/run", run), ("/c", unread(30, "c"))) == [
        "a/run", "b/run", "c",
    ]  # fmt: skip
    assert titles(("/a/x/run", run), ("/b/x/run", run)) == ["a/run", "b/run"]
    assert titles(("/a/x/run", run), ("/a/y/run", run), ("/b/x/run", run)) == [
        "a/x/run", "a/y/run", "b/x/run",
    ]  # fmt: skip
    path = "evaluation/raw-64/000000064/evaluation.json"
    old = replace(record, generated="run")
    assert titles((f"/a/run/{path}", old), (f"/b/run/{path}", old)) == ["a/run", "b/run"]
    early, late = (replace(old, checkpoint=ScoredCheckpoint(count, ())) for count in (8, 16))
    assert titles(("/a/1.json", early), ("/a/2.json", late)) == [
        "run at 8 images", "run at 16 images",
    ]  # fmt: skip


def test_duplicate_path_is_rejected() -> None:
    with pytest.raises(CatganError, match="a/run is given twice"):
        with_distinct_titles(
            [Contender(Path("a/run"), unread(30)), Contender(Path("a/../a/run"), unread(30))]
        )


def test_matching_contenders_pass_without_reading_a_dataset(
    record: Evaluation, plain: Extractor
) -> None:
    reals = replace(unread(60, "cats"), dataset="d" * 64, split="train")
    contenders = [Contender(Path("old.json"), record), Contender(Path("run"), unread(30))]
    require_alike(contenders, reals)
    require_alike(contenders, reals, samples=30)
    require_extractor(contenders, extractor_parts(plain.identity))
    require_extractor(contenders, {"extractor's name": "plain"})


@pytest.mark.parametrize(
    ("reals", "part"),
    [
        (replace(REALS, dataset="e" * 64), "its dataset is d"),
        (replace(REALS, split="holdout"), "its split is train, expected holdout"),
        (replace(REALS, count=50), "its number of reals is 60, expected 50"),
    ],
)
def test_evaluation_against_other_reals_is_rejected(
    record: Evaluation, reals: ImageSet, part: str
) -> None:
    with pytest.raises(CatganError, match=f"^old.json cannot be compared: {part}") as caught:
        require_alike([Contender(Path("old.json"), record)], reals)
    assert "\n" not in str(caught.value)


def test_photos_are_not_the_dataset_made_of_them(record: Evaluation) -> None:
    with pytest.raises(
        CatganError, match=r"^old.json was scored .* photos is not one: .* leave out"
    ):
        require_alike([Contender(Path("old.json"), record)], FOLDER)


def test_folder_of_reals_is_identified_by_its_pixels(plain: Extractor) -> None:
    record = evaluated(array_images("old", photos(30, 1)), FOLDER, plain)
    contenders = [Contender(Path("old.json"), record)]
    require_alike(contenders, array_images("elsewhere", photos(60, 0)[::-1]))
    with pytest.raises(CatganError, match="its set of reals is"):
        require_alike(contenders, array_images("others", photos(60, 9)))


def test_another_extractor_is_rejected(record: Evaluation, plain: Extractor) -> None:
    contenders = [Contender(Path("run"), unread(30)), Contender(Path("old.json"), record)]
    with pytest.raises(CatganError, match=r"old.json .* name is plain, expected lite2"):
        require_extractor(contenders, {"extractor's name": "lite2"})
    other = replace(plain.identity, resize="clean")
    with pytest.raises(CatganError, match=r"resize is clean-2, expected clean"):
        require_extractor(
            [Contender(Path("old.json"), replace(record, fingerprint=replace(
                record.fingerprint, extractor=replace(plain.identity, resize="clean-2")
            )))],
            extractor_parts(other),
        )  # fmt: skip


def test_different_counts_are_rejected_before_reading(record: Evaluation) -> None:
    reals = replace(unread(60, "cats"), dataset="d" * 64, split="train")
    old, run = Contender(Path("old.json"), record), Contender(Path("run"), unread(40))
    with pytest.raises(CatganError, match=r"number of samples differs \(30 and 40\)"):
        require_alike([old, run], reals)
    with pytest.raises(CatganError, match="run has 40 images, expected 50"):
        require_alike([run], reals, samples=50)
    with pytest.raises(CatganError, match="old has 30 images, expected 50"):
        require_alike([old], reals, samples=50)
    with pytest.raises(CatganError, match="11 images are too few"):
        require_alike([Contender(Path("run"), unread(11))], reals)
    with pytest.raises(CatganError, match="cats: 11 images are too few"):
        require_alike([run], replace(reals, count=11))


def test_evaluations_alone_need_no_reals(record: Evaluation) -> None:
    fewer = replace(record, fingerprint=replace(record.fingerprint, generated_count=20))
    old = Contender(Path("old.json"), record)
    require_alike([old, Contender(Path("new.json"), record)], None)
    with pytest.raises(CatganError, match="number of samples differs"):
        require_alike([old, Contender(Path("new.json"), fewer)], None)
