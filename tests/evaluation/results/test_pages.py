from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from evaluation_sets import as_dataset, evaluated, photos  # type: ignore[import-not-found]

from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.image_sets import ImageSet, ScoredCheckpoint, array_images
from catgan.evaluation.results.pages import comparison_page, comparison_table, evaluation_page, rank

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

REALS = photos(120, 0)


def scored(name: str, images: np.ndarray, plain: Extractor) -> tuple[Evaluation, ImageSet]:
    generated = array_images(name, images)
    reals = as_dataset("cats", REALS, "train")
    holdout = as_dataset("cats", photos(30, 8), "holdout")
    return evaluated(generated, reals, plain, holdout=holdout), generated


def test_page_shows_every_score_and_image(plain: Extractor) -> None:
    result, generated = scored("<b>good</b>", photos(60, 1), plain)
    page = evaluation_page(result, generated, as_dataset("cats", REALS, "train"))
    assert "<b>good</b>" not in page  # escaped
    assert f"{result.scores.frechet:.4g}" in page
    assert f"{result.floor.frechet:.4g}" in page
    assert result.fingerprint.reals_sha256 in page
    assert page.count("data:image/webp;base64,") == 4 * 12
    assert "<svg" in page
    assert not re.search(r"(src|href)=\"https?:", page)  # nothing is fetched


def test_page_without_holdout(plain: Extractor) -> None:
    generated, reals = array_images("a", photos(40, 1)), as_dataset("cats", REALS, "train")
    page = evaluation_page(evaluated(generated, reals, plain), generated, reals)
    assert "no holdout" in page


def test_ranking_table_and_page(plain: Extractor) -> None:
    good, _ = scored("good", photos(60, 1), plain)
    bad, _ = scored("bad", photos(60, 2) // 2, plain)
    assert [evaluation.generated for evaluation in rank([bad, good])] == ["good", "bad"]
    rows = comparison_table([bad, good])
    assert rows[0][:2] == ["generator", "FD-plain"]
    assert [row[0] for row in rows[1:]] == ["good", "bad", "floor: reals, 60 a side"]
    assert rows[1][1] == f"{good.scores.frechet:.4g}"
    page = comparison_page([bad, good])
    assert page.index(">good<") < page.index(">bad<")
    widths = [float(part) for part in re.findall(r"--part: ([\d.]+)%", page)]
    assert len(widths) == 4 * 2
    assert widths[1] == 100.0  # the worst distance fills its panel
    assert widths[0] == pytest.approx(100 * good.scores.frechet / bad.scores.frechet, abs=0.01)
    assert widths[4] == pytest.approx(100 * good.scores.precision, abs=0.01)


def test_checkpoints_and_notes_are_shown(plain: Extractor) -> None:
    good, generated = scored("run", photos(60, 1), plain)
    early = replace(good, checkpoint=ScoredCheckpoint(1024, ()), notes=("one", "both"))
    late = replace(
        good, checkpoint=ScoredCheckpoint(2048, ("latest", "best")), notes=("both", "two")
    )
    page = comparison_page([early, late])  # two states of one run are two generators
    assert "1,024 images<" in page
    assert "2,048 images (latest, best)<" in page
    assert page.count(">both<") == page.count(">one<") == page.count(">two<") == 1
    assert [row[0] for row in comparison_table([early, late])][1:3] == [early.title, late.title]
    page = evaluation_page(late, generated, as_dataset("cats", REALS, "train"))
    assert "2,048 images (latest, best)" in page


def test_dollar_signs_in_names_are_escaped(plain: Extractor) -> None:
    odd = replace(plain, identity=replace(plain.identity, name=r"a$\frac$.pt"))
    result, generated = scored("run", photos(40, 1), odd)
    assert r"a$\frac$" in evaluation_page(result, generated, as_dataset("cats", REALS, "train"))
    assert r"a$\frac$" in comparison_page([result])


def test_scores_with_other_fingerprints_are_not_compared(plain: Extractor) -> None:
    good, _ = scored("good", photos(60, 1), plain)
    fewer, _ = scored("fewer", photos(50, 2), plain)
    with pytest.raises(CatganError, match="good and fewer cannot be compared: their number of"):
        comparison_page([good, fewer])
    with pytest.raises(CatganError, match="same name"):
        rank([good, replace(good)])
    with pytest.raises(CatganError, match="nothing to compare"):
        rank([])
