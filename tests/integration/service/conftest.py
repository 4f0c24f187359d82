"""A service in front of servers that answer at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.testclient import TestClient

from docflow.server.service.app import service_app
from docflow.settings import load_settings
from tests.engines.instant import InstantServer

Serve = Callable[..., TestClient]
PATIENCE = 60.0
"""Seconds within which a service is ready, on whatever machine."""


def ready(client: TestClient) -> TestClient:
    """The client, once its service's engine answers."""
    end = time.monotonic() + PATIENCE
    while client.get("/health").status_code != 200:
        assert time.monotonic() < end, client.get("/health").json()
        time.sleep(0.02)
    return client


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts services: ``serve(settings)`` gives a client to one, ready unless ``wait=False``."""
    with ExitStack() as stack:

        def start(settings: dict[str, Any] | None = None, *, wait: bool = True) -> TestClient:
            app = service_app(load_settings({"telemetry.log": "off", **(settings or {})}))
            client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            return ready(client) if wait else client

        yield start


@pytest.fixture
def instant() -> Iterator[InstantServer]:
    """A vLLM that answers at once."""
    with InstantServer("vllm") as server:
        yield server


@pytest.fixture
def client(serve: Serve, instant: InstantServer) -> TestClient:
    """A service in front of ``instant``, without keys."""
    return serve({"engine": f"vllm={instant.url}"})
