"""The command that lists the recipes."""

from __future__ import annotations

from typing import Annotated

import typer

from catgan.cli.console import Output


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's settings.")] = None,
) -> None:
    """List the recipes, or print one as TOML."""
    from catgan.config import load_recipe, recipe_names, recipe_text

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    from rich.table import Table

    table = Table("recipe", "family", "pixels", "images", "batch", box=None, header_style="dim")
    for recipe in recipe_names():
        config = load_recipe(recipe)
        table.add_row(
            recipe,
            config.network.family,
            str(config.network.resolution),
            f"{config.training.images:,}",
            str(config.training.batch_size),
        )
    Output().console.print(table)
