"""Export a run or an artifact to one of several formats."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from catgan.config import Config, from_table
from catgan.errors import CatganError, cannot_write, quoted
from catgan.exporters.directions import find_directions
from catgan.exporters.document import card_document, data_facts
from catgan.exporters.exporter import Exporter, Opened, Source
from catgan.exporters.keras_exporter import KerasExporter
from catgan.exporters.litert_exporter import LitertExporter
from catgan.exporters.onnx_exporter import OnnxExporter
from catgan.exporters.parity import SEEDS, Parity, measure_parity, require_parity
from catgan.exporters.triton_exporter import TritonExporter
from catgan.extras import require_extra
from catgan.generation.artifact import CHECKSUM
from catgan.generation.card import MAX_TEXT, Card
from catgan.generation.generator import BUNDLED, load_generator
from catgan.generation.latents import latents
from catgan.networks.build import build_generator
from catgan.runs.artifact_weights import weights_of_artifact
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import MEAN_STYLE_SAMPLES, Sampler, restored_sampler

EXPORTERS: dict[str, Exporter] = {
    "onnx": OnnxExporter(),
    "keras": KerasExporter(),
    "litert": LitertExporter(),
    "triton": TritonExporter(),
}
PARITY_TRUNCATION = 0.5  # of every fourth seed in the parity check but the first
PARITY_BATCH = 16

OnProgress = Callable[[str, int, int], None]  # takes the task, the number done and the total


@dataclass(frozen=True)
class Exported:
    """The written files, and how close the generator in them is to the source."""

    path: Path
    files: dict[str, Path]  # by role: "model", "weights", "card", ...
    bytes: int
    precision: str
    parity: Parity
    license: str


def find_exporter(name: str) -> Exporter:
    """Return the exporter of a format; `CatganError` for an unknown name."""
    if name not in EXPORTERS:
        raise CatganError(f"unknown format {quoted(name)}: choose from {', '.join(EXPORTERS)}")
    return EXPORTERS[name]


def export(
    source: Path | str,
    out: Path | None = None,
    *,
    format: str = "onnx",  # noqa: A002  # the name it has on the command line
    precision: str | None = None,
    checkpoint: str | None = None,
    name: str | None = None,
    license: str | None = None,
    credit: str | None = None,
    direction_names: Mapping[int, str] | None = None,
    note: Callable[[str], None],
    on_progress: OnProgress,
) -> Exported:
    """Export a run, an exported .onnx file, or with "bundled" the package's generator.

    `checkpoint` (default "latest"), `license`, `credit` and `direction_names` are for a run.
    Without `out` a run is exported to RUN/export, the others to the current directory, under the
    format's default name. See `export_run` and `export_artifact`.

    Raises:
        CatganError: as they do, and for an option that does not apply and an extra that is missing.
    """
    exporter = find_exporter(format)
    require_extra(exporter.extra, *exporter.modules)
    path = Path(source)
    is_artifact = str(source) == BUNDLED or path.suffix == ".onnx"
    if is_artifact and (checkpoint is not None or license or credit or direction_names):
        raise CatganError(
            f"--checkpoint, --license, --credit and --direction need a run, but {source} is "
            "already exported: leave them out"
        )
    if out is None:
        out = (Path() if is_artifact else path / "export") / exporter.default_name
    if is_artifact:
        return export_artifact(
            None if str(source) == BUNDLED else path,
            out,
            format=format,
            precision=precision,
            name=name,
            on_progress=on_progress,
        )
    return export_run(
        path,
        out,
        format=format,
        precision=precision,
        checkpoint="latest" if checkpoint is None else checkpoint,
        name=name,
        license=license,
        credit=credit,
        direction_names=direction_names,
        note=note,
        on_progress=on_progress,
    )


def export_run(
    run: Path,
    out: Path,
    *,
    format: str = "onnx",  # noqa: A002  # as on the command line
    precision: str | None = None,
    checkpoint: str = "latest",
    name: str | None = None,
    license: str | None = None,
    credit: str | None = None,
    direction_names: Mapping[int, str] | None = None,
    note: Callable[[str], None],
    on_progress: OnProgress,
) -> Exported:
    """Export the EMA generator of a run to `out`, and the files that belong beside it.

    The finished file is reopened first, and written only if it generates what torch generates.

    Args:
        run: the directory of the run.
        out: the file, or for triton the directory.
        format: a key of `EXPORTERS`.
        precision: how weights are stored; None means the format's default.
        checkpoint: "latest", "best" or a number of images seen.
        name: the name on the card; None means "DATA by RECIPE".
        license: of the photos, if the run does not know it.
        credit: for the photos, if the run does not know it.
        direction_names: names of directions, by number.
        note: takes messages about the checkpoint.
        on_progress: takes the task, the number done and the total.

    Raises:
        CatganError: the outputs differ, the run or `out` cannot be used, or the run knows another
            license or credit.
    """
    exporter = find_exporter(format)
    precision = _checked_precision(exporter, format, precision)
    texts = {"name": name, "license": license, "credit": credit}
    texts |= {f"name of direction {key}": text for key, text in (direction_names or {}).items()}
    for what, text in texts.items():
        _check_text(what, text)
    directory = RunDirectory.open(run)  # before `out`, which may be in a directory that is no run
    _check_destination(exporter, out)
    data = data_facts(directory, license=license, credit=credit)
    loaded = directory.checkpoints.load(checkpoint, note, ["ema"])
    sampler, config = restored_sampler(loaded, torch.device("cpu"))
    _check_finite(sampler.generator, run)
    on_progress("exporting", 0, 1)
    mean = sampler.mean_style()
    size = config.network.latent_size
    directions = find_directions(sampler.generator, size, dict(direction_names or {}))
    truncation = {
        "toward": "the mean style",
        "seeds": MEAN_STYLE_SAMPLES,
        "mean": [round(value, 7) for value in mean.flatten().tolist()],
    }

    def document(precision: str, parity: Parity) -> dict[str, Any]:
        return card_document(
            directory,
            config,
            loaded.images,
            data=data,
            name=name,
            precision=precision,
            truncation=truncation,
            directions=directions,
            parity=parity,
        )

    source = _make_source(sampler, config, sampler.synthesize, "torch", document)
    return _export(source, out, exporter, precision, on_progress)


def export_artifact(
    path: Path | None,
    out: Path,
    *,
    format: str,  # noqa: A002
    precision: str | None = None,
    name: str | None = None,
    on_progress: OnProgress,
) -> Exported:
    """Export an artifact, or without `path` the bundled generator, to another format.

    The weights are read back as for `catgan train --from`, and the result is compared with the
    artifact itself. A format that contains an artifact contains this one unchanged. The arguments
    are those of `export_run`.

    Raises:
        CatganError: the outputs differ, or the artifact, its weights or `out` cannot be used.
    """
    exporter = find_exporter(format)
    _check_text("name", name)
    artifact = load_generator(path)
    if format == "onnx":
        raise CatganError(
            f"{artifact.where}: is already an .onnx file: choose another --format "
            f"({', '.join(each for each in EXPORTERS if each != format)}), or name a run"
        )
    card = artifact.card
    if precision is None and exporter.holds_artifact:
        precision = card.precision
    precision = _checked_precision(exporter, format, precision)
    _check_destination(exporter, out)
    if exporter.holds_artifact and precision == card.precision and name is None:
        artifact.session  # noqa: B018  # raises for a model that is not a generator
        files = _write(exporter, out, artifact.model, card, {})
        known = {key: card.parity[key] for key in ("seeds", "largest", "mean")}
        return Exported(out, files, len(artifact.model), precision, Parity(**known), card.license)
    config = from_table(card.document["config"], artifact.where)
    on_progress("exporting", 0, 1)
    generator = build_generator(config.network)
    generator.load_state_dict(weights_of_artifact(artifact, config.network))
    sampler = Sampler(generator, config.network, torch.device("cpu"))

    def document(precision: str, parity: Parity) -> dict[str, Any]:
        known = copy.deepcopy(card.document)
        known.pop(CHECKSUM)
        changed = {"precision": precision, "parity": parity.to_json()}
        return known | changed | ({} if name is None else {"name": name})

    source = _make_source(sampler, config, artifact.synthesize, "its .onnx file", document)
    return _export(source, out, exporter, precision, on_progress)


def _make_source(
    sampler: Sampler,
    config: Config,
    reference: Callable[..., Any],
    reference_name: str,
    document: Callable[[str, Parity], dict[str, Any]],
) -> Source:
    generator = sampler.generator.eval()
    # Channels-last weights only speed up torch; exporters expect contiguous ones.
    generator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Source(generator, config, sampler.mean_style(), reference, reference_name, document)


def _export(
    source: Source, out: Path, exporter: Exporter, precision: str, on_progress: OnProgress
) -> Exported:
    model = exporter.build(source, precision)
    on_progress("exporting", 1, 1)

    def seal(parity: Parity) -> bytes:
        return exporter.seal(model, source.document(precision, parity))

    placeholder = Parity(1, 0, 0.0, source.reference_name)
    parity = _measure_parity(source, exporter.open(seal(placeholder), out), on_progress)
    require_parity(parity, precision)
    data = seal(parity)
    card = exporter.open(data, out).card
    files = _write(exporter, out, data, card, source.generator.state_dict())
    return Exported(out, files, len(data), precision, parity, card.license)


def _write(
    exporter: Exporter, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
) -> dict[str, Path]:
    try:
        return exporter.write(out, data, card, weights)
    except OSError as error:
        raise cannot_write(out, error) from None


def _checked_precision(exporter: Exporter, name: str, precision: str | None) -> str:
    if precision is None:
        return exporter.precisions[0]
    if precision not in exporter.precisions:
        raise CatganError(
            f"unknown precision {quoted(precision)} for --format {name}: choose from "
            f"{', '.join(exporter.precisions)}"
        )
    return precision


def _check_destination(exporter: Exporter, out: Path) -> None:
    try:
        exporter.check_destination(out)
    except OSError as error:
        raise cannot_write(out, error) from None


def _check_text(what: str, text: str | None) -> None:
    """Raise `CatganError` for a text that the card cannot show unchanged on one line."""
    if text is not None and not (text.strip() and text.isprintable() and len(text) <= MAX_TEXT):
        raise CatganError(
            f"invalid {what} {quoted(text)}: expected one line of at most {MAX_TEXT:,} printable "
            "characters"
        )


def _check_finite(generator: nn.Module, run: Path) -> None:
    """Raise `CatganError` for NaN or infinite weights.

    The parity check would not notice: torch and the export would both generate the same blank.
    """
    for name, tensor in generator.state_dict().items():
        if not tensor.isfinite().all():
            raise CatganError(
                f"{run}: the generator's {name} is not finite: name an earlier checkpoint with "
                "--checkpoint"
            )


def _measure_parity(source: Source, opened: Opened, on_progress: OnProgress) -> Parity:
    """Compare the images of the same seeds from the source and from the export."""
    batches: list[Parity] = []
    first, *truncated = range(0, SEEDS, 4)
    untruncated = [seed for seed in range(SEEDS) if seed % 4]
    size, done = source.config.network.latent_size, 0
    batches_of = ((untruncated, 1.0), (truncated, PARITY_TRUNCATION), ([first], 0.0))
    for seeds, truncation in batches_of:
        for start in range(0, len(seeds), PARITY_BATCH):
            z = latents(seeds[start : start + PARITY_BATCH], size)
            reference = source.reference(z, truncation)
            batches.append(measure_parity(reference, opened.synthesize(z, truncation)))
            done += len(z)
            on_progress(f"comparing with {source.reference_name}", done, SEEDS)
    return Parity(
        SEEDS,
        max(each.largest for each in batches),
        sum(each.mean * each.seeds for each in batches) / SEEDS,
        source.reference_name,
    )
