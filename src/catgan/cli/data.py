"""The verbs of data: `catgan prepare`, `catgan inspect` and `catgan download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catgan.cli.console import (
    ProgressBar,
    cannot_write,
    make_console,
    print_line,
    require_training_extra,
)
from catgan.errors import CatganError, shell_words

if TYPE_CHECKING:
    from rich.console import Console

    from catgan.data.faces.prepare import FacesReport


def prepare(
    source: Annotated[
        Path,
        typer.Argument(help="A folder, a zip, a tar, or a .txt with the path of a photo a line."),
    ],
    destination: Annotated[Path, typer.Argument(help="The dataset directory to make.")],
    size: Annotated[
        int, typer.Option(help="Side of the square images in pixels: 32, 64, 128 or 256.")
    ] = 128,
    holdout: Annotated[
        float, typer.Option(help="Fraction kept out of training, to notice memorization.")
    ] = 0.1,
    license: Annotated[
        str, typer.Option(help="The photos' license, kept with the data.")
    ] = "unknown",
    credit: Annotated[str, typer.Option(help="Whom to credit, kept with the data.")] = "unknown",
    faces: Annotated[
        bool, typer.Option("--faces", help="Find, crop and check the cat faces in whole photos.")
    ] = False,
    gate: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="With --faces: change a threshold; repeatable."),
    ] = None,
    review: Annotated[
        bool,
        typer.Option("--review", help="With --faces: decide about each crop on a local page."),
    ] = False,
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="With --faces: decisions of an earlier review to follow, and to add to.",
            show_default="DESTINATION-decisions.json with --review",
        ),
    ] = None,
) -> None:
    """Turn photos into a dataset: checked, cropped square, resized, split."""
    console = make_console()
    if faces:
        about = {"holdout_fraction": holdout, "license": license, "credit": credit}
        _prepare_faces(console, source, destination, size, gate or [], review, decisions, about)
        return
    for name, given in (("--gate", gate), ("--review", review), ("--decisions", decisions)):
        if given:
            raise CatganError(f"{name} is for faces: add --faces, or leave it out")
    from catgan.data.dataset import prepare as preparing

    with ProgressBar(console) as progress:
        report = preparing.prepare(
            source,
            destination,
            size,
            holdout_fraction=holdout,
            license=license,
            credit=credit,
            on_progress=lambda done, total, *_: progress("preparing", done, total),
        )
    _print_left_out(console, report.rejected, report.duplicates)
    print_line(
        console,
        f"{report.kept:,} images at {size} px ({report.train:,} to train on, {report.holdout:,} "
        f"held out), {len(report.rejected)} rejected, {len(report.duplicates)} duplicates, "
        f"{report.seconds:.1f} s",
    )
    _print_if_none_is_held_out(console, report.kept, report.holdout, holdout)
    _print_next(console, report.path, size)


def inspect(
    dataset: Annotated[Path, typer.Argument(help="A dataset that `catgan prepare` made.")],
    like: Annotated[
        Path | None,
        typer.Option(help="What it should look like: a run's data, a dataset, or photos."),
    ] = None,
    extractor: Annotated[
        str, typer.Option(help="lite2, inception or raw-64 (quick), for what looks alike.")
    ] = "lite2",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page to write.", show_default="DATASET-inspect.html"),
    ] = None,
) -> None:
    """Look at a dataset: contact sheet, rejections, doubles, outliers, would more images help?"""
    require_training_extra()
    _require_prepare_extra()
    from catgan.data.dataset.dataset import Dataset
    from catgan.evaluation.extractors.registry import load_extractor
    from catgan.files import write_durably
    from catgan.inspect.inspection import inspect_dataset, summary
    from catgan.inspect.page import inspection_page
    from catgan.runs.data import changed_data, check_pixels, data_of

    console = make_console()
    opened = Dataset.open(dataset)
    page = out or dataset.resolve().with_name(f"{dataset.resolve().name}-inspect.html")
    _check_writable(page, "--out")  # before the work, which is long
    network = load_extractor(extractor)
    with ProgressBar(console) as progress:
        check_pixels(opened, progress)
        other = data_of(like, opened.resolution, progress) if like is not None else None
        found = inspect_dataset(opened, network, like=other, progress=progress)
    if like is not None and other is not None and (changed := changed_data(like, other)):
        print_line(console, f"note     {changed}")
    for line in summary(found):
        print_line(console, line)
    try:
        write_durably(page, inspection_page(found).encode())
    except OSError as error:
        raise cannot_write(page, error) from None
    print_line(console, f"page     {page}")


def download(
    collection: Annotated[str, typer.Argument(help="What to fetch: afhq-cat.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The zip to make.", show_default="COLLECTION.zip"),
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept the license without being asked.")
    ] = False,
) -> None:
    """Fetch a published collection of cat faces, resumably; its license is shown first."""
    import sys

    from catgan.data.reading import download as downloading

    if collection not in downloading.COLLECTIONS:
        known = ", ".join(downloading.COLLECTIONS)
        raise CatganError(f"{collection} is no collection that catgan knows: choose {known}")
    chosen = downloading.COLLECTIONS[collection]
    console = make_console()
    for line in (
        f"{chosen.name}: {chosen.images:,} images, {chosen.credit}",
        f"license  {chosen.license}, {chosen.license_address}",
        f"from     {chosen.address}",
    ):
        print_line(console, line)
    if not accept_license:
        if not sys.stdin.isatty():
            raise CatganError(f"{chosen.name}: read its license and add --accept-license")
        if not typer.confirm("Do you accept this license?"):
            raise CatganError(f"{chosen.name}: not fetched, since its license was not accepted")
    target = out or Path(f"{chosen.name}.zip")
    with ProgressBar(console) as progress:
        count = downloading.download(chosen, target, progress=progress)
    print_line(console, f"{count:,} images  {target}")
    print_line(
        console,
        f"next     catgan prepare {shell_words(target)} {chosen.name} "
        f"--license {shell_words(chosen.license)} --credit {shell_words(chosen.credit)}",
    )


def _prepare_faces(
    console: Console,
    source: Path,
    destination: Path,
    size: int,
    gate: list[str],
    review: bool,
    decisions: Path | None,
    about: dict[str, Any],
) -> None:
    require_training_extra()
    _require_prepare_extra()
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
        _check_writable(file, "--decisions")  # before the search, which is long
    ask = partial(
        review_in_browser,
        path=file,
        announce=lambda address: print_line(console, f"review   {address}  (decisions: {file})"),
    )
    try:
        with ProgressBar(console) as progress, imagenet_classifier() as classify:
            report = prepare_faces(
                source,
                destination,
                size,
                classify,
                gates=gates,
                decisions=earlier,
                review=ask if review else None,
                **about,
                on_progress=lambda done, total, *_: progress("looking for faces", done, total),
            )
    except KeyboardInterrupt:
        stopped = CatganError(
            f"stopped; what was found is kept in {journal_directory(destination)}: the same "
            "command goes on from there"
        )
        stopped.exit_code = 130
        raise stopped from None
    _print_left_out(console, report.rejected, report.duplicates)
    _print_faces(console, report, size)
    _print_if_none_is_held_out(console, report.kept, report.holdout, about["holdout_fraction"])
    _print_next(console, report.path, size)


def _print_faces(console: Console, report: FacesReport, size: int) -> None:
    resumed = f", {report.known:,} of them known from before" if report.known else ""
    print_line(
        console,
        f"{report.kept:,} cat faces at {size} px from {report.with_face:,} of {report.photos:,} "
        f"photos{resumed} ({report.train:,} to train on, {report.holdout:,} held out), "
        f"{len(report.rejected)} rejected, {len(report.duplicates)} duplicates, "
        f"{report.seconds:.1f} s",
    )
    if report.enlarged:
        print_line(
            console,
            f"note     {report.enlarged:,} faces are smaller than {size} px in their photos and "
            "were enlarged: --gate enlarge=1 leaves them out",
        )
    if report.unmatched:
        print_line(
            console,
            f"note     {report.unmatched:,} of the decisions are about faces that were not found "
            "in these photos",
        )


def _print_if_none_is_held_out(
    console: Console, kept: int, holdout: int, asked_fraction: float
) -> None:
    if asked_fraction and not holdout:
        print_line(
            console,
            f"note     none of {kept:,} is held out, as each photo's content decides it with a "
            f"chance of {asked_fraction:g}: memorization will not be measured; more photos, or a "
            "larger --holdout, help",
        )


def _print_left_out(
    console: Console,
    rejected: tuple[tuple[str, str], ...],
    duplicates: tuple[tuple[str, str], ...],
) -> None:
    for name, reason in rejected:
        print_line(console, f"rejected    {name}: {reason}")
    for name, kept in duplicates:
        print_line(console, f"duplicate  {name}: the same file as {kept}")


def _print_next(console: Console, path: Path, size: int) -> None:
    print_line(console, f"dataset  {path}")
    recipe = {
        32: " --recipe lsgan-64 --set network.resolution=32",
        64: " --recipe projected-64",
        128: " --from bundled",
        256: " --recipe projected-256",
    }[size]
    print_line(console, f"next     catgan train {shell_words(path)}{recipe}")


def _check_writable(path: Path, option: str) -> None:
    """Refuse a file that cannot be written before the work for it begins."""
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


def _require_prepare_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("cv2", "imagehash") if not find_spec(name)]
    if missing:
        raise CatganError(
            f"this needs {', '.join(missing)}, not installed: pip install 'catgan[prepare]'"
        )
