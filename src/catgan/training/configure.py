"""The configuration of a new run: a recipe, the settings, and the networks it starts from."""

from __future__ import annotations

import dataclasses

from catgan.config import Config, load_recipe, override, recipe_names
from catgan.errors import CatganError
from catgan.network_config import FEATURE_RESOLUTIONS, NetworkConfig
from catgan.training.starting_point import StartingPoint
from catgan.training.transfer import fit_to_discriminator, fit_to_photos

DEFAULT_RECIPE, TRANSFER_RECIPE = "projected-128", "transfer"


def default_recipe(starting: StartingPoint | None) -> str:
    """Return the recipe of a run for which none is named."""
    if starting is None:
        return DEFAULT_RECIPE
    source_recipe = starting.lineage[0].recipe
    of_same_family = load_recipe(TRANSFER_RECIPE).network.family == starting.network.family
    if of_same_family or source_recipe not in recipe_names():
        return TRANSFER_RECIPE
    return source_recipe


def configure(
    recipe: str | Config,
    settings: list[str],
    starting: StartingPoint | None,
    photos: int | None = None,
) -> Config:
    """Return the recipe with the settings, and with the networks of the starting point, if any.

    A transfer recipe is adjusted to the number of training `photos`, once known; the settings take
    precedence. A complete configuration in place of a recipe's name is taken as it is.

    Raises:
        CatganError: the recipe or the settings do not fit the starting point.
    """
    if isinstance(recipe, Config):
        config = override(recipe, settings)
        if starting is None:
            return config
        network = _network_from(starting.network, config.network, starting.lineage[0].name)
        return dataclasses.replace(config, network=network)
    config = load_recipe(recipe)
    if photos is not None:
        config = fit_to_photos(config, photos)
    if starting is None:
        if recipe == TRANSFER_RECIPE:
            raise CatganError(
                f"recipe {recipe} starts from existing weights: add --from bundled, or use "
                f"--recipe {DEFAULT_RECIPE}"
            )
        return override(config, settings)
    name, network = starting.lineage[0].name, starting.network
    if config.network.family != network.family:
        raise CatganError(
            f"--recipe {recipe} trains the {config.network.family} family, and {name} is of the "
            f"{network.family} family: leave out --recipe, or use one of that family"
        )
    start_network = network
    if network.family == config.network.family == "projected":
        # Upsampled once, images show the backbone the finest details; more only costs time.
        finest = max(2 * network.resolution, min(FEATURE_RESOLUTIONS))
        feature_resolution = min(config.network.feature_resolution, finest)
        start_network = dataclasses.replace(
            network, feature_resolution=feature_resolution, eye_heads=config.network.eye_heads
        )
    config = dataclasses.replace(config, network=start_network)
    network = _network_from(network, override(config, settings).network, name)
    has_new_heads = starting.discriminator_for(network) is None or starting.adds_eye_heads(network)
    if recipe == TRANSFER_RECIPE and not has_new_heads:
        config = fit_to_discriminator(config)
    return dataclasses.replace(override(config, settings), network=network)


def _network_from(source: NetworkConfig, asked: NetworkConfig, name: str) -> NetworkConfig:
    """Return the networks for `asked`: those of the `source`, or these at twice its resolution.

    The settings in `source.transfer_settings` may differ.

    Raises:
        CatganError: `asked` differs otherwise from the source, which is called `name`.
    """
    free, doubled = source.transfer_settings, source.doubled()
    changed = {
        key
        for key, value in dataclasses.asdict(source).items()
        if key not in free and getattr(asked, key, None) != value
    }
    if not changed:
        return asked
    if doubled and changed == {"resolution"} and asked.resolution == doubled.resolution:
        return dataclasses.replace(doubled, **{key: getattr(asked, key) for key in free})
    remedy = "leave out --set network.*"
    if free:
        remedy += f", but for {' and '.join(f'network.{key}' for key in free)}"
    if doubled:
        remedy += f", or double the resolution with --set network.resolution={doubled.resolution}"
    raise CatganError(f"a run that starts from {name} keeps its networks: {remedy}")
