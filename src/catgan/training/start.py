"""Before the first step: from what a person asked for to a plan that the loop can carry out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import catgan
from catgan.config import Config, check_resumable, from_table, load_recipe, override
from catgan.data import drawn
from catgan.data.cache import cache_directory, embedded_dataset, generated_dataset, open_or_prepare
from catgan.data.dataset import Dataset
from catgan.data.generated import Origin
from catgan.errors import CatganError
from catgan.evaluation.extractors import load_extractor
from catgan.evaluation.image_sets import dataset_images
from catgan.evaluation.quick import RealsStatistics, reals_statistics
from catgan.files import portable_name
from catgan.generation.artefact import SUM
from catgan.generation.generator import embedded_generator, load_generator
from catgan.training import distributed
from catgan.training.device import choose_device, choose_precision, describe_machine
from catgan.training.run_directory import RunDirectory

OnProgress = Callable[[str, int, int], None]  # what is being done, done, total
MOST_NAMED = 10  # files left out that are named at the start of a run
MOST_REALS = 2_000  # training images that checkpoints are scored against
BYTES_WORTH_A_BAR = 2**31  # of pixels, which take seconds to check
FEWEST_TO_SCORE = 100  # training images; a distance to fewer says nothing


@dataclass(frozen=True)
class Plan:
    """Everything `train` needs, and what to tell the person before it begins."""

    config: Config
    dataset: Dataset
    run: RunDirectory
    device: torch.device
    reals: RealsStatistics | None
    resume: bool
    notes: list[str]


def new_run(
    source: Path | None,
    recipe: str,
    settings: list[str],
    out: Path | None,
    device_name: str,
    on_progress: OnProgress,
) -> Plan:
    """A run from its beginning: reads the recipe, prepares raw data, makes the directory."""
    config = override(load_recipe(recipe), settings)
    _check_batch(config)
    device = choose_device(device_name)
    dataset = _dataset(source, config, on_progress)
    _check_pixels(dataset, on_progress)
    facts = {
        "catgan": catgan.__version__,
        "source": None if source is None else str(source.resolve()),
        "dataset": {
            "name": dataset.name,
            "images": len(dataset),
            "to train on": len(dataset.indices("train")),
            "resolution": dataset.resolution,
            "licence": dataset.licence,
            "credit": dataset.credit,
            "identity": dataset.identity,
            "split": _split_identity(dataset),
        },
        "machine": _machine(config, device),
    }
    reals = _reals(dataset, config, on_progress)
    run = RunDirectory.create(out or _free_name(dataset.name, recipe), config, facts)
    notes = _notes(dataset, config)
    return Plan(config, dataset, run, device, reals, resume=False, notes=notes)


def resume_run(
    path: Path, source: Path | None, settings: list[str], device_name: str, on_progress: OnProgress
) -> Plan:
    """A run from its last checkpoint; refuses other data and settings that must stay."""
    run = RunDirectory.open(path)
    run.lock.acquire()
    facts, old = run.facts(), run.config()
    config = override(old, settings)
    check_resumable(old, config)
    _check_batch(config)
    device = choose_device(device_name)
    if source is None and facts.get("source") is not None:
        source = Path(facts["source"])
        if not source.exists():
            raise CatganError(
                f"{path} was trained on {source}, which is gone: name its new place, "
                f"catgan train NEW_PLACE --resume {path}"
            )
    began_with_drawn = facts["dataset"].get("name") == drawn.NAME
    dataset = _dataset(source, config, on_progress, drawn_cats=began_with_drawn)
    _check_pixels(dataset, on_progress)
    _check_same_data(path, facts["dataset"], dataset)
    run.update_config(config)
    notes = _notes(dataset, config)
    machine = _machine(config, device)
    for fact in ("processes", "threads", "precision", "torch", "device"):
        now, was = machine[fact], facts["machine"].get(fact, 1 if fact == "processes" else None)
        if was != now:
            notes.append(
                f"{fact}: {was} when the run began, {now} now: goes on, but not bit for bit"
            )
    reals = _reals(dataset, config, on_progress)
    return Plan(config, dataset, run, device, reals, resume=True, notes=notes)


def together(make: Callable[[], Plan], source: Path | None, device_name: str) -> Plan:
    """The plan that the first process makes, in all processes of the job.

    Each opens the dataset as it finds it at `source`, and refuses to go on with other images than
    the first process has. On each machine one process opens it first, in case it must be prepared.
    """
    world = distributed.world()
    if world.processes == 1:
        return make()
    plan = make() if world.leads else None
    told = distributed.share(plan and _told(plan))
    config = from_table(told["config"], "the first process")
    source = source or (Path(told["source"]) if told["source"] else None)
    for turn in (True, False):
        if plan is None and (os.environ.get("LOCAL_RANK", "0") == "0") == turn:
            dataset = _dataset(source, config, _quietly, drawn_cats=told["drawn"])
            if [dataset.identity, _split_identity(dataset)] != told["identity"]:
                raise CatganError(
                    f"{dataset.path} on {platform.node()} holds other images than the first "
                    "process has, or is split otherwise: copy the prepared dataset to every "
                    "machine, or put it where all can read it"
                )
        distributed.wait_for_all()
    if plan is not None:
        return plan
    run, device = RunDirectory(Path(told["run"])), choose_device(device_name)
    return Plan(config, dataset, run, device, reals=None, resume=told["resume"], notes=[])


def first_line(plan: Plan) -> str:
    """What is about to be trained, on what."""
    machine = _machine(plan.config, plan.device)
    processes = f"{machine['processes']} processes of " if machine["processes"] != 1 else ""
    count = len(plan.dataset.indices("train"))
    return (
        f"catgan {catgan.__version__}: {plan.config.recipe}, {plan.config.network.resolution} px, "
        f"on {count:,} images of {plan.dataset.name}; {machine['device']}, "
        f"{processes}{machine['threads']} threads, {machine['precision']}"
    )


def _told(plan: Plan) -> dict[str, Any]:
    """What the other processes need to know of a plan, as JSON."""
    return {
        "config": dataclasses.asdict(plan.config),
        "source": plan.run.facts().get("source"),
        "drawn": plan.dataset.name == drawn.NAME,
        "identity": [plan.dataset.identity, _split_identity(plan.dataset)],
        "run": str(plan.run.path),
        "resume": plan.resume,
    }


def _quietly(what: str, done: int, total: int) -> None:
    """Progress that nobody is shown: the first process alone prints."""


def _check_batch(config: Config) -> None:
    """Raise `CatganError` unless every process gets as many images of a batch."""
    batch_size, processes = config.training.batch_size, distributed.world().processes
    if batch_size % processes:
        nearest = max(round(batch_size / processes), 1) * processes
        raise CatganError(
            f"training.batch_size = {batch_size} is of the whole job and does not divide by its "
            f"{processes} processes: try --set training.batch_size={nearest}, or another number "
            "of processes"
        )


def _dataset(
    source: Path | None, config: Config, on_progress: OnProgress, *, drawn_cats: bool = False
) -> Dataset:
    """What `source` names; without one, generated cats, or drawn ones where asked or needed."""
    size = config.network.resolution
    if source is not None:
        return open_or_prepare(
            source, size, on_progress=lambda done, total, *_: on_progress("preparing", done, total)
        )

    def drawing(done: int, total: int, *_: int) -> None:
        on_progress("drawing cats", done, total)

    if embedded_generator() is None or drawn_cats:
        return embedded_dataset(size, on_progress=drawing)
    generator = load_generator()
    if size > generator.resolution:  # enlarged images would teach blur
        return embedded_dataset(size, on_progress=drawing)
    card = generator.card
    origin = Origin(
        generator.sample, generator.resolution, card.document[SUM], card.licence, card.credit
    )
    return generated_dataset(origin, size, on_progress=drawing)


def _reals(dataset: Dataset, config: Config, on_progress: OnProgress) -> RealsStatistics | None:
    """What checkpoints are scored against; computed once for a dataset, then cached."""
    count = len(dataset.indices("train"))
    if not config.output.score_samples or count < FEWEST_TO_SCORE:
        return None
    return reals_statistics(
        dataset_images(dataset, count=min(count, MOST_REALS)),
        load_extractor("lite2"),
        progress=lambda stage, done, total: on_progress("measuring", done, total),
    )


def _machine(config: Config, device: torch.device) -> dict[str, str | int]:
    precision = str(choose_precision(config.training.precision, device)).removeprefix("torch.")
    processes = distributed.world().processes
    return describe_machine(device) | {"precision": precision, "processes": processes}


def _check_pixels(dataset: Dataset, on_progress: OnProgress) -> None:
    """Read all pixels; `CatganError` when they are not what the dataset was made with."""

    def reading(done: int, total: int) -> None:
        on_progress("checking the images", done, total)

    try:
        dataset.verify(reading if dataset.images.nbytes > BYTES_WORTH_A_BAR else None)
    except CatganError:
        if dataset.path.is_relative_to(cache_directory()):
            raise CatganError(
                f"{dataset.path} has changed on disk since it was made: delete it, and it is made "
                "again"
            ) from None
        raise


def _check_same_data(path: Path, facts: dict[str, Any], dataset: Dataset) -> None:
    """`CatganError` unless `dataset` has the pixels and the split that the run began with."""
    if dataset.identity != facts.get("identity"):
        how = "in its images or their order"
    elif _split_identity(dataset) != facts.get("split"):
        how = "in what is held out: it is split otherwise"
    else:
        return
    raise CatganError(
        f"{path} was trained on {facts.get('name')!r} ({facts.get('images')} images, "
        f"{facts.get('to train on')} to train on); {dataset.name!r} ({len(dataset)} images, "
        f"{len(dataset.indices('train'))} to train on) differs from it {how}: give the same data, "
        "or start a new run"
    )


def _notes(dataset: Dataset, config: Config) -> list[str]:
    notes = []
    left_out = [f"{refused.name}: {refused.reason}" for refused in dataset.refused]
    left_out += [f"{double.name}: the same file as {double.kept}" for double in dataset.duplicates]
    if left_out:
        notes = [f"{len(left_out)} files of {dataset.name} were left out:"]
        notes += [f"  {line}" for line in left_out[:MOST_NAMED]]
    if len(left_out) > MOST_NAMED:
        notes.append(f"  and {len(left_out) - MOST_NAMED} more: {dataset.path / 'dataset.json'}")
    count = len(dataset.indices("train"))
    if count < config.training.batch_size:
        notes.append(
            f"only {count} images to train on, fewer than a batch of {config.training.batch_size}: "
            "they will be learnt by heart; some hundreds are the least that make sense"
        )
    return notes


def _split_identity(dataset: Dataset) -> str:
    """A sum over which images are trained on."""
    return hashlib.sha256(dataset.indices("train").tobytes()).hexdigest()


def _free_name(dataset: str, recipe: str) -> Path:
    """`runs/DATASET-RECIPE`, numbered when that is taken."""
    label = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-.") or "cats"
    base = Path("runs") / portable_name(f"{label[:60]}-{recipe}")
    number, path = 2, base
    while path.exists():
        path = base.with_name(f"{base.name}-{number}")
        number += 1
    return path
