"""Render an inspection as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from catgan import __version__
from catgan.data.faces.gates import Gates
from catgan.data.faces.prepare import THUMBNAIL
from catgan.data.reading.images import resize
from catgan.inspect.inspection import Inspection, growth_text, likeness_text
from catgan.pages import figure_svg, image_uri, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACCENT, _SOFT = "#b4541a", "#b9b2a6"
_GRID_IMAGES = 96
_GRID_COLUMNS = 16
_MAX_PAIRS = 12
_MAX_OUTLIERS = 12


def inspection_page(inspection: Inspection) -> str:
    """Return the page as HTML."""
    dataset = inspection.dataset
    images = dataset.images
    chosen = np.unique(np.linspace(0, len(dataset) - 1, _GRID_IMAGES).astype(int))
    return render(
        "inspection.html.jinja",
        title=f"{dataset.name}: inspection",
        version=__version__,
        inspection=inspection,
        dataset=dataset,
        held_out=len(dataset.indices("holdout")),
        grid=image_uri(_grid([images[number] for number in chosen], _GRID_COLUMNS)),
        shown=len(chosen),
        distributions=figure_svg(_distributions(inspection)),
        growth=figure_svg(_growth_figure(inspection)) if len(inspection.growth) > 1 else None,
        near_bits=f"{Gates().distance:g}",
        growth_text=growth_text(inspection.growth),
        likeness_text=likeness_text(inspection.likeness) if inspection.likeness else None,
        rejections=[
            (each, [image_uri(picture, quality=80) for picture in each.thumbnails])
            for each in inspection.rejections
        ],
        pairs=[
            (image_uri(images[one]), image_uri(images[two]), one, two, bits)
            for one, two, bits in inspection.near_duplicates[:_MAX_PAIRS]
        ],
        outliers=[
            (image_uri(images[number]), number, ratio)
            for number, ratio in inspection.outliers[:_MAX_OUTLIERS]
        ],
    )


def _grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Arrange images of one size in a grid, row by row, on white."""
    side = min(len(pictures[0]), THUMBNAIL)  # images of 256 px would make a page of megabytes
    small = [resize(picture, side) for picture in pictures]
    height, width = small[0].shape[:2]
    columns = min(columns, len(small))
    rows = -(-len(small) // columns)
    grid = np.full((rows * (height + 2), columns * (width + 2), 3), 255, dtype=np.uint8)
    for number, picture in enumerate(small):
        top, left = number // columns * (height + 2), number % columns * (width + 2)
        grid[top : top + height, left : left + width] = picture
    return grid


def _distributions(inspection: Inspection) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 2.4), layout="constrained")
    panels = (
        ("brightness", inspection.brightness),
        ("saturation", inspection.saturation),
        ("sharpness, %", inspection.sharpness),
        ("side in the photo, px", inspection.sides),
    )
    for axes, (name, values) in zip(figure.subplots(1, 4), panels, strict=True):
        axes.hist(values, bins=24, color=_ACCENT, alpha=0.85)
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_yticks([])
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _growth_figure(inspection: Inspection) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(4.6, 2.6), layout="constrained")
    axes = figure.subplots()
    counts = [each.count for each in inspection.growth]
    axes.plot(counts, [each.distance for each in inspection.growth], "o-", color=_ACCENT)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set_xlabel("training images", fontsize=9)
    axes.set_ylabel("distance to the nearest", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure
