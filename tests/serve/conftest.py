"""Fixtures: services of the tiny generator."""

from __future__ import annotations

import pytest
from artifacts import write

import catgan


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory):
    """The file of the tiny generator."""
    return write(tmp_path_factory.mktemp("artifact") / "tiny.onnx")


@pytest.fixture(scope="session")
def cats(tiny_path):
    """The tiny generator in Python."""
    return catgan.load(tiny_path)


@pytest.fixture
def make_client(cats):
    """Return a factory of test clients of in-process services; it takes fields of `Settings`.

    An exception in the service is raised in the test.
    """
    pytest.importorskip("starlette", reason="the extra serve is not installed: NOT tested")
    from starlette.testclient import TestClient

    from catgan.serve import app
    from catgan.serve.settings import Settings

    services = []

    def make(generator=None, **settings):
        service = app(generator or cats, Settings(**({"workers": 2} | settings)))
        services.append(service)
        client = TestClient(service)
        client.service = service
        return client

    yield make
    for service in services:
        service.close()


@pytest.fixture
def client(make_client):
    """A test client of a service with the default settings."""
    return make_client()
