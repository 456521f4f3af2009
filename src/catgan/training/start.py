"""Before the first step: turn a request into a plan that the training loop can carry out."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import catgan
from catgan.config import (
    Config,
    check_length,
    check_resumable,
    from_table,
    load_recipe,
    override,
)
from catgan.data.dataset.dataset import Dataset, Split
from catgan.data.synthetic import procedural as procedural
from catgan.errors import CatganError, shell_words
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import dataset_images
from catgan.evaluation.quick import RealsStatistics, reals_statistics
from catgan.files import file_name
from catgan.generation.card import describe_lineage
from catgan.generation.generator import BUNDLED
from catgan.memory import kept_memory
from catgan.network_config import NetworkConfig, ProjectedConfig
from catgan.runs.data import OnProgress, check_pixels, open_data, split_identity
from catgan.runs.device import (
    choose_device,
    choose_precision,
    describe_machine,
    precision_to_resume,
)
from catgan.runs.directory import RunDirectory
from catgan.training import distributed, loop, transfer
from catgan.training.configure import (
    DEFAULT_RECIPE,
    TRANSFER_RECIPE,
    configure,
    default_recipe,
)
from catgan.training.display import Display
from catgan.training.losses import require_losses
from catgan.training.starting_point import (
    StartingPoint,
    load_starting_point,
)

MAX_LISTED = 10  # files left out that are listed at the start of a run
MAX_REALS = 2_000  # training images that checkpoints are scored against
# Images of a split; a distance to fewer is meaningless.
MIN_TO_SCORE: dict[Split, int] = {"train": 100, "holdout": 5}


@dataclass(frozen=True)
class Plan:
    """Everything `train` needs, and the notes to print before it starts."""

    config: Config
    dataset: Dataset
    run: RunDirectory
    device: torch.device
    precision: torch.dtype
    reals: RealsStatistics | None
    resume: bool
    notes: list[str]
    starting: StartingPoint | None = None

    def train(
        self, display: Display, *, minutes: float = math.inf, tensorboard: bool = False
    ) -> loop.Outcome:
        """Carry out the plan: see `loop.train`."""
        with kept_memory() if self.device.type == "cpu" else contextlib.nullcontext():
            return loop.train(
                self.config,
                self.dataset,
                self.run,
                display,
                device=self.device,
                precision=self.precision,
                reals=self.reals,
                starting=self.starting,
                resume=self.resume,
                minutes=minutes,
                tensorboard=tensorboard,
            )


def make_plan(
    source: Path | None,
    recipe: str | Config | None,
    settings: list[str],
    *,
    out: Path | None,
    resume: Path | None,
    start_from: str | None,
    device_name: str,
    on_progress: OnProgress,
) -> Plan:
    """Return the plan of a new run, or of the one in `resume`, in every process of a job.

    See `new_run` and `resume_run`.

    Raises:
        CatganError: the request contradicts itself, or the data, the weights to start from, the
            run or the device cannot be used.
    """
    if resume and (recipe or out or start_from):
        raise CatganError(
            "--resume continues a run unchanged: leave out --recipe, --from and --out"
        )
    run_to_resume = distributed.run_to_resume(out, resume)

    def make() -> Plan:
        if run_to_resume:
            return resume_run(run_to_resume, source, settings, device_name, on_progress)
        return new_run(source, recipe, settings, out, device_name, on_progress, start_from)

    return on_all_ranks(make, source, device_name)


def new_run(
    source: Path | None,
    recipe: str | Config | None,
    settings: list[str],
    out: Path | None,
    device_name: str,
    on_progress: OnProgress,
    start_from: str | None = None,
) -> Plan:
    """Plan a new run: read the recipe, prepare raw data, create the run directory.

    `start_from` names existing weights to start from (`load_starting_point`). Without a `recipe`,
    the default for those weights or for training from scratch is used.

    Raises:
        CatganError: the request is invalid, or data or weights cannot be read.
    """
    notes: list[str] = []
    starting = None
    if start_from is not None:
        starting = load_starting_point(start_from, notes.append)
        starting = starting.without_layers_added_after_training()
    recipe = recipe or default_recipe(starting)
    config = configure(recipe, settings, starting)
    _check_batch_size(config)
    _check_layers_added_after_training(config.network)
    require_losses(config.loss)
    device = choose_device(device_name)
    precision = choose_precision(config.training.precision, device)
    if out is not None:
        RunDirectory.check_can_create(out)  # before the work, which may be long
    dataset = open_data(source, config.network.resolution, on_progress)
    check_pixels(dataset, on_progress)
    photos = len(dataset.indices("train"))
    if recipe == TRANSFER_RECIPE:
        config = configure(recipe, settings, starting, photos)
    facts: dict[str, Any] = {
        "catgan": catgan.__version__,
        "source": None if source is None else str(source.resolve()),
        "dataset": {
            "name": dataset.name,
            "images": len(dataset),
            "to train on": len(dataset.indices("train")),
            "resolution": dataset.resolution,
            "license": dataset.license,
            "credit": dataset.credit,
            "identity": dataset.identity,
            "split": split_identity(dataset),
            "stamp": dataset.stamp(),
        },
        "machine": _describe_machine(device, precision),
    }
    if starting is not None:
        distance = transfer.distance_to_source(starting, dataset, device, on_progress)
        facts["from"] = {
            "named": _absolute(str(start_from)),
            "sha256": starting.sha256,
            "distance": distance,
        }
        facts["lineage"] = [dataclasses.asdict(each) for each in starting.lineage]
        notes.append(f"starts from {describe_lineage(starting.lineage)}")
        if distance is not None:
            notes.append(transfer.describe_distance(distance, starting.lineage[0].name))
        if config.network.resolution != starting.network.resolution:
            notes.append(
                f"doubles the resolution from {starting.network.resolution} to "
                f"{config.network.resolution} px: it starts with upsampled images"
            )
        elif starting.discriminator_for(config.network) is not None:
            note = "keeps the discriminator of the source"
            if starting.adds_eye_heads(config.network):
                note += ", with new eye heads"
            elif starting.drops_eye_heads(config.network):
                note += " without its eye heads: --set network.eye_heads=true keeps them"
            notes.append(note)
        elif isinstance(starting.network, ProjectedConfig) and starting.discriminator is not None:
            # Of the settings that may differ, only this one makes heads that do not fit.
            was = f"network.feature_resolution={starting.network.feature_resolution}"
            notes.append(
                f"starts a new discriminator, as the source's has {was}: --set {was} keeps it"
            )
        if recipe == TRANSFER_RECIPE:
            may_stop = _can_be_scored(dataset, config)
            notes.append(transfer.describe_choice(config, photos, may_stop=may_stop))
    elif (
        recipe == DEFAULT_RECIPE
        and dataset.resolution == load_recipe(DEFAULT_RECIPE).network.resolution
        and photos < transfer.MANY_PHOTOS
    ):
        notes.append(
            f"{photos:,} images are few to train from scratch: with --from bundled a run starts "
            "from the bundled generator, which already generates cats"
        )
    reals = _reals_statistics(dataset, config, on_progress)
    name = recipe if isinstance(recipe, str) else file_name(recipe.recipe)
    run = RunDirectory.create(out or _free_run_path(dataset.name, name), config, facts)
    notes += _data_notes(dataset, config)
    return Plan(
        config, dataset, run, device, precision, reals, resume=False, notes=notes, starting=starting
    )


def resume_run(
    path: Path, source: Path | None, settings: list[str], device_name: str, on_progress: OnProgress
) -> Plan:
    """Plan the continuation of a run from its last checkpoint.

    Raises:
        CatganError: the data differ, or a setting that must stay was changed.
    """
    run = RunDirectory.open(path)
    run.lock.acquire()
    try:
        return _resumed(run, source, settings, device_name, on_progress)
    except BaseException:
        run.lock.release()
        raise


def _resumed(
    run: RunDirectory,
    source: Path | None,
    settings: list[str],
    device_name: str,
    on_progress: OnProgress,
) -> Plan:
    path = run.path
    facts, old = run.facts(), run.config()
    config = override(old, settings)
    check_resumable(old, config)
    check_length(old, config, int(run.checkpoints.pointer("latest") or 0))
    _check_batch_size(config)
    _check_layers_added_after_training(config.network)
    require_losses(config.loss)
    device, began = choose_device(device_name), facts["machine"]
    if config.training.precision != old.training.precision:  # changed now, for this machine
        precision = choose_precision(config.training.precision, device)
    else:
        precision = precision_to_resume(config.training.precision, began, device)
    if source is None and facts.get("source") is not None:
        source = Path(facts["source"])
        if not source.exists():
            raise CatganError(
                f"{path} was trained on {source}, which does not exist: give its new path, "
                f"catgan train NEW_PATH --resume {shell_words(path)}"
            )
    began_with_procedural = facts["dataset"].get("name") == procedural.NAME
    size = config.network.resolution
    dataset = open_data(source, size, on_progress, procedural=began_with_procedural)
    check_pixels(dataset, on_progress, checked=facts["dataset"].get("stamp"))
    _check_same_data(path, facts["dataset"], dataset)
    run.update_config(config)
    notes = _data_notes(dataset, config)
    starting = (
        None if run.checkpoints.names() else _starting_point_of_run(path, facts, notes.append)
    )
    now = _describe_machine(device, precision)
    defaults = {"processes": 1, "vectors": now["vectors"]}  # missing in older runs
    for fact in ("processes", "threads", "precision", "torch", "device", "vectors"):
        was = began.get(fact, defaults.get(fact))
        if was != now[fact]:
            notes.append(
                f"{fact}: {was} when the run began, {now[fact]} now: resumes, but not bit for bit"
            )
    if (samples := config.output.score_samples) != old.output.score_samples and samples:
        notes.append(
            f"scores use {samples:,} samples from here on, {old.output.score_samples:,} before: "
            "they are not compared, and the next one becomes the best"
        )
    reals = _reals_statistics(dataset, config, on_progress)
    return Plan(
        config, dataset, run, device, precision, reals, resume=True, notes=notes, starting=starting
    )


def _absolute(start_from: str) -> str:
    """Return what `--from` names with an absolute path; a checkpoint's name is kept."""
    return start_from if start_from == BUNDLED else os.path.abspath(start_from)  # noqa: PTH100


def _starting_point_of_run(
    path: Path, facts: dict[str, Any], note: Callable[[str], None]
) -> StartingPoint | None:
    """Return the starting point of a run that has no checkpoint yet."""
    began = facts.get("from")
    if not isinstance(began, dict):
        return None
    starting = load_starting_point(str(began.get("named")), note)
    starting = starting.without_layers_added_after_training()
    if starting.sha256 != began.get("sha256"):
        raise CatganError(
            f"{path} was started from {began.get('named')}, which has other weights now, and has "
            "no checkpoint yet: start a new run"
        )
    return starting


def on_all_ranks(make: Callable[[], Plan], source: Path | None, device_name: str) -> Plan:
    """Return the plan that the main process makes, in all processes of the job.

    Each process opens the dataset at its own `source` and rejects other images than the main
    process has. On each machine one process opens it first, in case it must be prepared, and reads
    all pixels. The others wait, however long that takes.
    """
    world = distributed.world()
    if world.processes == 1:
        return make()
    with distributed.keep_alive():
        plan = make() if world.is_main_process else None
    message = distributed.broadcast_json(plan and _plan_message(plan))
    config = from_table(message["config"], "rank 0")
    source = source or (Path(message["source"]) if message["source"] else None)
    for first_on_its_machine in (True, False):
        with distributed.keep_alive():
            if plan is None and _is_first_on_its_machine() == first_on_its_machine:
                size = config.network.resolution
                dataset = open_data(source, size, _no_progress, procedural=message["procedural"])
                if [dataset.identity, split_identity(dataset)] != message["identity"]:
                    raise CatganError(
                        f"{dataset.path} on {platform.node()} has other images than rank 0, or "
                        "another split: copy the prepared dataset to every "
                        "machine, or put it where all can read it"
                    )
                if first_on_its_machine:
                    check_pixels(dataset, _no_progress)
    if plan is not None:
        return plan
    run, device = RunDirectory(Path(message["run"])), choose_device(device_name)
    precision = choose_precision(message["precision"], device)
    return Plan(
        config, dataset, run, device, precision, reals=None, resume=message["resume"], notes=[]
    )


def _is_first_on_its_machine() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def describe_plan(plan: Plan) -> str:
    """Return one line on what will be trained, on which data and machine."""
    machine = _describe_machine(plan.device, plan.precision)
    processes = f"{machine['processes']} processes of " if machine["processes"] != 1 else ""
    count = len(plan.dataset.indices("train"))
    return (
        f"catgan {catgan.__version__}: {plan.config.recipe}, {plan.config.network.resolution} px, "
        f"on {count:,} images of {plan.dataset.name}; {machine['device']}, "
        f"{processes}{machine['threads']} threads, {machine['precision']}"
    )


def _plan_message(plan: Plan) -> dict[str, Any]:
    """Return what the other processes need to know of a plan, as JSON types."""
    return {
        "config": dataclasses.asdict(plan.config),
        "source": plan.run.facts().get("source"),
        "procedural": plan.dataset.name == procedural.NAME,
        "identity": [plan.dataset.identity, split_identity(plan.dataset)],
        "run": str(plan.run.path),
        "precision": str(plan.precision).removeprefix("torch."),
        "resume": plan.resume,
    }


def _no_progress(what: str, done: int, total: int) -> None:
    """Ignore progress: only the main process prints."""


def _check_layers_added_after_training(network: NetworkConfig) -> None:
    if not isinstance(network, ProjectedConfig):
        return
    for name in ("coefficient_correction", "mirrored_eye"):
        if getattr(network, name):
            raise CatganError(
                f"network.{name} is added after training, by tools/calibrate_checkpoint.py: leave "
                "it out"
            )


def _check_batch_size(config: Config) -> None:
    """Raise `CatganError` unless every process gets equally many images of a batch."""
    batch_size, processes = config.training.batch_size, distributed.world().processes
    if batch_size % processes:
        nearest = max(round(batch_size / processes), 1) * processes
        raise CatganError(
            f"training.batch_size = {batch_size} (of the whole job) is not divisible by its "
            f"{processes} processes: try --set training.batch_size={nearest}, or another number "
            "of processes"
        )


def _reals_statistics(
    dataset: Dataset, config: Config, on_progress: OnProgress
) -> RealsStatistics | None:
    """Return the statistics that checkpoints are scored against, computed once per dataset.

    A run with early stopping is scored against held-out images, since scores against its training
    images would reward memorizing them.
    """

    def progress(stage: str, done: int, total: int) -> None:
        on_progress("measuring", done, total)

    if not _can_be_scored(dataset, config):
        return None
    split = _scored_split(config)
    count = min(len(dataset.indices(split)), MAX_REALS)
    return reals_statistics(
        dataset_images(dataset, split, count),
        load_extractor("lite2"),
        metric="kernel" if split == "holdout" else "frechet",
        progress=progress,
    )


def _can_be_scored(dataset: Dataset, config: Config) -> bool:
    split = _scored_split(config)
    return config.output.score_samples > 0 and len(dataset.indices(split)) >= MIN_TO_SCORE[split]


def _scored_split(config: Config) -> Split:
    return "holdout" if config.training.early_stopping_images else "train"


def _describe_machine(device: torch.device, precision: torch.dtype) -> dict[str, str | int]:
    return describe_machine(device) | {
        "precision": str(precision).removeprefix("torch."),
        "processes": distributed.world().processes,
    }


def _check_same_data(path: Path, facts: dict[str, Any], dataset: Dataset) -> None:
    """Raise `CatganError` unless `dataset` has the pixels and split that the run began with."""
    if dataset.identity != facts.get("identity"):
        how = "in its images or their order"
    elif split_identity(dataset) != facts.get("split"):
        how = "in its split into training and held-out images"
    else:
        return
    raise CatganError(
        f"{path} was trained on {facts.get('name')!r} ({facts.get('images')} images, "
        f"{facts.get('to train on')} to train on); {dataset.name!r} ({len(dataset)} images, "
        f"{len(dataset.indices('train'))} to train on) differs {how}: give the same data, "
        "or start a new run"
    )


def _data_notes(dataset: Dataset, config: Config) -> list[str]:
    notes = []
    left_out = [f"{rejected.name}: {rejected.reason}" for rejected in dataset.rejected]
    left_out += [
        f"{duplicate.name}: the same file as {duplicate.kept}" for duplicate in dataset.duplicates
    ]
    if left_out:
        notes = [f"{len(left_out)} files of {dataset.name} were left out:"]
        notes += [f"  {line}" for line in left_out[:MAX_LISTED]]
    if len(left_out) > MAX_LISTED:
        notes.append(f"  and {len(left_out) - MAX_LISTED} more: {dataset.path / 'dataset.json'}")
    count = len(dataset.indices("train"))
    if count < config.training.batch_size:
        notes.append(
            f"only {count} images to train on, fewer than a batch of {config.training.batch_size}: "
            "expect overfitting"
        )
    split = _scored_split(config)
    count, minimum = len(dataset.indices(split)), MIN_TO_SCORE[split]
    if config.output.score_samples and count < minimum:
        what, remedy = "to train on", "check the sample grids"
        if split == "holdout":
            what = "held out"
            remedy = "it trains to its end; prepare with a larger --holdout, such as 0.2"
        notes.append(
            f"only {count} images {what}, fewer than {minimum}: checkpoints are not scored, so "
            f"none of them is the best; {remedy}"
        )
    return notes


def _free_run_path(dataset: str, recipe: str) -> Path:
    """Return `runs/DATASET-RECIPE`, with a number added if that exists."""
    base = Path("runs") / f"{file_name(dataset)}-{recipe}"
    number, path = 2, base
    while path.exists():
        path = base.with_name(f"{base.name}-{number}")
        number += 1
    return path
