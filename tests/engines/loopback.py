"""A small HTTP/1.1 server on the loopback, in a thread of its own: the ground on which test servers stand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self, TypeVar

T = TypeVar("T")

MOST_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Received:
    """One request, and when it had arrived as a whole (``time.monotonic``)."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at: float = field(default_factory=time.monotonic)

    def json(self) -> Any:
        return json.loads(self.body)


def response(status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
    """A whole response; a mapping is sent as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode()
    head = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def read_message(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """The first line, the headers (names in lower case) and the body of a request or a response.

    Raises asyncio.IncompleteReadError when the other side ends before that is whole.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        pieces = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(b"\r\n")
        return first, headers, b"".join(pieces)
    return first, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST: the other side reads "connection reset by peer", not an end of data."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class LoopbackServer:
    """Serves on a port of 127.0.0.1 from ``start`` to ``close``; a subclass says what a request gets."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=type(self).__name__, daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Write the response to ``writer``; closing it ends the connection."""
        raise NotImplementedError

    def start(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._do(self._listen())

    def refuse(self) -> None:
        """Take no more connections, and end those there are: what a client sees of a server that was killed."""
        self._do(self._refuse())

    def close(self) -> None:
        self._do(self._refuse())
        self._do(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, limit=MOST_HEADER_BYTES, backlog=512
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._connections):
            reset(writer)

    async def _end_tasks(self) -> None:
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections.add(writer)
        try:
            while not writer.is_closing():
                first, headers, body = await read_message(reader)
                method, path, _ = first.split(" ", 2)
                await self.handle(Received(method, path, headers, body), writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        except asyncio.CancelledError:
            pass  # the server is being closed; asyncio's own callback would report a cancelled task as an error
        finally:
            self._tasks.discard(task)
            self._connections.discard(writer)
            writer.close()
