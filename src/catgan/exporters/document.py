"""Gather the model card of a run from the run's own records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import catgan
from catgan.config import Config
from catgan.data.reading.sources import label
from catgan.errors import CatganError, quoted
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.results.read import read_evaluation
from catgan.exporters.parity import Parity
from catgan.generation.card import FORMAT, LATENTS, Direction, direction_to_json
from catgan.runs.directory import RunDirectory

UNKNOWN = "unknown"
_INHERITED = "; of the weights it was started from: "
_MACHINE = ("device", "processor", "precision")


def card_document(
    run: RunDirectory,
    config: Config,
    images: int,
    *,
    data: dict[str, Any],
    name: str | None,
    precision: str,
    truncation: dict[str, Any],
    directions: Sequence[Direction],
    parity: Parity,
) -> dict[str, Any]:
    """Return the card as JSON, as described in docs/reference/formats.md.

    `images` is the number of images seen at the checkpoint; `data` comes from `data_facts`.
    """
    facts = run.facts()
    return {
        "format": FORMAT,
        "catgan": catgan.__version__,
        "name": name or label(f"{data['name']} by {config.recipe}"),
        "precision": precision,
        "latents": LATENTS,
        "images": images,
        "config": dataclasses.asdict(config),
        "data": data,
        "lineage": [dataclasses.asdict(each) for each in run.lineage()],
        "training": {
            "hours": round(training_hours(run, images), 2),
            "machine": ", ".join(str(facts["machine"].get(key, UNKNOWN)) for key in _MACHINE),
        },
        "truncation": truncation,
        "scores": [_score_to_json(each) for each in find_evaluations(run, images)],
        "directions": [direction_to_json(each) for each in directions],
        "parity": parity.to_json(),
    }


def data_facts(run: RunDirectory, *, license: str | None, credit: str | None) -> dict[str, Any]:
    """Return the card's facts about the photos.

    `license` and `credit` apply where the run does not know them.

    Raises:
        CatganError: the run knows another license or credit, or its record is damaged.
    """
    data = run.facts()["dataset"]

    def known_or(given: str | None, key: str) -> str:
        known = str(data.get(key, UNKNOWN))
        if given is not None and known not in (UNKNOWN, given):
            raise CatganError(
                f"--{key} {given!r}: {run.path} was trained on data whose {key} is {known!r}; "
                f"leave out --{key}"
            )
        return given or known

    images = data.get("to train on", 0)
    if type(images) is not int or images < 0:
        raise CatganError(
            f'{run.path / "run.json"}: the number of images "to train on" is {quoted(images)}, not '
            "a whole number: restore the file"
        )
    # A generator inherits the terms of the weights that it was started from.
    lineage = run.lineage()
    own_license, own_credit = known_or(license, "license"), known_or(credit, "credit")
    return {
        "name": str(data.get("name", UNKNOWN)),
        "images": images,
        "license": _with_inherited(own_license, [each.license for each in lineage]),
        "credit": _with_inherited(own_credit, [each.credit for each in lineage]),
        "identity": data.get("identity"),
    }


def _with_inherited(own: str, inherited: Sequence[str]) -> str:
    """Return a license or credit, followed by those of the weights that training started from.

    An ancestor's terms already include those of its own ancestors; each term is named once.
    """
    each = [term for text in inherited for term in text.replace(_INHERITED, "; ").split("; ")]
    others = [term for term in dict.fromkeys(each) if term not in (own, UNKNOWN)]
    return f"{own}{_INHERITED}{'; '.join(others)}" if others else own


def training_hours(run: RunDirectory, images: int) -> float:
    """Return the hours that the steps up to `images` took, according to the log.

    Scores, sample grids and checkpoints are not included.
    """
    seconds, previous = 0.0, 0
    for row in run.rows():
        if row["images"] > images:
            break
        machine = row.get("machine")
        rate = machine.get("images_per_second") if isinstance(machine, dict) else None
        if isinstance(rate, int | float) and 0.001 < rate < math.inf:  # logs can be edited
            seconds += (row["images"] - previous) / rate
            previous = row["images"]
    return seconds / 3600


def find_evaluations(run: RunDirectory, images: int) -> list[Evaluation]:
    """Return the evaluations of this checkpoint in the run, in order of extractors."""
    evaluations = []
    for path in sorted((run.path / "evaluation").rglob("evaluation.json")):
        try:
            evaluation = read_evaluation(path)
        except CatganError:  # damaged, or of another version of catgan
            continue
        if evaluation.checkpoint and evaluation.checkpoint.images == images:
            evaluations.append(evaluation)
    return evaluations


def _score_to_json(evaluation: Evaluation) -> dict[str, Any]:
    identity, scores = evaluation.fingerprint.extractor, evaluation.scores
    return {
        "line": evaluation.line(),
        "values": {
            identity.frechet_name: scores.frechet,
            f"{identity.frechet_name} floor": evaluation.floor.frechet,
            identity.kernel_name: scores.kernel.mean,
            "precision": scores.precision,
            "recall": scores.recall,
            "density": scores.density,
            "coverage": scores.coverage,
        },
        "fingerprint": dataclasses.asdict(evaluation.fingerprint),
    }
