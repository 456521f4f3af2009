"""The verbs that measure: `catgan evaluate` and `catgan compare`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catgan.cli.console import (
    ProgressBar,
    cannot_write,
    make_console,
    print_line,
    require_training_extra,
)
from catgan.errors import CatganError

if TYPE_CHECKING:
    from rich.console import Console

    from catgan.data.dataset.dataset import Dataset
    from catgan.evaluation.evaluate import Evaluation, Latents
    from catgan.evaluation.extractors.extractor import Extractor
    from catgan.evaluation.image_sets import ImageSet

DEFAULT_SAMPLES = 5_000

Against = Annotated[
    Path | None,
    typer.Option(
        help="The real images: a dataset, a run's data, or a folder or zip of photos.",
        show_default="what the run was trained on",
    ),
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
    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.extractors.registry import load_extractor
    from catgan.evaluation.reference import measure_reference, require_enough
    from catgan.evaluation.results.records import place_for, write_evaluation
    from catgan.files import file_name
    from catgan.runs.directory import is_run

    console = make_console()
    if not is_run(images) and (samples is not None or checkpoint != "latest" or device != "auto"):
        raise CatganError(f"{images} is not a run: leave out --samples, --checkpoint and --device")
    if record := _record_at(images):
        raise CatganError(f"{record} is an evaluation, and no images: name it to catgan compare")
    home = images if is_run(images) else Path()
    _require_writable(out or home / "evaluation")
    made, latents = _scored(console, images, samples or DEFAULT_SAMPLES, checkpoint, device)
    require_enough(made)
    reals = _reals(console, against, {images: made})
    network = load_extractor(
        extractor, resize=resize, inception_path=inception, input_size=input_size
    )
    own = f"{made.checkpoint.images:09d}" if made.checkpoint else file_name(made.name)
    wanted = out or home / "evaluation" / file_name(network.identity.name) / own
    _require_writable(wanted)
    with ProgressBar(console) as progress:
        reference = measure_reference(
            reals.images, network, holdout=reals.holdout, progress=progress
        )
        notes = (*reals.notes, *_run_notes(images, reals))
        result = score(made, reference, latents=latents, notes=notes, progress=progress)
    print_line(console, result.line())
    for text in result.notes:
        print_line(console, f"note     {text}")
    place = out or place_for(result, wanted)
    try:
        page = write_evaluation(place, result, made, reals.images)
    except OSError as error:
        raise cannot_write(place, error) from None
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

    console = make_console()
    if len(generators) < 2:
        raise CatganError(
            f"{generators[0]} alone is nothing to compare: name two or more, or score it by "
            "catgan evaluate"
        )
    if not any(map(is_run, generators)) and (checkpoint != "latest" or device != "auto"):
        raise CatganError("none of these is a run: leave out --checkpoint and --device")
    _require_writable(out)
    draws = samples or DEFAULT_SAMPLES
    found = []
    for path in generators:
        if record := _record_at(path):
            found.append(Contender(record, read_evaluation(record)))
        else:
            found.append(Contender(path, _scored(console, path, draws, checkpoint, device)[0]))
    contenders = with_distinct_titles(found)
    unscored = {
        each.path: each.subject for each in contenders if isinstance(each.subject, ImageSet)
    }
    records = [each.subject for each in contenders if isinstance(each.subject, Evaluation)]
    reals = _reals(console, against, unscored) if unscored or against else None
    real_images = None if reals is None else reals.images
    if not unscored and (resize or inception or input_size):
        raise CatganError(
            "all of these are scored already: leave out --resize, --inception and --input-size"
        )
    for name in extractor or []:
        require_extractor(contenders, {"extractor's name": extractor_name(name)})
    with ProgressBar(console) as progress:
        require_alike(contenders, real_images, samples=samples, progress=progress)
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
    reals: _Reals,
    network: Extractor,
    out: Path,
) -> list[Evaluation]:
    """Score the generators one by one; each evaluation is written before the next is begun."""
    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.reference import measure_reference
    from catgan.evaluation.results.records import place_for, write_evaluation
    from catgan.files import file_name

    with ProgressBar(console) as progress:
        reference = measure_reference(
            reals.images, network, holdout=reals.holdout, progress=progress
        )
    results = []
    for path, made in unscored.items():
        with ProgressBar(console) as progress:
            notes = (*reals.notes, *_run_notes(path, reals))
            result = score(made, reference, notes=notes, progress=progress)
        results.append(result)
        own = file_name(made.name) + (f"-{made.checkpoint.images:09d}" if made.checkpoint else "")
        place = place_for(result, out / file_name(network.identity.name) / own)
        try:
            page = write_evaluation(place, result, made, reals.images)
        except OSError as error:
            raise cannot_write(place, error) from None
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


def _require_writable(directory: Path) -> None:
    from catgan.evaluation.results.records import require_writable

    try:
        require_writable(directory)
    except OSError as error:
        raise cannot_write(directory, error) from None


@dataclass(frozen=True)
class _Reals:
    """The real images, those held out of them if any, and what was done to have them.

    `dataset` is None for images that were taken as they are.
    """

    images: ImageSet
    holdout: ImageSet | None
    dataset: Dataset | None
    notes: tuple[str, ...]


def _reals(console: Console, against: Path | None, scored: Mapping[Path, ImageSet]) -> _Reals:
    """Return what `against` means for the images `scored` (by path): see docs/guides/evaluate.md.

    Photos are prepared as for training, at the largest resolution of the runs that are scored, or
    else at the size of the images. Without a run they are taken as they are if all have that size
    already, or nothing can be prepared at it.
    """
    from catgan.data.dataset.dataset import RESOLUTIONS, is_dataset
    from catgan.evaluation.image_sets import all_have_shape, dataset_images, file_images
    from catgan.runs.data import data_of
    from catgan.runs.directory import is_run

    path = against or _run_with_the_data(list(scored))
    runs = [each for each in scored if is_run(each)]
    are_photos = not is_run(path) and not is_dataset(path)
    shapes = [scored[each].shape for each in runs or scored] if are_photos else []
    size = max((max(shape) for shape in shapes), default=0)
    with ProgressBar(console) as progress:
        if are_photos and not runs:
            fit = bool(shapes) and {*shapes} <= {(side, side) for side in RESOLUTIONS}
            if not fit or (len({*shapes}) == 1 and all_have_shape(path, shapes[0], progress)):
                return _Reals(file_images(path), None, None, ())
        try:
            dataset = data_of(path, size, progress)
        except CatganError as error:
            if not are_photos or not path.exists():
                raise
            raise CatganError(
                f"{error} (Prepared at {size} px, the size of what is scored; a dataset of any "
                "size can be named instead.)"
            ) from error
    held_out = len(dataset.indices("holdout"))
    notes = []
    if are_photos:
        left_out = len(dataset.rejected) + len(dataset.duplicates)
        notes.append(
            f"{dataset.name} was prepared at {size} px, as for training: {len(dataset):,} images, "
            f"{held_out:,} of them held out; {left_out:,} files left out."
        )
    holdout = dataset_images(dataset, "holdout") if held_out else None
    return _Reals(dataset_images(dataset), holdout, dataset, tuple(notes))


def _run_with_the_data(scored: Sequence[Path]) -> Path:
    """The run among `scored` whose data are the reals where none are named."""
    from catgan.runs.directory import RunDirectory, is_run

    runs = [path for path in scored if is_run(path)]
    if not runs:
        raise CatganError(
            f"{scored[0]} is not a run, which would know its data: name the real images with "
            "--against"
        )
    first, *others = (RunDirectory.open(path).facts()["dataset"] for path in runs)
    for path, facts in zip(runs[1:], others, strict=True):
        if any(facts.get(key) != first.get(key) for key in ("identity", "split")):
            raise CatganError(
                f"{runs[0]} and {path} were trained on different data: name the real images with "
                "--against"
            )
    return runs[0]


def _run_notes(path: Path, reals: _Reals) -> list[str]:
    """What is to be said of a run that was trained on other images than the reals."""
    from catgan.runs.data import changed_data

    changed = reals.dataset and changed_data(path, reals.dataset)
    return [f"{changed}; what it memorized may not be among these."] if changed else []


def _record_at(path: Path) -> Path | None:
    """The record of an evaluation that `path` names, itself or by its directory."""
    from catgan.data.dataset.dataset import is_dataset
    from catgan.evaluation.results.records import RECORD
    from catgan.runs.directory import is_run

    if is_run(path) or is_dataset(path):
        return None
    if path.is_dir():
        return path / RECORD if (path / RECORD).is_file() else None
    return path if path.suffix.lower() == ".json" and path.is_file() else None


def _scored(
    console: Console, path: Path, samples: int, checkpoint: str, device: str
) -> tuple[ImageSet, Latents | None]:
    """The images at `path`: a run's, drawn with the seeds from 0 on, or those that lie there."""
    from catgan.data.dataset.dataset import Dataset, is_dataset
    from catgan.data.reading.sources import label
    from catgan.evaluation.evaluate import Latents
    from catgan.evaluation.image_sets import (
        Checkpoint,
        dataset_images,
        file_images,
        generated_images,
    )
    from catgan.runs.directory import RunDirectory, is_run
    from catgan.runs.sampler import restored_sampler
    from catgan.training.device import choose_device

    if is_dataset(path):
        dataset = Dataset.open(path)
        dataset.verify()
        return dataset_images(dataset), None
    if path.suffix.lower() == ".onnx":
        raise CatganError(
            f"{path} is an exported generator, and no images: score its run, or images that "
            "catgan sample draws with it"
        )
    if not is_run(path):
        return file_images(path), None

    # Which checkpoint "latest" and "best" are is settled once, also while the run goes on.
    store = RunDirectory.open(path).checkpoints
    found = store.load(checkpoint, lambda text: print_line(console, text), ["ema"])
    state = Checkpoint(
        found.images,
        tuple(name for name in ("latest", "best") if store.pointer(name) == found.path.name),
    )
    sampler, _ = restored_sampler(found, choose_device(device))
    name = label(Path(os.path.realpath(path)).name)
    made = generated_images(name, sampler, samples, checkpoint=state)
    return made, Latents(sampler.synthesize, sampler.config.latent_size)
