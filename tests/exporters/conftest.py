"""Runs of every family, created once."""

from __future__ import annotations

import pytest
from small_runs import make_run

from catgan.exporters import directions, export


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Return the directory of a run for each recipe."""
    home = tmp_path_factory.mktemp("runs")
    settings = ("resolution=64", "refinements=1", "coefficient_correction=16", "mirrored_eye=true")
    refined = [f"network.{setting}" for setting in settings]
    return {
        recipe: make_run(home / recipe, recipe)
        for recipe in ("dcgan-128", "lsgan-64", "projected-128")
    } | {"refined": make_run(home / "refined", "projected-128", settings=refined)}


@pytest.fixture(scope="session", autouse=True)
def few_seeds():
    """Reduce the seeds of the parity check and the samples for directions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "SEEDS", 8)
        patch.setattr(directions, "SAMPLES", 256)
        yield
