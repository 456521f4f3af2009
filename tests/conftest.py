"""No test reaches the network: a connection to anything but this machine fails at once."""

from __future__ import annotations

import os
import sys

import pytest
from network_guard import refuse_the_network


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(refuse_the_network)
    # Tests import ONNX Runtime themselves, and must not leave its telemetry in the user's home.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
