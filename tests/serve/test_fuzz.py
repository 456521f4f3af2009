"""Random and mutated requests: each gets an answer of the right class, and none a traceback."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the extra serve is not installed: NOT tested")

from requests_at_random import check, requests


@pytest.fixture
def quick_client(make_client):
    """A service whose largest answers are small; the tiny generator's images have 8 pixels."""
    return make_client(max_pixels=65_536, max_frames=8, max_size=32, rate=0)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_every_request_is_answered_as_it_should_be(quick_client, data):
    asked = data.draw(requests())
    answer = quick_client.request(
        asked.method, asked.target, content=asked.body, headers=asked.headers
    )
    check(asked, answer.status_code, answer.headers, answer.content)
