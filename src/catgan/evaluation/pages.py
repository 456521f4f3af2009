"""`evaluation.html` and `comparison.html`: the numbers, what they mean, and the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from catgan import __version__
from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.fingerprint import require_comparable
from catgan.evaluation.image_sets import ImageSet
from catgan.pages import figure_svg, image_uri, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACCENT, _SOFT, _INK = "#b4541a", "#b9b2a6", "#1f1d1a"


def evaluation_page(evaluation: Evaluation, generated: ImageSet, reals: ImageSet) -> str:
    """The page of one evaluation as HTML; reads the images that it shows from the two sets."""
    return render(
        "evaluation.html.jinja",
        title=f"{evaluation.generated}: evaluation",
        version=__version__,
        evaluation=evaluation,
        identity=evaluation.fingerprint.extractor,
        curve=figure_svg(_curve_figure(evaluation)),
        best=_pictures(generated, [image.number for image in evaluation.best]),
        worst=_pictures(generated, [image.number for image in evaluation.worst]),
        pair_samples=_pictures(generated, [pair.number for pair in evaluation.closest]),
        pair_reals=_pictures(reals, [pair.real_number for pair in evaluation.closest]),
    )


def comparison_page(evaluations: Sequence[Evaluation]) -> str:
    """The page that sets several generators side by side, best Frechet distance first.

    Raises:
        CatganError: their fingerprints differ, naming the part.
    """
    ranked = rank(evaluations)
    return render(
        "comparison.html.jinja",
        title="Generators compared",
        version=__version__,
        evaluations=ranked,
        fingerprint=ranked[0].fingerprint,
        identity=ranked[0].fingerprint.extractor,
        floor=ranked[0].floor,
        floor_count=ranked[0].floor_count,
        figure=figure_svg(_comparison_figure(ranked)),
    )


def rank(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Evaluations of equal fingerprints, the smallest Frechet distance first.

    Raises:
        CatganError: there is none, two have one name, or fingerprints differ.
    """
    if not evaluations:
        raise CatganError("there is nothing to compare; name at least one generator")
    by_name = {evaluation.generated: evaluation.fingerprint for evaluation in evaluations}
    if len(by_name) < len(evaluations):
        raise CatganError("two generators have the same name; rename one of them")
    require_comparable(by_name)
    return sorted(evaluations, key=lambda evaluation: evaluation.scores.frechet)


def comparison_table(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """The comparison as text cells, header first, for the terminal.

    Raises:
        CatganError: as `rank`.
    """
    ranked = rank(evaluations)
    identity = ranked[0].fingerprint.extractor
    head = [identity.frechet_name, f"{identity.kernel_name} x 1000", "precision", "recall"]
    rows = [["generator", *head, "density", "coverage"]]
    named = [(evaluation.generated, evaluation.scores) for evaluation in ranked]
    named.append((f"floor: reals, {ranked[0].floor_count:,} a side", ranked[0].floor))
    for name, scores in named:
        shares = (scores.precision, scores.recall, scores.density, scores.coverage)
        kernel = f"{1000 * scores.kernel.mean:.3f} ± {1000 * scores.kernel.standard_deviation:.3f}"
        cells = [f"{scores.frechet:.4g}", kernel, *(f"{share:.3f}" for share in shares)]
        rows.append([name, *cells])
    return rows


def _pictures(images: ImageSet, numbers: Sequence[int]) -> list[str]:
    return [image_uri(image) for image in images.read(np.asarray(numbers, dtype=np.int64))]


def _curve_figure(evaluation: Evaluation) -> Figure:
    """The Frechet distance over the number of samples, with its line in 1/N and the floor."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.0))
    axes = figure.subplots()
    counts = np.array([point.count for point in evaluation.curve])
    values = [point.frechet for point in evaluation.curve]
    name = evaluation.fingerprint.extractor.frechet_name
    smooth = np.geomspace(counts[0], counts[-1] * 4, 200)
    line = np.polynomial.Polynomial.fit(1.0 / counts, values, 1)
    axes.plot(smooth, line(1.0 / smooth), color=_SOFT, linewidth=1.2, label="line in 1/N")
    axes.plot(counts, values, "o", color=_ACCENT, markersize=6, label=f"{name} of N samples")
    axes.plot(
        [evaluation.floor_count], [evaluation.floor.frechet], "D", color=_INK, markersize=5,
        label="floor: reals against reals",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("samples N")
    axes.set_ylabel(name)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#eee8de", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure


def _comparison_figure(ranked: Sequence[Evaluation]) -> Figure:
    """Distance beside fidelity (precision) and diversity (recall), one bar a generator."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.0 + 0.42 * len(ranked)))
    panels = figure.subplots(1, 3, sharey=True)
    positions = np.arange(len(ranked))[::-1]
    identity = ranked[0].fingerprint.extractor
    columns = (
        (f"{identity.frechet_name} (lower is better)", lambda s: s.frechet, "{:.3g}"),
        ("precision (fidelity)", lambda s: s.precision, "{:.2f}"),
        ("recall (diversity)", lambda s: s.recall, "{:.2f}"),
    )
    for axes, (title, value, form) in zip(panels, columns, strict=True):
        values = [value(evaluation.scores) for evaluation in ranked]
        bars = axes.barh(positions, values, height=0.6, color=_ACCENT)
        axes.bar_label(bars, [form.format(number) for number in values], padding=3, fontsize=9)
        axes.axvline(value(ranked[0].floor), color=_INK, linewidth=1.0, linestyle=":")
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlim(0, max(*values, value(ranked[0].floor)) * 1.25 or 1.0)
        axes.set_yticks(
            positions, [evaluation.generated.replace("$", r"\$") for evaluation in ranked]
        )
        axes.spines[["top", "right"]].set_visible(False)
    return figure
