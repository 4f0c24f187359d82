"""Clients whose requests do not end, byte by byte or all too large."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from docflow.deploy.local.process import free_port
from docflow.server.service import protocol
from tests.integration.service.gateways import serving, until


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with serving() as client:
        yield client


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20)


def all_of(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


def test_headers_that_do_not_end_are_cut_off(client: httpx.Client) -> None:
    with connected(client) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\n")
        sent = 0
        try:
            while sent < 10_000_000:
                sent += connection.send(b"x-padding: " + b"a" * 8_000 + b"\r\n")
        except OSError:
            pass
        assert sent < 10_000_000


def test_a_head_that_is_too_large_is_answered(client: httpx.Client) -> None:
    answer = client.get("/health/live", headers={"x-padding": "a" * 20_000})
    assert answer.status_code == 431


def test_a_client_that_says_nothing_or_half_a_head_is_cut_off(client: httpx.Client) -> None:
    for said in (b"", b"GET /health/live HTTP/1.1\r\nhost: a\r\n"):
        with connected(client) as connection:
            connection.sendall(said)
            assert all_of(connection).startswith(b"HTTP/1.1 408")


def test_a_connection_that_is_kept_answers_again(client: httpx.Client) -> None:
    for _ in range(3):
        assert client.get("/health/live").status_code == 200


def test_an_idle_connection_is_kept_longer_than_the_web_servers_own_five_seconds(tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {"DOCFLOW_SERVE__PORT": str(port), "DOCFLOW_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "docflow", "serve"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: _answers(port) or process.poll() is not None, seconds=120)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.connect()
            connection.auto_open = 0  # or it would connect again by itself
            for seconds in (6.0, 0.0):
                connection.request("GET", "/health/live")
                answer = connection.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
                time.sleep(seconds)
            connection.close()
        finally:
            process.send_signal(signal.SIGINT)


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    return False
