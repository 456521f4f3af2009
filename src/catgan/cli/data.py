"""The commands for data: `catgan prepare`, `catgan inspect` and `catgan download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catgan.cli.console import Output, ProgressBar
from catgan.errors import CatganError, cannot_write, shell_words
from catgan.extras import require_extra, require_training_extra

if TYPE_CHECKING:
    from catgan.data.faces.prepare import FacesReport


def prepare(
    source: Annotated[
        Path,
        typer.Argument(help="A folder, a zip, a tar, or a .txt with one photo path per line."),
    ],
    destination: Annotated[Path, typer.Argument(help="The dataset directory to create.")],
    size: Annotated[
        int, typer.Option(help="Side of the square images in pixels: 32, 64, 128 or 256.")
    ] = 128,
    holdout: Annotated[
        float, typer.Option(help="Fraction held out of training, to detect memorization.")
    ] = 0.1,
    license: Annotated[
        str, typer.Option(help="License of the photos, stored with the dataset.")
    ] = "unknown",
    credit: Annotated[
        str, typer.Option(help="Whom to credit, stored with the dataset.")
    ] = "unknown",
    faces: Annotated[
        bool, typer.Option("--faces", help="Find, crop and check cat faces in whole photos.")
    ] = False,
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="With --faces: change a threshold; repeatable."),
    ] = None,
    review: Annotated[
        bool,
        typer.Option("--review", help="With --faces: accept or reject each crop on a local page."),
    ] = False,
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="With --faces: file of review decisions to apply and to extend.",
            show_default="DESTINATION-decisions.json with --review",
        ),
    ] = None,
) -> None:
    """Turn photos into a dataset: checked, cropped square, resized, split."""
    output = Output()
    if faces:
        options = {"holdout_fraction": holdout, "license": license, "credit": credit}
        _prepare_faces(output, source, destination, size, gate or [], review, decisions, options)
        return
    for name, value in (("--gate", gate), ("--review", review), ("--decisions", decisions)):
        if value:
            raise CatganError(f"{name} requires --faces: add --faces, or leave it out")
    from catgan.data.dataset import prepare as preparing

    with ProgressBar(output) as progress:
        report = preparing.prepare(
            source,
            destination,
            size,
            holdout_fraction=holdout,
            license=license,
            credit=credit,
            on_progress=lambda done, total, *_: progress("preparing", done, total),
        )
    _print_skipped(output, report.rejected, report.duplicates)
    output.print_line(
        f"{report.kept:,} images at {size} px ({report.train:,} to train on, {report.holdout:,} "
        f"held out), {len(report.rejected)} rejected, {len(report.duplicates)} duplicates, "
        f"{report.seconds:.1f} s"
    )
    _warn_if_holdout_is_empty(output, report.kept, report.holdout, holdout)
    _print_next(output, report.path, size)


def inspect(
    dataset: Annotated[Path, typer.Argument(help="A dataset from `catgan prepare`.")],
    like: Annotated[
        Path | None,
        typer.Option(help="What to compare with: a run (its training data), a dataset, or photos."),
    ] = None,
    extractor: Annotated[
        str,
        typer.Option(
            help="Feature extractor for similar images: lite2, inception or raw-64 (fast)."
        ),
    ] = "lite2",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page to write.", show_default="DATASET-inspect.html"),
    ] = None,
) -> None:
    """Inspect a dataset: contact sheet, rejections, near-duplicates, outliers, dataset size."""
    require_training_extra()
    require_extra("prepare", "cv2", "imagehash")
    from catgan.data.dataset.dataset import Dataset
    from catgan.evaluation.extractors.registry import load_extractor
    from catgan.files import write_durably
    from catgan.inspect.inspection import inspect_dataset, summary
    from catgan.inspect.page import inspection_page
    from catgan.runs.data import changed_data, check_pixels, data_of

    output = Output()
    opened = Dataset.open(dataset)
    page = out or dataset.resolve().with_name(f"{dataset.resolve().name}-inspect.html")
    _check_writable(page, "--out")  # before the work, which takes long
    network = load_extractor(extractor)
    with ProgressBar(output) as progress:
        check_pixels(opened, progress)
        reference = data_of(like, opened.resolution, progress) if like is not None else None
        found = inspect_dataset(opened, network, like=reference, progress=progress)
    if like is not None and reference is not None and (changed := changed_data(like, reference)):
        output.print_line(f"note     {changed}")
    for line in summary(found):
        output.print_line(line)
    try:
        write_durably(page, inspection_page(found).encode())
    except OSError as error:
        raise cannot_write(page, error) from None
    output.print_line(f"page     {page}")


def download(
    collection: Annotated[str, typer.Argument(help="The collection to download: afhq-cat.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The zip to write.", show_default="COLLECTION.zip"),
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept the license without a prompt.")
    ] = False,
) -> None:
    """Download a public collection of cat faces, after showing its license; resumable."""
    import sys

    from catgan.data.reading import download as downloading

    if collection not in downloading.COLLECTIONS:
        names = ", ".join(downloading.COLLECTIONS)
        raise CatganError(f"unknown collection {collection!r}: expected {names}")
    chosen = downloading.COLLECTIONS[collection]
    output = Output()
    for line in (
        f"{chosen.name}: {chosen.images:,} images, {chosen.credit}",
        f"license  {chosen.license}, {chosen.license_address}",
        f"from     {chosen.address}",
    ):
        output.print_line(line)
    if not accept_license:
        if not sys.stdin.isatty():
            raise CatganError(f"{chosen.name}: read its license and add --accept-license")
        if not typer.confirm("Do you accept this license?"):
            raise CatganError(
                f"{chosen.name}: not downloaded, because its license was not accepted"
            )
    target = out or Path(f"{chosen.name}.zip")
    with ProgressBar(output) as progress:
        count = downloading.download(chosen, target, progress=progress)
    output.print_line(f"{count:,} images  {target}")
    output.print_line(
        f"next     catgan prepare {shell_words(target)} {chosen.name} "
        f"--license {shell_words(chosen.license)} --credit {shell_words(chosen.credit)}"
    )


def _prepare_faces(
    output: Output,
    source: Path,
    destination: Path,
    size: int,
    gate: list[str],
    review: bool,
    decisions: Path | None,
    options: dict[str, Any],
) -> None:
    require_training_extra()
    require_extra("prepare", "cv2", "imagehash")
    import os
    from functools import partial

    from catgan.data.faces.decisions import read_decisions
    from catgan.data.faces.gates import Gates, with_settings
    from catgan.data.faces.prepare import journal_directory, prepare_faces
    from catgan.networks.imagenet import imagenet_classifier
    from catgan.review.server import review_in_browser

    gates = with_settings(Gates(), gate)
    destination = Path(os.path.abspath(destination))  # noqa: PTH100 - "." and ".." have no name
    file = decisions or destination.parent / f"{destination.name}-decisions.json"
    earlier = {}
    if file.exists() if review else decisions:
        earlier = read_decisions(file)
    if review:
        _check_writable(file, "--decisions")  # before the search, which takes long
    ask_user = partial(
        review_in_browser,
        path=file,
        announce=lambda address: output.print_line(f"review   {address}  (decisions: {file})"),
    )
    try:
        with ProgressBar(output) as progress, imagenet_classifier() as classify:
            report = prepare_faces(
                source,
                destination,
                size,
                classify,
                gates=gates,
                decisions=earlier,
                review=ask_user if review else None,
                **options,
                on_progress=lambda done, total, *_: progress("looking for faces", done, total),
            )
    except KeyboardInterrupt:
        stopped = CatganError(
            f"stopped; the results so far are in {journal_directory(destination)}: the same "
            "command resumes from there"
        )
        stopped.exit_code = 130
        raise stopped from None
    _print_skipped(output, report.rejected, report.duplicates)
    _print_faces(output, report, size)
    _warn_if_holdout_is_empty(output, report.kept, report.holdout, options["holdout_fraction"])
    _print_next(output, report.path, size)


def _print_faces(output: Output, report: FacesReport, size: int) -> None:
    resumed = f", {report.known:,} of them from an earlier search" if report.known else ""
    output.print_line(
        f"{report.kept:,} cat faces at {size} px from {report.with_face:,} of {report.photos:,} "
        f"photos{resumed} ({report.train:,} to train on, {report.holdout:,} held out), "
        f"{len(report.rejected)} rejected, {len(report.duplicates)} duplicates, "
        f"{report.seconds:.1f} s"
    )
    if report.enlarged:
        output.print_line(
            f"note     {report.enlarged:,} faces are smaller than {size} px in their photos and "
            "were enlarged: --gate enlarge=1 rejects them"
        )
    if report.unmatched:
        output.print_line(
            f"note     {report.unmatched:,} of the decisions are about faces that were not found "
            "in these photos"
        )


def _warn_if_holdout_is_empty(output: Output, kept: int, holdout: int, fraction: float) -> None:
    if fraction and not holdout:
        output.print_line(
            f"note     none of {kept:,} images is held out (each photo is with probability "
            f"{fraction:g}), so memorization will not be measured: use more photos or a larger "
            "--holdout"
        )


def _print_skipped(
    output: Output,
    rejected: tuple[tuple[str, str], ...],
    duplicates: tuple[tuple[str, str], ...],
) -> None:
    for name, reason in rejected:
        output.print_line(f"rejected    {name}: {reason}")
    for name, kept in duplicates:
        output.print_line(f"duplicate  {name}: the same file as {kept}")


def _print_next(output: Output, path: Path, size: int) -> None:
    output.print_line(f"dataset  {path}")
    recipe = {
        32: " --recipe lsgan-64 --set network.resolution=32",
        64: " --set network.resolution=64",
        128: " --from bundled",
        256: " --from bundled --set network.resolution=256",
    }[size]
    output.print_line(f"next     catgan train {shell_words(path)}{recipe}")


def _check_writable(path: Path, option: str) -> None:
    """Raise `CatganError` if a file cannot be written."""
    from catgan.files import try_writing

    folder = path.parent
    try:
        if not folder.is_dir():
            raise CatganError(
                f"{path}: {folder} is not a folder: create it, or choose another with {option}"
            )
        try_writing(path)
    except OSError as error:
        raise cannot_write(path, error, option) from None
