"""The verbs that measure: `catgan evaluate` and `catgan compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catgan.terminal import (
    ProgressBar,
    cannot_write,
    make_console,
    print_line,
    require_training_extra,
)

if TYPE_CHECKING:
    from rich.console import Console

    from catgan.evaluation.evaluate import Latents
    from catgan.evaluation.image_sets import ImageSet


def evaluate(
    images: Annotated[
        Path, typer.Argument(help="What to score: a run, a dataset, or a folder or zip of images.")
    ],
    against: Annotated[
        Path, typer.Option(help="The real images: a dataset, or a folder or zip of images.")
    ],
    samples: Annotated[int, typer.Option(min=12, help="Images to draw from a run.")] = 5_000,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="inception, lite2, raw-64, or a .pt or .onnx file.",
            show_default="inception if it is there, else lite2",
        ),
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="Resize rule.", show_default="the extractor's own")
    ] = None,
    inception: Annotated[
        Path | None, typer.Option(help="Where inception-2015-12-05.pt lies.")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Of a run: latest, best, or a number of images seen.")
    ] = "latest",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps, for a run.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Directory for evaluation.json and .html.",
            show_default="RUN/evaluation/EXTRACTOR, or evaluation/EXTRACTOR",
        ),
    ] = None,
) -> None:
    """Score images against real ones: Frechet and kernel distance, precision, recall, copies."""
    require_training_extra()
    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.extractors import load_extractor
    from catgan.evaluation.pages import evaluation_page
    from catgan.files import write_durably

    console = make_console()
    network = load_extractor(extractor, resize=resize, inception_path=inception)  # type: ignore[arg-type]
    reals, holdout = _reals(against)
    made, latents = _scored(console, images, samples, checkpoint, device)
    with ProgressBar(console) as progress:
        result = score(made, reals, network, holdout=holdout, latents=latents, progress=progress)
    print_line(console, result.line())
    for note in result.notes:
        print_line(console, f"note     {note}")
    where = out or (images if latents else Path()) / "evaluation" / network.identity.name
    try:
        where.mkdir(parents=True, exist_ok=True)
        write_durably(where / "evaluation.json", result.to_json().encode())
        page = evaluation_page(result, made, reals)
        write_durably(where / "evaluation.html", page.encode())
    except OSError as error:
        raise cannot_write(where, error) from None
    print_line(console, f"report   {where / 'evaluation.html'}")


def compare(
    generators: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more: runs, folders or zips of images, or evaluation.json files."
        ),
    ],
    against: Annotated[
        Path, typer.Option(help="The real images: a dataset, or a folder or zip of images.")
    ],
    samples: Annotated[int, typer.Option(min=12, help="Images to draw from a run.")] = 5_000,
    extractor: Annotated[
        list[str] | None,
        typer.Option(
            help="As for evaluate; repeat it for a table each.",
            show_default="inception if it is there, else lite2",
        ),
    ] = None,
    inception: Annotated[
        Path | None, typer.Option(help="Where inception-2015-12-05.pt lies.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps, for runs.")] = "auto",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory for comparison-EXTRACTOR.html.")
    ] = Path("comparison"),
) -> None:
    """Score several generators alike and rank them, in a table and a page."""
    require_training_extra()
    from rich.table import Table
    from rich.text import Text

    from catgan.evaluation.evaluate import evaluate as score
    from catgan.evaluation.extractors import load_extractor
    from catgan.evaluation.pages import comparison_page, comparison_table
    from catgan.evaluation.read import read_evaluation
    from catgan.files import write_durably

    console = make_console()
    reals, holdout = _reals(against)
    names: list[str | None] = [*extractor] if extractor else [None]
    for name in names:
        network = load_extractor(name, inception_path=inception)
        results = []
        for path in generators:
            if path.suffix == ".json":
                results.append(read_evaluation(path))
                continue
            made, _ = _scored(console, path, samples, "latest", device)
            with ProgressBar(console) as progress:
                results.append(score(made, reals, network, holdout=holdout, progress=progress))
        head, *rows = comparison_table(results)
        table = Table(*head, box=None, header_style="dim")
        for row in rows:
            table.add_row(*map(Text, row))  # names are no markup
        console.print(table)
        page = out / f"comparison-{results[0].fingerprint.extractor.name}.html"
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_durably(page, comparison_page(results).encode())
        except OSError as error:
            raise cannot_write(out, error) from None
        print_line(console, f"report   {page}")


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
    from catgan.evaluation.evaluate import Latents
    from catgan.evaluation.image_sets import generated_images
    from catgan.training.device import choose_device
    from catgan.training.run_directory import is_run
    from catgan.training.sampling import load_sampler

    if not is_run(path):
        return _reals(path)[0], None
    sampler = load_sampler(
        path, choose_device(device), lambda text: print_line(console, text), checkpoint
    )
    size = sampler.config.latent_size
    return generated_images(path.name, sampler, samples), Latents(sampler.synthesise, size)
