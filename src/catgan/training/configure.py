"""The configuration of a new run: a recipe, what is set, and the networks that it starts from."""

from __future__ import annotations

import dataclasses

from catgan.config import (
    FEATURE_RESOLUTIONS,
    RESOLUTIONS,
    Config,
    NetworkConfig,
    load_recipe,
    override,
    recipe_names,
)
from catgan.errors import CatganError
from catgan.training.starting_point import StartingPoint
from catgan.training.transfer import fit_to_discriminator, fit_to_photos

DEFAULT_RECIPE, TRANSFER_RECIPE = "projected-128", "transfer"


def default_recipe(starting: StartingPoint | None) -> str:
    """Return the recipe of a run that names none."""
    if starting is None:
        return DEFAULT_RECIPE
    own = starting.lineage[0].recipe
    if starting.network.family == "projected" or own not in recipe_names():
        return TRANSFER_RECIPE
    return own


def configure(
    recipe: str | Config,
    settings: list[str],
    starting: StartingPoint | None,
    photos: int | None = None,
) -> Config:
    """The recipe with the settings, and where there are weights to begin with, their networks.

    A recipe for it is fitted to the number of training `photos`, once that is known; what the
    settings say counts more. A complete configuration in its place is taken as it is.
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
                f"recipe {recipe} starts from existing weights: add --from bundled, or take "
                f"--recipe {DEFAULT_RECIPE}"
            )
        return override(config, settings)
    name, network = starting.lineage[0].name, starting.network
    if config.network.family != network.family:
        raise CatganError(
            f"--recipe {recipe} trains the {config.network.family} family, and {name} is of the "
            f"{network.family} family: leave out --recipe, or take one of that family"
        )
    begin = network
    if network.family == "projected":
        # Enlarged once the frozen network sees the finest details; more only costs time.
        enlarged = max(2 * network.resolution, min(FEATURE_RESOLUTIONS))
        seen_at = min(config.network.feature_resolution, enlarged)
        begin = dataclasses.replace(network, feature_resolution=seen_at)
    config = dataclasses.replace(config, network=begin)
    network = _network_from(network, override(config, settings).network, name)
    if recipe == TRANSFER_RECIPE and starting.discriminator_for(network) is not None:
        config = fit_to_discriminator(config)
    return dataclasses.replace(override(config, settings), network=network)


def _network_from(source: NetworkConfig, asked: NetworkConfig, name: str) -> NetworkConfig:
    """Return the networks for `asked`: those of the `source`, or these at twice its resolution.

    Where a projected discriminator's frozen network looks, at `feature_resolution`, may change.

    Raises:
        CatganError: `asked` differs from the source, which is called `name`, in something else.
    """
    allowed, twice = source, 2 * source.resolution
    can_double = source.family == "projected" and twice in RESOLUTIONS
    if source.family == "projected":
        allowed = dataclasses.replace(source, feature_resolution=asked.feature_resolution)
    if asked == allowed:
        return asked
    if can_double and asked == dataclasses.replace(allowed, resolution=twice):
        return dataclasses.replace(asked, refinements=source.refinements + 1)
    remedy = "leave out --set network.*"
    if source.family == "projected":
        remedy += ", but for network.feature_resolution"
    if can_double:
        remedy += f", or double the resolution with --set network.resolution={twice}"
    raise CatganError(f"a run that starts from {name} keeps its networks: {remedy}")
