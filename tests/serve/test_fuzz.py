"""Random valid and invalid requests: each gets a valid response, none a traceback."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the extra serve is not installed: NOT tested")

from requests_at_random import check_response, requests


@pytest.fixture
def quick_client(make_client):
    """A client of a service with small limits; the tiny generator's images have 8 pixels."""
    return make_client(max_pixels=65_536, max_frames=8, max_size=32, rate=0)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_every_random_request_gets_valid_response(quick_client, data):
    request = data.draw(requests())
    response = quick_client.request(
        request.method, request.target, content=request.body, headers=request.headers
    )
    check_response(request, response.status_code, response.headers, response.content)
