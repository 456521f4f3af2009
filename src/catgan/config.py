"""What a training run is: frozen dataclasses, the one place where defaults live.

A recipe is a TOML file in `recipes/` over these classes; `load_recipe` reads it, `override` applies
`section.key=value`, `to_toml` writes the complete configuration that stands in every run. An
unknown key, a wrong type or an impossible value is a `CatganError` that suggests what was meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from catgan.errors import CatganError, quoted

RESOLUTIONS = (32, 64, 128, 256)
FEATURE_RESOLUTIONS = (128, 256)  # those whose every halving, down to 4, is even

# What `catgan train --resume` may change: how long, how often, and in which arithmetic, as the next
# machine may be another one; never what is being trained.
RESUMABLE_SECTIONS = ("output",)
RESUMABLE_KEYS = ("training.images", "training.early_stopping_images", "training.precision")


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the generator and the discriminator."""

    family: Literal["dcgan", "lsgan", "projected"] = "lsgan"
    resolution: int = 64  # side of the square images in pixels
    latent_size: int = 100  # length of the noise vector z
    channels: int = 128  # of the finest feature maps; doubles with every halving of the side ...
    maximum_channels: int = 1024  # ... up to this many
    dropout: float = 0.0  # after each discriminator stage (dcgan only)
    feature_resolution: int = 128  # side at which the frozen network looks (projected only)
    # Stages on top of a generator of resolution / 2 ** refinements, each of which doubles the side
    # with half the channels (projected only); training from a source of half the side adds one.
    refinements: int = 0

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            nearest = min(RESOLUTIONS, key=lambda r: abs(math.log(r / max(self.resolution, 1))))
            raise CatganError(
                f"network.resolution = {quoted(self.resolution)} is impossible: it must be one of "
                f"{', '.join(map(str, RESOLUTIONS))}; try {nearest}"
            )
        _check("network.latent_size", self.latent_size, 1, 4096)
        _check("network.channels", self.channels, 1, 4096)
        _check("network.maximum_channels", self.maximum_channels, self.channels, 8192)
        _check("network.dropout", self.dropout, 0.0, 0.9)
        if self.family != "dcgan" and self.dropout:
            raise CatganError(
                f"network.dropout has no effect on the {self.family} family, which has no dropout: "
                "set it to 0 or use network.family=dcgan"
            )
        if self.feature_resolution not in FEATURE_RESOLUTIONS:
            raise CatganError(
                f"network.feature_resolution = {quoted(self.feature_resolution)} is impossible: "
                f"it must be one of {', '.join(map(str, FEATURE_RESOLUTIONS))}"
            )
        if self.family == "projected":
            _check("network.latent_size of the projected family", self.latent_size, 2, 4096)
            if self.feature_resolution > 4 * self.resolution:
                raise CatganError(
                    f"network.feature_resolution = {self.feature_resolution} is more than four "
                    f"times network.resolution = {self.resolution}: set it to "
                    f"{4 * self.resolution} or less"
                )
        default = NetworkConfig.feature_resolution  # it is in every run on disk, of any family
        if self.family != "projected" and self.feature_resolution != default:
            raise CatganError(
                f"network.feature_resolution has no effect on the {self.family} family, which has "
                f"no frozen network: set it to {default} or use network.family=projected"
            )
        if self.family != "projected" and self.refinements:
            raise CatganError(
                f"network.refinements has no effect on the {self.family} family, which has no such "
                "stages: set it to 0 or use network.family=projected"
            )
        doublings = int(math.log2(self.resolution / min(RESOLUTIONS)))
        if not 0 <= self.refinements <= doublings:
            raise CatganError(
                f"network.refinements = {quoted(self.refinements)} does not fit "
                f"network.resolution = {self.resolution}: choose from 0 to {doublings}"
            )


@dataclass(frozen=True)
class LossConfig:
    """Objective of each player, on the discriminator's raw output.

    `discriminator` and `generator` are names in the tables of training/losses.py. They are checked
    where a run begins, so that whoever lacks a custom loss can still read a run that used it.
    """

    discriminator: str = "mse"  # bce, mse, hinge, relativistic, or a loss of one's own
    generator: str = "bce"
    penalty: float = 0.0  # of the discriminator's gradient at what it sees (R1 and R2); 0: none
    penalty_final: float = 0.0  # what it falls to, geometrically, ...
    penalty_images: int = 1  # ... by this many images
    penalty_every: int = 1  # it is taken on every so many-th image of a batch

    def __post_init__(self) -> None:
        if (self.discriminator == "relativistic") != (self.generator == "relativistic"):
            raise CatganError(
                "loss.discriminator and loss.generator must both be relativistic, or neither"
            )
        _check("loss.penalty", self.penalty, 0.0, 1e6)
        _check("loss.penalty_final", self.penalty_final, 1e-6 if self.penalty else 0.0, 1e6)
        _check("loss.penalty_images", self.penalty_images, 1, 10**12)
        _check("loss.penalty_every", self.penalty_every, 1, 65_536)
        if not self.penalty:
            # The defaults are in every run on disk; what else is here, somebody has asked for.
            defaults = {
                f"loss.{name}": default
                for name in ("penalty_final", "penalty_images", "penalty_every")
                if getattr(self, name) != (default := getattr(LossConfig, name))
            }
            if defaults:
                raise CatganError(
                    f"without loss.penalty, {', '.join(defaults)} would have no effect: set "
                    "loss.penalty above 0, or set "
                    + ", ".join(f"{name}={default}" for name, default in defaults.items())
                )


@dataclass(frozen=True)
class AugmentConfig:
    """What is done, alike, to the real and the generated images before the discriminator."""

    flip: bool = True  # mirror half of the images (doubles a small dataset; cats are symmetric)
    zoom: float = 0.0  # enlarge a random window of each image, up to this fraction of its side less
    crop: float = 0.0  # random crop: largest shift as a fraction of the side, edges reflected
    color_jitter: float = 0.0  # largest relative change of brightness, contrast and saturation
    sharpness: float = 0.0  # probability of blurring or sharpening an image
    diffaugment_color: bool = False  # DiffAugment: brightness, saturation, contrast
    diffaugment_translation: bool = False  # DiffAugment: shift by up to 1/8 of the side
    diffaugment_cutout: bool = False  # DiffAugment: a gray square of half the side
    views: int = 0  # different augmentations of each real image in a run; 0: a new one each time

    def __post_init__(self) -> None:
        _check("augment.zoom", self.zoom, 0.0, 0.9)
        _check("augment.views", self.views, 0, 1024)
        _check("augment.crop", self.crop, 0.0, 0.5)
        _check("augment.color_jitter", self.color_jitter, 0.0, 1.0)
        _check("augment.sharpness", self.sharpness, 0.0, 1.0)


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam (Kingma and Ba, 2015), one for each player."""

    generator_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    # For a run that starts from existing weights: a discriminator that knows nothing yet would only
    # spoil them. Until so many images it learns alone, ...
    generator_freeze_images: int = 0
    generator_ramp_images: int = 0  # ... then the generator's rate rises over so many,
    generator_thaw_images: int = 0  # that of its inner convolutions so many images later

    def __post_init__(self) -> None:
        _check("optimizer.generator_freeze_images", self.generator_freeze_images, 0, 10**12)
        _check("optimizer.generator_ramp_images", self.generator_ramp_images, 0, 10**12)
        _check("optimizer.generator_thaw_images", self.generator_thaw_images, 0, 10**12)
        _check("optimizer.generator_learning_rate", self.generator_learning_rate, 0.0, 1.0)
        _check("optimizer.discriminator_learning_rate", self.discriminator_learning_rate, 0.0, 1.0)
        _check("optimizer.beta1", self.beta1, 0.0, 0.9999)
        _check("optimizer.beta2", self.beta2, 0.0, 0.999999)


@dataclass(frozen=True)
class TrainingConfig:
    """How long, in what portions, from which seed. Every duration is in images seen."""

    images: int = 400_000  # real images shown in the whole run
    batch_size: int = 64
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    ema_half_life: int = 5_000  # images after which a weight counts half in the average
    ema_ramp: float = 0.05  # early on the half-life is at most this fraction of the images seen
    # A run whose score has not improved for so many images ends, and its best checkpoint is what it
    # leaves; that score is then taken against held-out images. 0: it goes on to the end.
    early_stopping_images: int = 0

    def __post_init__(self) -> None:
        _check("training.images", self.images, 1, 10**12)
        _check("training.batch_size", self.batch_size, 2, 65_536)
        _check("training.seed", self.seed, 0, 2**63 - 1)
        _check("training.early_stopping_images", self.early_stopping_images, 0, 10**12)
        _check("training.ema_half_life", self.ema_half_life, 1, 10**12)
        _check("training.ema_ramp", self.ema_ramp, 1e-6, 1e6)


@dataclass(frozen=True)
class OutputConfig:
    """What a run writes, and how often, in images seen (rounded up to whole batches)."""

    log_images: int = 1_024  # between two rows of log.jsonl
    grid_images: int = 8_192  # between two sample sheets
    checkpoint_images: int = 16_384  # between two checkpoints
    checkpoints_kept: int = 2  # newest ones; the best is kept besides
    score_samples: int = 1_000  # drawn at each checkpoint to score it; 0: no scores
    grid_seeds: int = 64  # cats on a sheet, always of the seeds 0, 1, 2, ...

    def __post_init__(self) -> None:
        _check("output.log_images", self.log_images, 1, 10**12)
        _check("output.grid_images", self.grid_images, 1, 10**12)
        _check("output.checkpoint_images", self.checkpoint_images, 1, 10**12)
        _check("output.checkpoints_kept", self.checkpoints_kept, 1, 10_000)
        _check("output.score_samples", self.score_samples, 0, 1_000_000)
        if 0 < self.score_samples < 12:
            raise CatganError(
                f"output.score_samples = {self.score_samples} is too few to score: "
                "choose 0 (no scores) or at least 12, better 1000"
            )
        _check("output.grid_seeds", self.grid_seeds, 1, 400)


@dataclass(frozen=True)
class Config:
    """A complete training run, but for the data and the machine."""

    recipe: str = "lsgan-64"  # the name of the recipe this began as
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)


# -- recipes ------------------------------------------------------------------------------------


def recipe_names() -> list[str]:
    """Names of the recipes in the package, sorted."""
    directory = resources.files("catgan") / "recipes"
    return sorted(Path(f.name).stem for f in directory.iterdir() if f.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML text of a recipe; `CatganError` for a name that the package does not have."""
    if name not in recipe_names():
        raise CatganError(f"no recipe {quoted(name)}{_suggestion(name, recipe_names())}")
    return (resources.files("catgan") / "recipes" / f"{name}.toml").read_text("utf-8")


def load_recipe(name: str) -> Config:
    """The configuration of a recipe by its name."""
    return from_toml(recipe_text(name), where=f"recipe {name}")


# -- TOML in and out ----------------------------------------------------------------------------


def from_toml(text: str, where: str) -> Config:
    """Read a configuration; `where` names the text in errors."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: numbers of thousands of digits too
        raise CatganError(f"{where} is not valid TOML: {_one_line(error)}") from None
    return from_table(table, where)


def from_table(table: Mapping[str, Any], where: str) -> Config:
    """A configuration from nested mappings, as TOML and JSON give them."""
    try:
        return _from_table(Config, table, prefix="", where=where)
    except CatganError as error:  # an impossible value does not know where it stands
        text = str(error)
        raise CatganError(text if text.startswith(where) else f"{where}: {text}") from None


def to_toml(config: Config) -> str:
    """Every setting of `config` as TOML, in the order of the classes above."""
    import tomli_w

    return tomli_w.dumps(dataclasses.asdict(config))


def override(config: Config, assignments: list[str]) -> Config:
    """`config` with `section.key=value` assignments applied in order, so that the last one counts.

    Values are written as in TOML (`2e-4`, `true`, `"mse"`); a bare word is taken as a string.
    """
    table = dataclasses.asdict(config)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name, text = name.strip(), text.strip()
        if not equals or not text:
            raise CatganError(
                f"--set {quoted(assignment)} is not of the form section.key=value: "
                "try, for instance, --set training.batch_size=32"
            )
        section, _, key = name.rpartition(".")
        target = table.get(section) if section else table
        if not isinstance(target, dict) or key not in target or isinstance(target[key], dict):
            raise CatganError(
                f"--set {quoted(assignment)}: no setting {quoted(name)}{_suggest_setting(name)}"
            )
        target[key] = _parse_value(text)
    return _from_table(Config, table, prefix="", where="--set")


def changed_settings(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, by their dotted names, as (old, new)."""
    before, after = _flatten(dataclasses.asdict(old)), _flatten(dataclasses.asdict(new))
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def check_resumable(old: Config, new: Config) -> None:
    """Raise `CatganError` when `new` changes what a resumed run must keep."""
    rejected = [
        f"{name} = {was!r} (asked for {now!r})"
        for name, (was, now) in changed_settings(old, new).items()
        if name not in RESUMABLE_KEYS and name.split(".")[0] not in RESUMABLE_SECTIONS
    ]
    before, after = old.training.early_stopping_images, new.training.early_stopping_images
    if (before > 0) != (after > 0):
        rejected.append(
            f"training.early_stopping_images = {before} (asked for {after}), which decides what "
            "scores are taken against and may only be another number"
            + (", as large as you like" if before else "")
        )
    if rejected:
        raise CatganError(
            f"a resumed run must keep {', '.join(rejected)}: start a new run for that; a resumed "
            f"one may change {', '.join(RESUMABLE_KEYS)} and output.*"
        )


def check_length(old: Config, new: Config, images: int) -> None:
    """Raise `CatganError` when `new` would end a run, after `images` images, before that."""
    asked = new.training.images
    if asked != old.training.images and asked < images:
        raise CatganError(
            f"training.images = {asked:,} is less than the {images:,} images that the run has "
            f"seen: choose more, or leave it at {old.training.images:,}"
        )


# -- helpers ------------------------------------------------------------------------------------

T = TypeVar("T")


def _from_table(cls: type[T], table: Mapping[str, Any], prefix: str, where: str) -> T:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        if key not in hints:
            raise CatganError(f"{where}: no setting {quoted(name)}{_suggest_setting(name)}")
        if dataclasses.is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise CatganError(
                    f"{where}: [{name}] must be a table of settings, got {quoted(value)}"
                )
            values[key] = _from_table(hints[key], value, prefix=f"{name}.", where=where)
        else:
            values[key] = _coerce(name, value, hints[key], where)
    return cls(**values)


def _coerce(name: str, value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is Literal:
        choices = [str(choice) for choice in typing.get_args(hint)]
        if value in choices:
            return value
        hint = _suggestion(value if isinstance(value, str) else "", choices)
        raise CatganError(f"{where}: {name} = {quoted(value)}{hint}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        with suppress(OverflowError):  # then it is told below
            value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise CatganError(f"{where}: {name} must be {expected[hint]}, got {quoted(value)}")
    return value


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise CatganError(f"{name} = {quoted(value)} is out of range: choose from {low} to {high}")


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text  # a bare word: `--set loss.generator=mse`


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _suggest_setting(name: str) -> str:
    """The one or two settings that `name` may stand for, whatever section it puts them in."""
    table = dataclasses.asdict(Config())
    if isinstance(table.get(name), dict):
        return f": it is a section; its settings are {', '.join(table[name])}"
    key = name.rpartition(".")[2]
    ratios = {}
    for full in _flatten(table):
        other = full.rpartition(".")[2]
        ratio = difflib.SequenceMatcher(None, key, other).ratio()
        if ratio >= 0.6 or (len(key) > 2 and key in other):
            ratios[full] = ratio
    best = sorted(ratios, key=lambda full: -ratios[full])[:2]
    # The second is named where it is nearly as close: generator_ and discriminator_learning_rate.
    best = [full for full in best if ratios[full] > ratios[best[0]] - 0.1]
    if best:
        return f"; did you mean {' or '.join(map(repr, best))}?"
    return _suggestion(name, list(_flatten(table)), list_all=False)


def _suggestion(given: str, choices: list[str], *, list_all: bool = True) -> str:
    close = difflib.get_close_matches(given, choices, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return hint + (f" (choose from {', '.join(choices)})" if list_all or not close else "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
