"""One export: a run in, an artefact, its weights as safetensors and a card out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from catgan.errors import CatganError, quoted, shell_words
from catgan.evaluation.records import require_writable
from catgan.export.directions import find_directions
from catgan.export.document import card_document, data_facts
from catgan.export.graph import VARIANTS, float32_model
from catgan.export.parity import SEEDS, Parity, measure_parity, require_parity
from catgan.export.readme import describes, readme
from catgan.files import make_directory, require_replaceable, write_durably
from catgan.generation.artefact import check_artefact, seal
from catgan.generation.card import MOST_TEXT, parse_card
from catgan.generation.generator import Generator
from catgan.networks.build import pixel_range
from catgan.training.run_directory import RunDirectory
from catgan.training.sampling import SEEDS_OF_THE_MEAN, Sampler, restored_sampler

README = "README.md"
CARD_KEY = "catgan"  # of the safetensors' metadata
PSI_OF_PARITY = 0.5  # at which every fourth seed of the parity report is drawn, the others at 1

OnProgress = Callable[[str, int, int], None]  # what is being done, done, total


@dataclass(frozen=True)
class Exported:
    """What was written, and how true it is to the run."""

    path: Path
    weights: Path
    readme: Path
    bytes: int
    parity: Parity
    licence: str


def export_run(
    run: Path,
    out: Path,
    *,
    precision: str = "float16",
    checkpoint: str = "latest",
    name: str | None = None,
    licence: str | None = None,
    credit: str | None = None,
    direction_names: Mapping[int, str] | None = None,
    note: Callable[[str], None],
    on_progress: OnProgress,
) -> Exported:
    """Export the averaged generator of a run to `out` (.onnx), and what belongs beside it.

    Nothing is written unless the ONNX model, opened by the light runtime, draws what torch draws.
    `licence` and `credit` are those of the photos, for a run whose data were prepared without them.
    Raises `CatganError` when the two draw differently, for a run or a place that cannot be used,
    and when the run knows another licence or credit.
    """
    if precision not in VARIANTS:
        raise CatganError(f"no precision {precision!r}: choose from {', '.join(VARIANTS)}")
    directions_named = {f"direction {key}": text for key, text in (direction_names or {}).items()}
    for what, text in (
        {"name": name, "licence": licence, "credit": credit} | directions_named
    ).items():
        _require_text(what, text)
    directory = RunDirectory.open(run)  # first: the place may be in what is no run
    require_place(out)
    data = data_facts(directory, licence=licence, credit=credit)
    loaded = directory.checkpoints.load(checkpoint, note, ["ema"])
    sampler, config = restored_sampler(loaded, torch.device("cpu"))
    _require_finite(sampler.generator, run)
    on_progress("exporting", 0, 1)
    mean = sampler.mean_style()
    size = config.network.latent_size
    directions = find_directions(sampler.generator, size, dict(direction_names or {}))
    # Channels-last weights are for torch's kernels; a graph is written from plain ones.
    sampler.generator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model = VARIANTS[precision](
        float32_model(sampler.generator, size, mean, pixel_range(config.network))
    ).SerializeToString()
    on_progress("exporting", 1, 1)
    facts = {
        "toward": "the mean style",
        "seeds": SEEDS_OF_THE_MEAN,
        "mean": [round(value, 7) for value in mean.flatten().tolist()],
    }

    def sealed(parity: Parity) -> bytes:
        document = card_document(
            directory,
            config,
            loaded.images,
            data=data,
            name=name,
            precision=precision,
            truncation=facts,
            directions=directions,
            parity=parity,
        )
        return seal(model, document)

    parity = _parity(sampler, _opened(sealed(Parity(1, 0, 0.0)), out), on_progress)
    require_parity(parity, precision)
    artefact = sealed(parity)
    card = _opened(artefact, out).card
    weights = safetensors.torch.save(
        {key: value.detach().contiguous() for key, value in sampler.generator.state_dict().items()},
        metadata={CARD_KEY: json.dumps(card.document)},
    )
    beside = out.with_suffix(".safetensors")
    try:
        make_directory(out.parent)
        write_durably(beside, weights)
        write_durably(out.with_name(README), readme(card, out.name).encode())
        write_durably(out, artefact)
    except OSError as error:
        raise _cannot_write(out, error) from None
    return Exported(out, beside, out.with_name(README), len(artefact), parity, card.licence)


def _require_text(what: str, text: str | None) -> None:
    """Raise `CatganError` for a text that the card cannot show on one line as it is."""
    if text is not None and not (text.strip() and text.isprintable() and len(text) <= MOST_TEXT):
        raise CatganError(
            f"the {what} {quoted(text)} cannot stand on a card: write one line of letters, at "
            f"most {MOST_TEXT:,} of them"
        )


def require_place(out: Path) -> None:
    """Raise `CatganError` for a place that cannot be written, or holds what is no export's."""
    if out.suffix != ".onnx":
        raise CatganError(f"{out}: an artefact is an .onnx file; give it such a name")
    if not out.name.isprintable():  # its README names it
        raise CatganError(f"{quoted(out.name)}: give it a name of letters that can be shown")
    own = out.with_suffix("") / out.name
    apart = f"export into a directory of its own, with --out {shell_words(own)}"
    card, weights = out.with_name(README), out.with_suffix(".safetensors")
    try:
        for path in (out, card, weights):  # writing the artefact comes last
            require_replaceable(path)
        if card.exists():
            described = describes(card.read_text("utf-8", errors="replace"))
            if described is None:
                raise CatganError(f"{card} is there already, and no card of catgan's: {apart}")
            if described != out.name and out.with_name(described).exists():
                raise CatganError(f"{card} is the card of {described} beside it: {apart}")
        if weights.exists() and not _is_ours(weights):
            raise CatganError(f"{weights} is there already, and no export's: {apart}")
        require_writable(out.parent)
    except OSError as error:
        raise _cannot_write(out, error) from None


def _is_ours(weights: Path) -> bool:
    """Whether a safetensors file is an export's: it has the card in its metadata."""
    try:
        with safetensors.safe_open(weights, "pt") as file:
            return CARD_KEY in (file.metadata() or {})
    except safetensors.SafetensorError:
        return False


def _require_finite(generator: nn.Module, run: Path) -> None:
    """Raise `CatganError` for weights with which every image is the same nothing.

    The comparison with torch would not notice: both draw the same nothing.
    """
    for name, tensor in generator.state_dict().items():
        if not tensor.isfinite().all():
            raise CatganError(
                f"{run}: the generator's {name} holds numbers that are not finite: name an earlier "
                "state with --checkpoint"
            )


def _cannot_write(out: Path, error: OSError) -> CatganError:
    return CatganError(
        f"{out}: cannot be written ({error.strerror or error}): choose another place with --out"
    )


def _opened(artefact: bytes, out: Path) -> Generator:
    return Generator(artefact, parse_card(check_artefact(artefact, str(out)), str(out)), str(out))


def _parity(sampler: Sampler, generator: Generator, on_progress: OnProgress) -> Parity:
    """The same seeds through torch and through the light runtime."""
    worst: list[Parity] = []
    rest = [seed for seed in range(SEEDS) if seed % 4]
    fourth = [seed for seed in range(SEEDS) if seed % 4 == 0]
    done = 0
    for seeds, truncation in ((rest, 1.0), (fourth, PSI_OF_PARITY)):
        for start in range(0, len(seeds), 16):
            z = generator.latents(seeds[start : start + 16])
            reference = sampler.synthesise(z, truncation)
            worst.append(measure_parity(reference, generator.synthesise(z, truncation)))
            done += len(z)
            on_progress("comparing with torch", done, SEEDS)
    return Parity(
        SEEDS,
        max(each.largest for each in worst),
        sum(each.mean * each.seeds for each in worst) / SEEDS,
    )
