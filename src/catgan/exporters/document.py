"""The card of a run: what an artifact says of itself, gathered from the run's own records."""

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
    """The card as JSON, described in docs/formats.md.

    `images` says which checkpoint it is, `data` what `data_facts` gathered.
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
            "hours": round(hours_of_steps(run, images), 2),
            "machine": ", ".join(str(facts["machine"].get(key, UNKNOWN)) for key in _MACHINE),
        },
        "truncation": truncation,
        "scores": [_score(each) for each in evaluations_of(run, images)],
        "directions": [direction_to_json(each) for each in directions],
        "parity": parity.to_json(),
    }


def data_facts(run: RunDirectory, *, license: str | None, credit: str | None) -> dict[str, Any]:
    """What the card says of the photos; `license` and `credit` where the run does not know them.

    Raises `CatganError` when it knows others: a license does not change on the way.
    """
    data = run.facts()["dataset"]

    def known_or(said: str | None, key: str) -> str:
        known = str(data.get(key, UNKNOWN))
        if said is not None and known not in (UNKNOWN, said):
            raise CatganError(
                f"--{key} {said!r}: {run.path} was trained on data whose {key} is {known!r}; "
                f"leave out --{key}"
            )
        return said or known

    images = data.get("to train on", 0)
    if type(images) is not int or images < 0:
        raise CatganError(
            f'{run.path / "run.json"}: the number of images "to train on" is {quoted(images)}: '
            "restore it"
        )
    # The terms of what a generator was started from go with it.
    inherited = run.lineage()
    own = known_or(license, "license"), known_or(credit, "credit")
    return {
        "name": str(data.get("name", UNKNOWN)),
        "images": images,
        "license": _with_terms(own[0], [each.license for each in inherited]),
        "credit": _with_terms(own[1], [each.credit for each in inherited]),
        "identity": data.get("identity"),
    }


def _with_terms(own: str, inherited: Sequence[str]) -> str:
    """Return a license or a credit with those of the weights that training started from.

    A card's own already names those of what it was started from; each is named once.
    """
    each = [term for text in inherited for term in text.replace(_INHERITED, "; ").split("; ")]
    others = [term for term in dict.fromkeys(each) if term not in (own, UNKNOWN)]
    return f"{own}{_INHERITED}{'; '.join(others)}" if others else own


def hours_of_steps(run: RunDirectory, images: int) -> float:
    """How long the steps up to `images` took by the log, without scores, sheets and checkpoints."""
    seconds, before = 0.0, 0
    for row in run.rows():
        if row["images"] > images:
            break
        machine = row.get("machine")
        rate = machine.get("images_per_second") if isinstance(machine, dict) else None
        if isinstance(rate, int | float) and 0.001 < rate < math.inf:  # a log can be edited
            seconds += (row["images"] - before) / rate
            before = row["images"]
    return seconds / 3600


def evaluations_of(run: RunDirectory, images: int) -> list[Evaluation]:
    """What `catgan evaluate` wrote into the run about this checkpoint, in order of extractors."""
    found = []
    for path in sorted((run.path / "evaluation").rglob("evaluation.json")):
        try:
            evaluation = read_evaluation(path)
        except CatganError:  # of another version of catgan, or damaged: says nothing that counts
            continue
        if evaluation.checkpoint and evaluation.checkpoint.images == images:
            found.append(evaluation)
    return found


def _score(evaluation: Evaluation) -> dict[str, Any]:
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
