"""`report.html`: a run on one self-contained page: losses, samples over time, settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import catgan
from catgan.config import to_toml
from catgan.formatting import duration, kimg
from catgan.generation.card import describe_lineage
from catgan.pages import figure_svg, file_uri, render
from catgan.runs.directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = ("discriminator_loss", "generator_loss", "real_accuracy", "generated_accuracy")
RATES = ("images_per_second", "memory_mib")
MIN_RATE = 0.001  # images per second; a damaged row with less would add years of training time
HELD_OUT = "held-out "  # prefix of the names of scores against held-out images
KERNEL_NAMES = ("KD-", "KID")  # prefixes of the names of kernel distances
OVERFITTING_RANGE = (-1.0, 2.0)  # largest y range; where logits hardly differ, r_v is noise
MAX_GRIDS = 10  # on the page, always including the first and the last
WIDTH = 9.5  # of a chart, in inches
MARGINS = {"left": 0.75, "right": 0.1, "top": 0.4, "bottom": 0.45}  # around a chart, in inches


def write_report(run: RunDirectory) -> None:
    """Write the report of `run`, replacing an earlier one."""
    config, facts, rows, grids = run.config(), run.facts(), run.rows(), run.grids()
    chosen = _evenly_spaced(list(grids), MAX_GRIDS)
    scores = [row for row in rows if {"score", "scored_by"} <= set(row)]
    score_name = scores[-1]["scored_by"] if scores else ""
    scores = [row for row in scores if row["scored_by"] == score_name]  # others are not comparable
    rows = [row for row in rows if _is_complete(row)]
    measured = [row for row in rows if "overfitting" in row]
    images = rows[-1]["images"] if rows else 0
    seconds = sum(
        max(row["images"] - before, 0) / row["machine"]["images_per_second"]
        for row, before in zip(rows, [0, *(row["images"] for row in rows)], strict=False)
        if row["machine"]["images_per_second"] > MIN_RATE
    )
    page = render(
        "run.html.jinja",
        title=f"{config.recipe} on {facts['dataset'].get('name', 'a dataset')}",
        version=catgan.__version__,
        run=run.path.name,
        config_toml=to_toml(config),
        dataset=facts["dataset"] | _origin(run),
        machine=facts["machine"],
        progress=[
            ("Images seen", f"{images:,}"),
            ("Length of the run", f"{config.training.images:,}"),
            ("Training time", duration(seconds)),
            ("Speed", f"{images / seconds:.1f} img/s" if seconds else "-"),
            ("Peak memory", f"{max((r['machine']['memory_mib'] for r in rows), default=0):,} MiB"),
            *_best_score(scores),
        ],
        losses=figure_svg(_loss_figure(rows), crop=False) if len(rows) > 1 else None,
        overfitting=(
            figure_svg(_overfitting_figure(measured), crop=False) if len(measured) > 1 else None
        ),
        scores=figure_svg(_score_figure(scores), crop=False) if len(scores) > 1 else None,
        score_name=score_name,
        is_held_out=score_name.startswith(HELD_OUT),
        is_kernel=score_name.removeprefix(HELD_OUT).startswith(KERNEL_NAMES),
        score_samples=config.output.score_samples,
        latest=(kimg(chosen[-1]), file_uri(grids[chosen[-1]])) if chosen else None,
        grids=[(kimg(seen), file_uri(grids[seen])) for seen in chosen[:-1]][::-1],
        grid_seeds=config.output.grid_seeds,
    )
    # The name of a directory can contain bytes that are not valid text.
    run.write(run.report, page.encode(errors="backslashreplace"))


def _best_score(scores: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the best score and when it was reached, which may be before the end of the run."""
    if not scores:
        return []
    best = min(scores, key=lambda row: row["score"])  # the earliest if several are equal
    return [(f"Best {best['scored_by']}", f"{best['score']:.4g} at {best['images']:,} images")]


def _is_complete(row: dict[str, Any]) -> bool:
    """Return whether a row has everything that the report shows; edited logs may not."""
    return set(CURVES) <= set(row) and set(RATES) <= set(row.get("machine", {}))


def _origin(run: RunDirectory) -> dict[str, str]:
    """Return what the run was started from, if anything."""
    lineage = run.lineage()
    return {"began as": describe_lineage(lineage)} if lineage else {}


def _evenly_spaced(values: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of `values`, evenly spaced, including the first and the last."""
    if len(values) <= count:
        return list(values)
    return [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]


def _figure(height: float) -> Figure:
    """Return an empty figure `height` inches high.

    Fixed margins, since a layout that measures the labels takes longer than rendering does, and a
    report is written at every checkpoint.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    figure.subplots_adjust(
        left=MARGINS["left"] / WIDTH,
        right=1 - MARGINS["right"] / WIDTH,
        bottom=MARGINS["bottom"] / height,
        top=1 - MARGINS["top"] / height,
        wspace=0.15,  # of the width of a chart beside another, for its labels
    )
    return figure


def _loss_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    figure = _figure(3.2)
    left, right = figure.subplots(1, 2)
    _curve(left, rows, "discriminator_loss", "discriminator", "#1f5f8b")
    _curve(left, rows, "generator_loss", "generator", "#b4541a")
    _curve(right, rows, "real_accuracy", "on real images", "#1f5f8b")
    _curve(right, rows, "generated_accuracy", "on generated images", "#b4541a")
    _finish(left, "Loss")
    _finish(right, "Discriminator accuracy")
    right.set_ylim(-0.03, 1.03)
    return figure


def _score_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    figure = _figure(2.6)
    axes = figure.subplots()
    _curve(axes, rows, "score", "score", "#b4541a")
    if min(row["score"] for row in rows) < 0:  # an unbiased kernel distance can be negative
        axes.axhline(0, color="#8a8a8a", linewidth=0.8)
    else:
        axes.set_ylim(bottom=0)
    _finish(axes, f"{rows[-1]['scored_by']}, lower is better", legend=False)
    return figure


def _overfitting_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    figure = _figure(2.6)
    axes = figure.subplots()
    _curve(axes, rows, "overfitting", "r_v", "#1f5f8b")
    low, high = OVERFITTING_RANGE
    values = [min(max(row["overfitting"], low), high) for row in rows]
    axes.set_ylim(min(0.0, *values) - 0.05, max(1.0, *values) + 0.05)
    _finish(axes, "r_v", legend=False)
    return figure


def _curve(axes: Axes, rows: Sequence[dict[str, Any]], key: str, label: str, color: str) -> None:
    seen = [row["images"] / 1000 for row in rows]
    axes.plot(seen, [row[key] for row in rows], label=label, color=color, linewidth=1.4)


def _finish(axes: Axes, title: str, *, legend: bool = True) -> None:
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.set_xlabel("thousand images seen", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if legend:
        axes.legend(frameon=False, fontsize=8)
