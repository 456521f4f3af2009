"""No test reaches the network: a connection to anything but this machine fails at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from network_guard import refuse_the_network


@pytest.fixture(scope="module", params=["probed", "plain"])
def processor(request: pytest.FixtureRequest) -> Iterator[str]:
    """This machine as the probe finds it, then as if the probe had found nothing.

    So the plain path (float32, no fused operator) is tested on every machine. The value is the
    setting of the precision that `auto` chooses.
    """
    from processors import seen_as  # imports torch, which light tests do without

    with seen_as(request.param) as precision:
        yield precision


@pytest.fixture
def bfloat16(request: pytest.FixtureRequest) -> None:
    """Skip a test of bfloat16, visibly, where this machine cannot compute in it."""
    from catgan.networks import capabilities

    if not capabilities.bfloat16_works():
        pytest.skip("no bfloat16 convolutions on this processor: NOT tested")


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(refuse_the_network)
    # Tests import ONNX Runtime themselves, and must not leave its telemetry in the user's home.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
