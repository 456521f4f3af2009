"""Writes torch_fidelity.json: FID, KID, precision and recall by torch-fidelity on fixed features.

torch-fidelity wants torchvision, which catgan does not, so it lives in an environment of its own:

    python -m venv oracle
    oracle/bin/pip install torch-fidelity==0.4.0
    oracle/bin/python tests/oracle/make_torch_fidelity.py

Nothing of it is needed to run the tests, which read the committed numbers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch_fidelity
from synthetic import CASES, features
from torch_fidelity.defaults import DEFAULTS
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

SUBSETS, SUBSET_SIZE = 20, 150


def golden(name: str) -> dict[str, float]:
    """The four numbers of one case; generated features first, as torch-fidelity has it."""
    generated, reals = (torch.from_numpy(array) for array in features(name))
    options = {**DEFAULTS, "verbose": False}
    kernel = kid_features_to_metric(
        generated, reals, **{**options, "kid_subsets": SUBSETS, "kid_subset_size": SUBSET_SIZE}
    )
    manifold = prc_features_to_metric(generated, reals, **options)
    frechet = fid_statistics_to_metric(
        fid_features_to_statistics(generated), fid_features_to_statistics(reals), False
    )
    return {
        "frechet": frechet["frechet_inception_distance"],
        "kernel_mean": kernel["kernel_inception_distance_mean"],
        "kernel_standard_deviation": kernel["kernel_inception_distance_std"],
        "precision": manifold["precision"],
        "recall": manifold["recall"],
    }


def main() -> None:
    """Write the golden file beside this script."""
    document = {
        "made_by": f"torch-fidelity {torch_fidelity.__version__}, numpy {np.__version__}",
        "kernel_subsets": SUBSETS,
        "kernel_subset_size": SUBSET_SIZE,
        "kernel_seed": DEFAULTS["rng_seed"],
        "cases": {name: golden(name) for name in CASES},
    }
    target = Path(__file__).with_name("torch_fidelity.json")
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
