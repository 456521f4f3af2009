"""The commands that measure: `catgan evaluate` and `catgan compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catgan.cli.console import Output, ProgressBar
from catgan.errors import CatganError, cannot_write
from catgan.extras import require_training_extra

if TYPE_CHECKING:
    from catgan.evaluation.evaluate import Evaluation
    from catgan.evaluation.extractors.extractor import Extractor
    from catgan.evaluation.image_sets import ImageSet
    from catgan.runs.evaluation import RealImages

Against = Annotated[
    Path | None,
    typer.Option(
        help="The real images: a dataset, a run (its training data), or a folder or zip of photos.",
        show_default="the training data of the run",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(min=12, help="Images to generate from a run.", show_default="5,000"),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="Resize rule: clean, pytorch, tensorflow or area.", show_default="the extractor's own"
    ),
]
Inception = Annotated[Path | None, typer.Option(help="Path of inception-2015-12-05.pt.")]
InputSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="Input size in pixels of a .pt or .onnx extractor.",
        show_default="as the file states, else 224",
    ),
]
CheckpointName = Annotated[
    str, typer.Option(help="Checkpoint of a run: latest, best, or a number of images seen.")
]
Device = Annotated[str, typer.Option(help="Device that a run samples on: auto, cpu, cuda or mps.")]


def evaluate(
    images: Annotated[
        Path, typer.Argument(help="What to score: a run, a dataset, or a folder or zip of images.")
    ],
    against: Against = None,
    samples: Samples = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="inception, lite2, raw-64, or a .pt or .onnx file.",
            show_default="inception if its file is known, else lite2",
        ),
    ] = None,
    resize: Resize = None,
    inception: Inception = None,
    input_size: InputSize = None,
    checkpoint: CheckpointName = "latest",
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Directory for evaluation.json and .html.",
            show_default="RUN/evaluation/EXTRACTOR/IMAGES, or evaluation/EXTRACTOR/NAME",
        ),
    ] = None,
) -> None:
    """Score images against real ones: FID or FD, KID or KD, precision, recall, copies."""
    require_training_extra()
    from catgan.runs.evaluation import evaluate_path

    output = Output()
    with ProgressBar(output) as progress:
        scored = evaluate_path(
            images,
            against=against,
            samples=samples,
            extractor=extractor,
            resize=resize,
            inception=inception,
            input_size=input_size,
            checkpoint=checkpoint,
            device_name=device,
            out=out,
            note=output.print_line,
            on_progress=progress,
        )
    output.print_line(scored.evaluation.line())
    for text in scored.evaluation.notes:
        output.print_line(f"note     {text}")
    output.print_line(f"report   {scored.write()}")


def compare(
    generators: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more: runs, folders or zips of images, or evaluations (evaluation.json)."
        ),
    ],
    against: Against = None,
    samples: Samples = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(
            help="As for evaluate; repeatable, for one table each.",
            show_default="that of the .json files if there is nothing else, else as for evaluate",
        ),
    ] = None,
    resize: Resize = None,
    inception: Inception = None,
    input_size: InputSize = None,
    checkpoint: CheckpointName = "latest",
    device: Device = "auto",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory for comparison-EXTRACTOR.html.")
    ] = Path("comparison"),
) -> None:
    """Score several generators in the same way and rank them, in a table and on a page."""
    require_training_extra()
    from catgan.evaluation.evaluate import Evaluation
    from catgan.evaluation.extractors.registry import extractor_name, load_extractor
    from catgan.evaluation.fingerprint import extractor_parts
    from catgan.evaluation.image_sets import ImageSet
    from catgan.evaluation.results.comparison import (
        require_alike,
        require_extractor,
        with_distinct_titles,
    )
    from catgan.runs.directory import is_run
    from catgan.runs.evaluation import contender_at, real_images, require_output

    output = Output()
    if len(generators) < 2:
        raise CatganError(
            f"expected two or more generators, got only {generators[0]}: name another, or score it "
            "with catgan evaluate"
        )
    if not any(map(is_run, generators)) and (checkpoint != "latest" or device != "auto"):
        raise CatganError("none of these is a run: leave out --checkpoint and --device")
    require_output(out)

    def note(text: str) -> None:
        output.print_line(text)

    contenders = with_distinct_titles(
        [contender_at(path, samples, checkpoint, device, note) for path in generators]
    )
    unscored = {
        each.path: each.subject for each in contenders if isinstance(each.subject, ImageSet)
    }
    evaluations = [each.subject for each in contenders if isinstance(each.subject, Evaluation)]
    reals = None
    if unscored or against:
        with ProgressBar(output) as progress:
            reals = real_images(against, unscored, progress)
    if not unscored and (resize or inception or input_size):
        raise CatganError(
            "all of these are scored already: leave out --resize, --inception and --input-size"
        )
    for name in extractor or []:
        require_extractor(contenders, {"extractor's name": extractor_name(name)})
    with ProgressBar(output) as progress:
        images = None if reals is None else reals.images
        require_alike(contenders, images, samples=samples, progress=progress)
    if reals is None or not unscored:
        _print_comparison(output, evaluations, out)
        return
    names: list[str | None] = [*extractor] if extractor else [None]
    networks = [
        load_extractor(name, resize=resize, inception_path=inception, input_size=input_size)
        for name in names
    ]
    for network in networks:
        require_extractor(contenders, extractor_parts(network.identity))
    for network in networks:
        scored = _score_all(output, unscored, reals, network, out)
        _print_comparison(output, [*evaluations, *scored], out)


def _score_all(
    output: Output,
    unscored: Mapping[Path, ImageSet],
    reals: RealImages,
    network: Extractor,
    out: Path,
) -> list[Evaluation]:
    """Score the generators in turn, and write each evaluation before scoring the next."""
    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.reference import measure_reference
    from catgan.evaluation.results.records import comparison_directory, free_directory
    from catgan.runs.evaluation import ScoredImages

    with ProgressBar(output) as progress:
        reference = measure_reference(
            reals.images, network, holdout=reals.holdout, progress=progress
        )
    results = []
    for path, generated in unscored.items():
        with ProgressBar(output) as progress:
            result = score(generated, reference, notes=reals.notes_for(path), progress=progress)
        results.append(result)
        wanted = comparison_directory(out, generated, network.identity)
        directory = free_directory(result, wanted)
        page = ScoredImages(result, generated, reals.images, directory).write()
        output.print_line(f"scored   {result.title}: {page}")
    return results


def _print_comparison(output: Output, results: Sequence[Evaluation], out: Path) -> None:
    """Print the table and the notes, and write the page."""
    from rich.table import Table
    from rich.text import Text

    from catgan.evaluation.results.pages import all_notes, comparison_page, comparison_table
    from catgan.files import file_name, write_durably

    header, *rows = comparison_table(results)
    table = Table(box=None, header_style="dim")
    for cell in header:
        table.add_column(Text(cell))
    for row in rows:
        table.add_row(*map(Text, row))  # as Text, names in brackets are not read as markup
    output.console.print(table)
    for note in all_notes(results):
        output.print_line(f"note     {note}")
    name = results[0].fingerprint.extractor.name
    page = out / f"comparison-{file_name(name)}.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_durably(page, comparison_page(results).encode())
    except OSError as error:
        raise cannot_write(out, error) from None
    output.print_line(f"report   {page}")
