"""This machine's processor as the probe finds it, or as if the probe had found nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from catgan.networks import capabilities
from catgan.runs.device import choose_precision

PROBED, PLAIN = "probed", "plain"


@contextmanager
def seen_as(kind: str) -> Iterator[str]:
    """Have the probe find what is there, or with `PLAIN` nothing, in child processes as well.

    Yields the setting of the precision that `auto` then chooses, so that all processes of a test
    take the same.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(capabilities.PLAIN_VARIABLE, "1" if kind == PLAIN else "0")
        capabilities.forget()
        chosen = choose_precision("auto", torch.device("cpu"))
        yield f"training.precision={str(chosen).removeprefix('torch.')}"
    capabilities.forget()
