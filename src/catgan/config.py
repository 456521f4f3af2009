"""The configuration of a training run: frozen dataclasses, the only place with defaults.

`[network]` is in `network_config.py`, a dataclass per family. A recipe is a TOML file in `recipes/`
for these classes. `load_recipe` reads it, `override` applies `section.key=value`, and `to_toml`
writes the complete configuration that every run keeps. An unknown key, a wrong type or an invalid
value raises `CatganError` with a suggestion.
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

from catgan.errors import CatganError, check_range, quoted
from catgan.network_config import LsganConfig, NetworkConfig

# What `catgan train --resume` may change: length, output and precision, since the next machine may
# be another one; never what is trained.
RESUMABLE_SECTIONS = ("output",)
RESUMABLE_KEYS = ("training.images", "training.early_stopping_images", "training.precision")

# Of `[network]`. Configurations that were stored before each family had its own settings hold these
# for every family. In other families than their own they had these values, and no effect.
FORMER_SETTINGS = {"dropout": 0.0, "feature_resolution": 128, "refinements": 0}


@dataclass(frozen=True)
class LossConfig:
    """Loss of each network, on the discriminator's logits.

    `discriminator` and `generator` are names in the tables of training/losses.py. They are checked
    where a run starts, so that a run with a custom loss can be read without that loss.
    """

    discriminator: str = "mse"  # bce, mse, hinge, relativistic, or a custom loss
    generator: str = "bce"  # the same choice; both are relativistic, or neither
    penalty: float = 0.0  # gradient penalty on the discriminator's inputs (R1 and R2); 0: none
    penalty_final: float = 0.0  # its final value, approached geometrically, ...
    penalty_images: int = 1  # ... after this many images
    penalty_every: int = 1  # computed on every n-th image of a batch
    eye_colors: float = 0.0  # weight of the loss on colors of aligned faces' eyes; tried: 0.03

    def __post_init__(self) -> None:
        if (self.discriminator == "relativistic") != (self.generator == "relativistic"):
            raise CatganError(
                "loss.discriminator and loss.generator must both be relativistic, or neither"
            )
        check_range("loss.penalty", self.penalty, 0.0, 1e6)
        check_range("loss.penalty_final", self.penalty_final, 1e-6 if self.penalty else 0.0, 1e6)
        check_range("loss.penalty_images", self.penalty_images, 1, 10**12)
        check_range("loss.penalty_every", self.penalty_every, 1, 65_536)
        check_range("loss.eye_colors", self.eye_colors, 0.0, 1e6)
        if not self.penalty:
            # Defaults are stored in every run on disk; any other value was set on purpose.
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
    """Augmentations of both real and generated images before the discriminator."""

    flip: bool = True  # mirror half of the images (doubles a small dataset; cats are symmetric)
    zoom: float = 0.0  # enlarge a random window, its side smaller by up to this fraction
    crop: float = 0.0  # random crop: largest shift as a fraction of the side, edges reflected
    color_jitter: float = 0.0  # largest relative change of brightness, contrast and saturation
    sharpness: float = 0.0  # probability of blurring or sharpening an image
    diffaugment_color: bool = False  # DiffAugment: brightness, saturation, contrast
    diffaugment_translation: bool = False  # DiffAugment: shift by up to 1/8 of the side
    diffaugment_cutout: bool = False  # DiffAugment: a gray square of half the side
    views: int = 0  # fixed augmentations per real image in a run; 0: a new one each time

    def __post_init__(self) -> None:
        check_range("augment.zoom", self.zoom, 0.0, 0.9)
        check_range("augment.views", self.views, 0, 1024)
        check_range("augment.crop", self.crop, 0.0, 0.5)
        check_range("augment.color_jitter", self.color_jitter, 0.0, 1.0)
        check_range("augment.sharpness", self.sharpness, 0.0, 1.0)


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam (Kingma and Ba, 2015), one optimizer for each network."""

    generator_learning_rate: float = 2e-4  # of Adam, for the generator
    discriminator_learning_rate: float = 2e-4  # of Adam, for the discriminator
    beta1: float = 0.5  # decay of Adam's first moment
    beta2: float = 0.999  # decay of Adam's second moment
    # For a run that starts from existing weights: an untrained discriminator would damage them.
    # For the first images it trains alone, ...
    generator_freeze_images: int = 0
    generator_ramp_images: int = 0  # ... then the generator's learning rate rises over these, ...
    generator_thaw_images: int = 0  # ... and that of its inner convolutions these images later

    def __post_init__(self) -> None:
        check_range("optimizer.generator_freeze_images", self.generator_freeze_images, 0, 10**12)
        check_range("optimizer.generator_ramp_images", self.generator_ramp_images, 0, 10**12)
        check_range("optimizer.generator_thaw_images", self.generator_thaw_images, 0, 10**12)
        check_range("optimizer.generator_learning_rate", self.generator_learning_rate, 0.0, 1.0)
        check_range(
            "optimizer.discriminator_learning_rate", self.discriminator_learning_rate, 0.0, 1.0
        )
        check_range("optimizer.beta1", self.beta1, 0.0, 0.9999)
        check_range("optimizer.beta2", self.beta2, 0.0, 0.999999)


@dataclass(frozen=True)
class TrainingConfig:
    """Length, batch size, seed and averaging of a run. Every duration is in images seen."""

    images: int = 400_000  # real images shown in the whole run
    batch_size: int = 64  # of the whole job, however many processes share it
    seed: int = 0  # of weights, noise, augmentation and the order of images
    # Of convolutions and matrix products; auto: bfloat16 where a probe finds it faster here.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    ema_half_life: int = 5_000  # images after which a weight counts half in the average
    ema_ramp: float = 0.05  # early on the half-life is at most this fraction of the images seen
    # End the run once its score has not improved for this many images; its result is then its best
    # checkpoint. Scores are then against held-out images. 0: train to the end.
    early_stopping_images: int = 0

    def __post_init__(self) -> None:
        check_range("training.images", self.images, 1, 10**12)
        check_range("training.batch_size", self.batch_size, 2, 65_536)
        check_range("training.seed", self.seed, 0, 2**63 - 1)
        check_range("training.early_stopping_images", self.early_stopping_images, 0, 10**12)
        check_range("training.ema_half_life", self.ema_half_life, 1, 10**12)
        check_range("training.ema_ramp", self.ema_ramp, 1e-6, 1e6)


@dataclass(frozen=True)
class OutputConfig:
    """What a run writes, and how often, in images seen (rounded up to whole batches)."""

    log_images: int = 1_024  # between two rows of log.jsonl
    grid_images: int = 8_192  # between two sample grids
    checkpoint_images: int = 16_384  # between two checkpoints
    checkpoints_kept: int = 2  # the newest ones; the best is kept, too
    score_samples: int = 1_000  # generated at each checkpoint to score it; 0: no scores
    grid_seeds: int = 64  # images in a grid, of the seeds 0, 1, 2, ...

    def __post_init__(self) -> None:
        check_range("output.log_images", self.log_images, 1, 10**12)
        check_range("output.grid_images", self.grid_images, 1, 10**12)
        check_range("output.checkpoint_images", self.checkpoint_images, 1, 10**12)
        check_range("output.checkpoints_kept", self.checkpoints_kept, 1, 10_000)
        check_range("output.score_samples", self.score_samples, 0, 1_000_000)
        if 0 < self.score_samples < 12:
            raise CatganError(
                f"output.score_samples = {self.score_samples} is too few for a score: "
                "choose 0 (no scores) or at least 12, better 1000"
            )
        check_range("output.grid_seeds", self.grid_seeds, 1, 400)


@dataclass(frozen=True)
class Config:
    """A complete training run, except for the data and the machine."""

    recipe: str = "lsgan-64"  # name of the recipe it is based on
    network: NetworkConfig = field(default_factory=LsganConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)


# -- recipes ------------------------------------------------------------------------------------


def recipe_names() -> list[str]:
    """Return the names of the recipes in the package, sorted."""
    directory = resources.files("catgan") / "recipes"
    return sorted(Path(f.name).stem for f in directory.iterdir() if f.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """Return the TOML text of a recipe; `CatganError` for an unknown name."""
    if name not in recipe_names():
        raise CatganError(f"unknown recipe {quoted(name)}{_suggestion(name, recipe_names())}")
    return (resources.files("catgan") / "recipes" / f"{name}.toml").read_text("utf-8")


def load_recipe(name: str) -> Config:
    """Return the configuration of a recipe by its name; `CatganError` for an unknown name."""
    return from_toml(recipe_text(name), where=f"recipe {name}")


# -- TOML in and out ----------------------------------------------------------------------------


def from_toml(text: str, where: str) -> Config:
    """Return the configuration in a TOML text; `where` names the text in errors.

    Raises:
        CatganError: the text is not TOML, or has an unknown or invalid setting.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for huge numbers
        raise CatganError(f"{where} is not valid TOML: {_one_line(error)}") from None
    return from_table(table, where)


def from_table(table: Mapping[str, Any], where: str) -> Config:
    """Return a configuration from nested mappings, as read from TOML or JSON.

    Raises:
        CatganError: a setting is unknown or invalid; `where` names the source.
    """
    network = table.get("network")
    default = LsganConfig.family
    family = network.get("family", default) if isinstance(network, Mapping) else default
    try:
        return _from_table(Config, table, _network_class(family, where), prefix="", where=where)
    except CatganError as error:  # the check of a value does not know its source
        text = str(error)
        raise CatganError(text if text.startswith(where) else f"{where}: {text}") from None


def to_toml(config: Config) -> str:
    """Return every setting of `config` as TOML, in the order of the classes above."""
    import tomli_w

    return tomli_w.dumps(dataclasses.asdict(config))


def override(config: Config, assignments: list[str]) -> Config:
    """Return `config` with `section.key=value` assignments applied in order; the last one wins.

    Values are written as in TOML (`2e-4`, `true`, `"mse"`); text without quotes is a string. With
    another `network.family`, settings that both families have keep their values.

    Raises:
        CatganError: a setting is unknown, unknown to the family, or invalid.
    """
    parsed: list[tuple[str, str, Any]] = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name, text = name.strip(), text.strip()
        if not equals or not text:
            raise CatganError(
                f"invalid --set {quoted(assignment)}: expected section.key=value, "
                "as in --set training.batch_size=32"
            )
        parsed.append((assignment, name, _parse_value(text)))
    values = {name: value for _, name, value in parsed}
    network = _network_class(values.get("network.family", config.network.family), "--set")
    table = dataclasses.asdict(config)
    table["network"] = {
        key: table["network"].get(key, default)
        for key, default in dataclasses.asdict(network()).items()
    }
    for assignment, name, value in parsed:
        section, _, key = name.rpartition(".")
        target = table.get(section) if section else table
        if not isinstance(target, dict) or key not in target or isinstance(target[key], dict):
            raise _unknown_setting(name, network, f"--set {quoted(assignment)}")
        target[key] = value
    return _from_table(Config, table, network, prefix="", where="--set")


def changed_settings(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, by their dotted names, as (old, new).

    Settings that only one of two families has are left out, as the families differ.
    """
    before, after = _flatten(dataclasses.asdict(old)), _flatten(dataclasses.asdict(new))
    return {
        name: (was, after[name])
        for name, was in before.items()
        if name in after and was != after[name]
    }


def check_resumable(old: Config, new: Config) -> None:
    """Raise `CatganError` if `new` changes a setting that a resumed run must keep."""
    rejected = [
        f"{name} = {was!r} (got {now!r})"
        for name, (was, now) in changed_settings(old, new).items()
        if name not in RESUMABLE_KEYS and name.split(".")[0] not in RESUMABLE_SECTIONS
    ]
    before, after = old.training.early_stopping_images, new.training.early_stopping_images
    if (before > 0) != (after > 0):
        rejected.append(
            f"training.early_stopping_images = {before} (got {after}), which decides what scores "
            f"are taken against and must stay {'above 0' if before else '0'}"
        )
    if rejected:
        raise CatganError(
            f"a resumed run must keep {', '.join(rejected)}: start a new run to change that; a "
            f"resumed one may change {', '.join(RESUMABLE_KEYS)} and output.*"
        )


def check_length(old: Config, new: Config, images: int) -> None:
    """Raise `CatganError` if `new` ends a run before the `images` it has already seen."""
    asked = new.training.images
    if asked != old.training.images and asked < images:
        raise CatganError(
            f"training.images = {asked:,} is less than the {images:,} images that the run has "
            f"seen: choose more, or leave it at {old.training.images:,}"
        )


# -- helpers ------------------------------------------------------------------------------------

T = TypeVar("T")


def _network_class(family: Any, where: str) -> type[NetworkConfig]:
    classes = {cls.family: cls for cls in typing.get_args(NetworkConfig)}
    return classes[_choose("network.family", family, list(classes), where)]


def _from_table(
    cls: type[T],
    table: Mapping[str, Any],
    network: type[NetworkConfig],
    prefix: str,
    where: str,
) -> T:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        if key not in hints:
            if cls is network and (key, value) in FORMER_SETTINGS.items():
                continue
            raise _unknown_setting(name, network, where)
        hint = network if name == "network" else hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise CatganError(
                    f"{where}: expected a table of settings for [{name}], got {quoted(value)}"
                )
            values[key] = _from_table(hint, value, network, prefix=f"{name}.", where=where)
        elif name != "network.family":  # chose `network`
            values[key] = _coerce(name, value, hint, where)
    return cls(**values)


def _coerce(name: str, value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is Literal:
        return _choose(name, value, [str(choice) for choice in typing.get_args(hint)], where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        with suppress(OverflowError):  # rejected below
            value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        expected = {
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            str: "a string",
        }
        raise CatganError(f"{where}: expected {expected[hint]} for {name}, got {quoted(value)}")
    return value


def _choose(name: str, value: Any, choices: list[str], where: str) -> str:
    if value in choices:
        return str(value)
    suggestion = _suggestion(value if isinstance(value, str) else "", choices)
    raise CatganError(f"{where}: invalid {name} = {quoted(value)}{suggestion}")


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text  # a string without quotes: `--set loss.generator=mse`


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _unknown_setting(name: str, network: type[NetworkConfig], where: str) -> CatganError:
    """Return the error for a setting that a configuration with this `network` does not have."""
    own = {field.name for field in dataclasses.fields(network)}
    foreign = {
        field.name: cls.family
        for cls in typing.get_args(NetworkConfig)
        for field in dataclasses.fields(cls)
        if field.name not in own
    }
    if close := difflib.get_close_matches(name.rpartition(".")[2], foreign, n=1, cutoff=0.8):
        reason = (
            f": the {network.family} family has no network.{close[0]}; leave it out, or use "
            f"network.family={foreign[close[0]]}"
        )
    else:
        reason = _suggest_setting(name, dataclasses.asdict(Config(network=network())))
    return CatganError(f"{where}: unknown setting {quoted(name)}{reason}")


def _suggest_setting(name: str, table: Mapping[str, Any]) -> str:
    """Suggest the one or two settings in `table` that `name` may mean, whatever their section."""
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
    # Name the second if it is nearly as close: generator_ and discriminator_learning_rate.
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
