"""The verbs that measure: `catgan evaluate` and `catgan compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catgan.cli.console import ProgressBar, make_console, print_line
from catgan.errors import CatganError, cannot_write
from catgan.extras import require_training_extra

if TYPE_CHECKING:
    from rich.console import Console

    from catgan.evaluation.evaluate import Evaluation
    from catgan.evaluation.extractors.extractor import Extractor
    from catgan.evaluation.image_sets import ImageSet
    from catgan.runs.evaluation import RealImages

Against = Annotated[
    Path | None,
    typer.Option(
        help="The real images: a dataset, a run's data, or a folder or zip of photos.",
        show_default="what the run was trained on",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(min=12, help="Images to draw from a run.", show_default="5,000"),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="Resize rule: clean, pytorch, tensorflow or area.", show_default="the extractor's own"
    ),
]
Inception = Annotated[Path | None, typer.Option(help="Where inception-2015-12-05.pt lies.")]
InputSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="Side in pixels that a .pt or .onnx file takes.",
        show_default="as the file states, else 224",
    ),
]
CheckpointName = Annotated[
    str, typer.Option(help="Of a run: latest, best, or a number of images seen.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps, for a run.")]


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
            show_default="inception if it is there, else lite2",
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
    """Score images against real ones: Frechet and kernel distance, precision, recall, copies."""
    require_training_extra()
    from catgan.runs.evaluation import evaluate_path

    console = make_console()
    with ProgressBar(console) as progress:
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
            note=lambda text: print_line(console, text),
            on_progress=progress,
        )
    print_line(console, scored.evaluation.line())
    for text in scored.evaluation.notes:
        print_line(console, f"note     {text}")
    page = scored.write()
    print_line(console, f"report   {page}")


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
            help="As for evaluate; repeat it for a table each.",
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
    """Score several generators alike and rank them, in a table and a page."""
    require_training_extra()
    from catgan.evaluation.evaluate import Evaluation
    from catgan.evaluation.extractors.registry import extractor_name, load_extractor
    from catgan.evaluation.fingerprint import extractor_parts
    from catgan.evaluation.image_sets import ImageSet
    from catgan.evaluation.results.comparison import (
        Contender,
        require_alike,
        require_extractor,
        with_distinct_titles,
    )
    from catgan.evaluation.results.read import read_evaluation
    from catgan.runs.directory import is_run
    from catgan.runs.evaluation import images_to_score, real_images, record_at, require_output

    console = make_console()
    if len(generators) < 2:
        raise CatganError(
            f"{generators[0]} alone is nothing to compare: name two or more, or score it by "
            "catgan evaluate"
        )
    if not any(map(is_run, generators)) and (checkpoint != "latest" or device != "auto"):
        raise CatganError("none of these is a run: leave out --checkpoint and --device")
    require_output(out)

    def note(text: str) -> None:
        print_line(console, text)

    found = []
    for path in generators:
        if record := record_at(path):
            found.append(Contender(record, read_evaluation(record)))
        else:
            made, _ = images_to_score(path, samples, checkpoint, device, note)
            found.append(Contender(path, made))
    contenders = with_distinct_titles(found)
    unscored = {
        each.path: each.subject for each in contenders if isinstance(each.subject, ImageSet)
    }
    records = [each.subject for each in contenders if isinstance(each.subject, Evaluation)]
    with ProgressBar(console) as progress:
        reals = real_images(against, unscored, progress) if unscored or against else None
    images = None if reals is None else reals.images
    if not unscored and (resize or inception or input_size):
        raise CatganError(
            "all of these are scored already: leave out --resize, --inception and --input-size"
        )
    for name in extractor or []:
        require_extractor(contenders, {"extractor's name": extractor_name(name)})
    with ProgressBar(console) as progress:
        require_alike(contenders, images, samples=samples, progress=progress)
    if reals is None or not unscored:
        _print_comparison(console, records, out)
        return
    names: list[str | None] = [*extractor] if extractor else [None]
    networks = [
        load_extractor(name, resize=resize, inception_path=inception, input_size=input_size)
        for name in names
    ]
    for network in networks:
        require_extractor(contenders, extractor_parts(network.identity))
    for network in networks:
        scored = _score_all(console, unscored, reals, network, out)
        _print_comparison(console, [*records, *scored], out)


def _score_all(
    console: Console,
    unscored: Mapping[Path, ImageSet],
    reals: RealImages,
    network: Extractor,
    out: Path,
) -> list[Evaluation]:
    """Score the generators one by one; each evaluation is written before the next is begun."""
    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.reference import measure_reference
    from catgan.evaluation.results.records import place_for
    from catgan.files import file_name
    from catgan.runs.evaluation import ScoredImages, notes_on_run

    with ProgressBar(console) as progress:
        reference = measure_reference(
            reals.images, network, holdout=reals.holdout, progress=progress
        )
    results = []
    for path, made in unscored.items():
        with ProgressBar(console) as progress:
            notes = (*reals.notes, *notes_on_run(path, reals))
            result = score(made, reference, notes=notes, progress=progress)
        results.append(result)
        own = file_name(made.name) + (f"-{made.checkpoint.images:09d}" if made.checkpoint else "")
        place = place_for(result, out / file_name(network.identity.name) / own)
        page = ScoredImages(result, made, reals.images, place).write()
        print_line(console, f"scored   {result.title}: {page}")
    return results


def _print_comparison(console: Console, results: Sequence[Evaluation], out: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from catgan.evaluation.results.pages import all_notes, comparison_page, comparison_table
    from catgan.files import file_name, write_durably

    head, *rows = comparison_table(results)
    table = Table(box=None, header_style="dim")
    for cell in head:
        table.add_column(Text(cell))
    for row in rows:
        table.add_row(*map(Text, row))  # names are no markup
    console.print(table)
    for note in all_notes(results):
        print_line(console, f"note     {note}")
    name = results[0].fingerprint.extractor.name
    page = out / f"comparison-{file_name(name)}.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_durably(page, comparison_page(results).encode())
    except OSError as error:
        raise cannot_write(out, error) from None
    print_line(console, f"report   {page}")
