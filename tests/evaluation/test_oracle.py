"""The same features, the same numbers as torch-fidelity (tests/oracle holds script and values)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from catgan.evaluation.metrics.frechet import frechet_distance, gaussian_of
from catgan.evaluation.metrics.kernel import kernel_distance
from catgan.evaluation.metrics.manifold import manifold_scores

ORACLE = Path(__file__).parents[1] / "oracle"
GOLDEN = json.loads((ORACLE / "torch_fidelity.json").read_text(encoding="utf-8"))

_spec = importlib.util.spec_from_file_location("synthetic", ORACLE / "synthetic.py")
assert _spec is not None
assert _spec.loader is not None
synthetic = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(synthetic)


@pytest.mark.parametrize("name", sorted(GOLDEN["cases"]))
def test_same_numbers_as_torch_fidelity(name: str) -> None:
    golden = GOLDEN["cases"][name]
    generated, reals = synthetic.features(name)
    assert frechet_distance(gaussian_of(generated), gaussian_of(reals)) == pytest.approx(
        golden["frechet"], rel=1e-6
    )
    kernel = kernel_distance(
        generated,
        reals,
        subsets=GOLDEN["kernel_subsets"],
        subset_size=GOLDEN["kernel_subset_size"],
        seed=GOLDEN["kernel_seed"],
    )
    assert kernel.mean == pytest.approx(golden["kernel_mean"], rel=1e-6)
    assert kernel.standard_deviation == pytest.approx(golden["kernel_standard_deviation"], rel=1e-6)
    scores = manifold_scores(reals, generated)
    assert scores.precision == pytest.approx(golden["precision"], abs=1e-6)
    assert scores.recall == pytest.approx(golden["recall"], abs=1e-6)
