"""`evaluation.html` and `comparison.html`: the scores, what they mean, and the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from catgan import __version__
from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.fingerprint import require_comparable
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.scores import Scores
from catgan.pages import figure_svg, image_uri, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACCENT, _SOFT, _INK = "#b4541a", "#b9b2a6", "#1f1d1a"


def evaluation_page(evaluation: Evaluation, generated: ImageSet, reals: ImageSet) -> str:
    """Return the page of one evaluation as HTML; the images on it are read from the two sets."""
    return render(
        "evaluation.html.jinja",
        title=f"{evaluation.generated}: evaluation",
        version=__version__,
        evaluation=evaluation,
        identity=evaluation.fingerprint.extractor,
        curve=figure_svg(_curve_figure(evaluation)),
        best=_image_uris(generated, [image.number for image in evaluation.best]),
        worst=_image_uris(generated, [image.number for image in evaluation.worst]),
        pair_samples=_image_uris(generated, [pair.number for pair in evaluation.closest]),
        pair_reals=_image_uris(reals, [pair.real_number for pair in evaluation.closest]),
    )


def comparison_page(evaluations: Sequence[Evaluation]) -> str:
    """Return the page that compares several generators as HTML, best Frechet distance first.

    Raises:
        CatganError: as `rank`.
    """
    ranked = rank(evaluations)
    return render(
        "comparison.html.jinja",
        title="Generators compared",
        version=__version__,
        evaluations=ranked,
        notes=all_notes(ranked),
        fingerprint=ranked[0].fingerprint,
        identity=ranked[0].fingerprint.extractor,
        floor=ranked[0].floor,
        floor_count=ranked[0].floor_count,
        panels=_panels(ranked),
    )


def rank(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations sorted by Frechet distance, the smallest first.

    Raises:
        CatganError: there are none, two have the same name, or their fingerprints differ.
    """
    if not evaluations:
        raise CatganError("nothing to compare; name at least one generator")
    by_title = {evaluation.title: evaluation.fingerprint for evaluation in evaluations}
    if len(by_title) < len(evaluations):
        raise CatganError("two generators have the same name; rename one of them")
    require_comparable(by_title)
    return sorted(evaluations, key=lambda evaluation: evaluation.scores.frechet)


def all_notes(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the notes of all evaluations, without duplicates."""
    return list(dict.fromkeys(note for each in evaluations for note in each.notes))


def comparison_table(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """Return the comparison as rows of text cells for the terminal, header first.

    Raises:
        CatganError: as `rank`.
    """
    ranked = rank(evaluations)
    identity = ranked[0].fingerprint.extractor
    head = [identity.frechet_name, f"{identity.kernel_name} x 1000", "precision", "recall"]
    rows = [["generator", *head, "density", "coverage"]]
    named = [(evaluation.title, evaluation.scores) for evaluation in ranked]
    named.append((f"floor: reals, {ranked[0].floor_count:,} a side", ranked[0].floor))
    for name, scores in named:
        shares = (scores.precision, scores.recall, scores.density, scores.coverage)
        kernel = f"{1000 * scores.kernel.mean:.3f} ± {1000 * scores.kernel.standard_deviation:.3f}"
        cells = [f"{scores.frechet:.4g}", kernel, *(f"{share:.3f}" for share in shares)]
        rows.append([name, *cells])
    return rows


def _image_uris(images: ImageSet, numbers: Sequence[int]) -> list[str]:
    return [image_uri(image) for image in images.read(np.asarray(numbers, dtype=np.int64))]


def _curve_figure(evaluation: Evaluation) -> Figure:
    """Return a chart of the Frechet distance over the number of samples N."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(4.6, 2.8))
    axes = figure.subplots()
    counts = np.array([point.count for point in evaluation.curve])
    values = [point.frechet for point in evaluation.curve]
    # The name of an extractor file may contain dollar signs, which would start a formula.
    name = evaluation.fingerprint.extractor.frechet_name.replace("$", r"\$")
    dense = np.geomspace(counts[0], max(counts[-1] * 4, evaluation.floor_count), 200)
    fit = np.polynomial.Polynomial.fit(1.0 / counts, values, 1)
    axes.plot(dense, fit(1.0 / dense), color=_SOFT, linewidth=1.2, label="linear fit in 1/N")
    axes.plot(counts, values, "o", color=_ACCENT, markersize=6, label=f"{name} of N samples")
    axes.plot(
        [evaluation.floor_count], [evaluation.floor.frechet], "D", color=_INK, markersize=5,
        label="floor: reals against reals",
    )  # fmt: skip
    axes.set_xscale("log")
    ticks = sorted({*counts.tolist(), evaluation.floor_count})
    shown = [tick for tick, after in zip(ticks, [*ticks[1:], np.inf], strict=True)
             if after > 1.3 * tick]  # fmt: skip
    axes.set_xticks(shown, [f"{count:,}" for count in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.set_xlabel("samples N")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.1, 0.9),
        ncols=2, frameon=False, fontsize=9, columnspacing=1.2, handletextpad=0.4,
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eee8de", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure


@dataclass(frozen=True)
class _Bar:
    evaluation: Evaluation
    part: float  # percentage of the panel's width
    text: str


@dataclass(frozen=True)
class _Panel:
    """One score of all generators as bars, with the floor."""

    title: str
    reads: str
    bars: tuple[_Bar, ...]
    floor_part: float


def _panels(ranked: Sequence[Evaluation]) -> list[_Panel]:
    """Return panels of both distances, precision and recall, with one bar per generator."""
    identity = ranked[0].fingerprint.extractor
    columns: tuple[tuple[str, str, Callable[[Scores], float], str, float], ...] = (
        (identity.frechet_name, "lower is better", lambda s: s.frechet, "{:.4g}", 0.0),
        (
            f"{identity.kernel_name} × 1000",
            "lower is better",
            lambda s: 1000 * s.kernel.mean,
            "{:.2f}",
            0.0,
        ),
        ("Precision", "fidelity: higher is better", lambda s: s.precision, "{:.3f}", 1.0),
        ("Recall", "diversity: higher is better", lambda s: s.recall, "{:.3f}", 1.0),
    )
    panels = []
    for title, reads, value, template, min_width in columns:
        values = [value(evaluation.scores) for evaluation in ranked]
        floor = value(ranked[0].floor)
        width = max(*values, floor, min_width) or 1.0
        bars = tuple(
            _Bar(evaluation, max(0.0, 100 * number / width), template.format(number))
            for evaluation, number in zip(ranked, values, strict=True)
        )
        panels.append(_Panel(title, reads, bars, max(0.0, 100 * floor / width)))
    return panels
