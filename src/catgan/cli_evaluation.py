"""The verbs that measure: `catgan evaluate` and `catgan compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catgan.errors import CatganError
from catgan.terminal import (
    ProgressBar,
    cannot_write,
    make_console,
    print_line,
    require_training_extra,
)

if TYPE_CHECKING:
    from rich.console import Console

    from catgan.evaluation.evaluate import Evaluation, Latents
    from catgan.evaluation.extractor import Extractor
    from catgan.evaluation.image_sets import ImageSet

DEFAULT_SAMPLES = 5_000

Against = Annotated[
    Path, typer.Option(help="The real images: a dataset, or a folder or zip of images.")
]
Samples = Annotated[
    int | None,
    typer.Option(min=12, help="Images to draw from a run.", show_default=f"{DEFAULT_SAMPLES:,}"),
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
    against: Against,
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
    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.extractors import load_extractor
    from catgan.evaluation.records import file_name, place_for, write_evaluation
    from catgan.evaluation.reference import measure_reference, require_enough
    from catgan.training.run_directory import is_run

    console = make_console()
    if not is_run(images) and (samples is not None or checkpoint != "latest"):
        raise CatganError(f"{images} is not a run: leave out --samples and --checkpoint")
    home = images if is_run(images) else Path()
    _require_writable(out or home / "evaluation")
    made, latents = _scored(console, images, samples or DEFAULT_SAMPLES, checkpoint, device)
    reals, holdout = _reals(against)
    require_enough(made)
    network = load_extractor(
        extractor, resize=resize, inception_path=inception, input_size=input_size
    )
    with ProgressBar(console) as progress:
        reference = measure_reference(reals, network, holdout=holdout, progress=progress)
        result = score(made, reference, latents=latents, progress=progress)
    print_line(console, result.line())
    for text in result.notes:
        print_line(console, f"note     {text}")
    own = f"{made.checkpoint.images:09d}" if made.checkpoint else file_name(made.name)
    place = out or place_for(result, home / "evaluation" / file_name(network.identity.name) / own)
    try:
        page = write_evaluation(place, result, made, reals)
    except OSError as error:
        raise cannot_write(place, error) from None
    print_line(console, f"report   {page}")


def compare(
    generators: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more: runs, folders or zips of images, or evaluation.json files."
        ),
    ],
    against: Against,
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
    from catgan.evaluation.comparison import (
        Contender,
        require_alike,
        require_extractor,
        with_distinct_titles,
    )
    from catgan.evaluation.evaluate import Evaluation
    from catgan.evaluation.extractors import extractor_name, load_extractor
    from catgan.evaluation.fingerprint import extractor_parts
    from catgan.evaluation.image_sets import ImageSet
    from catgan.evaluation.read import read_evaluation

    console = make_console()
    _require_writable(out)
    reals, holdout = _reals(against)
    draws = samples or DEFAULT_SAMPLES
    contenders = with_distinct_titles(
        [
            Contender(
                path,
                read_evaluation(path)
                if path.suffix == ".json"
                else _scored(console, path, draws, checkpoint, device)[0],
            )
            for path in generators
        ]
    )
    unscored = [each.subject for each in contenders if isinstance(each.subject, ImageSet)]
    records = [each.subject for each in contenders if isinstance(each.subject, Evaluation)]
    if not unscored and (resize or inception or input_size):
        raise CatganError(
            "all of these are scored already: leave out --resize, --inception and --input-size"
        )
    for name in extractor or []:
        require_extractor(contenders, {"extractor's name": extractor_name(name)})
    with ProgressBar(console) as progress:
        require_alike(contenders, reals, samples=samples, progress=progress)
    if not unscored:
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
        scored = _score_all(console, unscored, reals, holdout, network, out)
        _print_comparison(console, [*records, *scored], out)


def _score_all(
    console: Console,
    unscored: Sequence[ImageSet],
    reals: ImageSet,
    holdout: ImageSet | None,
    network: Extractor,
    out: Path,
) -> list[Evaluation]:
    """Score the generators one by one; each evaluation is written before the next is begun."""
    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.records import file_name, place_for, write_evaluation
    from catgan.evaluation.reference import measure_reference

    with ProgressBar(console) as progress:
        reference = measure_reference(reals, network, holdout=holdout, progress=progress)
    results = []
    for made in unscored:
        with ProgressBar(console) as progress:
            result = score(made, reference, progress=progress)
        results.append(result)
        own = file_name(made.name) + (f"-{made.checkpoint.images:09d}" if made.checkpoint else "")
        place = place_for(result, out / file_name(network.identity.name) / own)
        try:
            page = write_evaluation(place, result, made, reals)
        except OSError as error:
            raise cannot_write(place, error) from None
        print_line(console, f"scored   {result.title}: {page}")
    return results


def _print_comparison(console: Console, results: Sequence[Evaluation], out: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from catgan.evaluation.pages import all_notes, comparison_page, comparison_table
    from catgan.evaluation.records import file_name
    from catgan.files import write_durably

    head, *rows = comparison_table(results)
    table = Table(*head, box=None, header_style="dim")
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


def _require_writable(directory: Path) -> None:
    from catgan.evaluation.records import require_writable

    try:
        require_writable(directory)
    except OSError as error:
        raise cannot_write(directory, error) from None


def _reals(path: Path) -> tuple[ImageSet, ImageSet | None]:
    """The real images at `path`, and the holdout if it is a dataset that has one."""
    from catgan.data.dataset import Dataset, is_dataset
    from catgan.evaluation.image_sets import dataset_images, file_images

    if not is_dataset(path):
        return file_images(path), None
    dataset = Dataset.open(path)
    holdout = dataset_images(dataset, "holdout") if len(dataset.indices("holdout")) else None
    return dataset_images(dataset), holdout


def _scored(
    console: Console, path: Path, samples: int, checkpoint: str, device: str
) -> tuple[ImageSet, Latents | None]:
    """The images at `path`: a run's, drawn with the seeds from 0 on, or those that lie there."""
    from catgan.data.sources import label
    from catgan.evaluation.evaluate import Latents
    from catgan.evaluation.image_sets import Checkpoint, generated_images
    from catgan.training.device import choose_device
    from catgan.training.run_directory import RunDirectory, is_run
    from catgan.training.sampling import restored_sampler

    if not is_run(path):
        return _reals(path)[0], None

    # Which checkpoint "latest" and "best" are is settled once, also while the run goes on.
    store = RunDirectory.open(path).checkpoints
    found = store.load(checkpoint, lambda text: print_line(console, text))
    state = Checkpoint(
        found.images,
        tuple(name for name in ("latest", "best") if store.pointer(name) == found.path.name),
    )
    sampler, _ = restored_sampler(found, choose_device(device))
    made = generated_images(label(path.resolve().name), sampler, samples, checkpoint=state)
    return made, Latents(sampler.synthesise, sampler.config.latent_size)
