"""A proxy in front of a real server that spoils answers: one fault a request, taken from a queue, or the same for all.

    with FaultProxy("http://127.0.0.1:30000") as proxy:
        proxy.faults.extend([Status(500), None, Half()])    # for the next three generations, then nothing is spoiled
        proxy.always = Hang()                               # for every further one

What arrived, and when, is in ``proxy.requests``. Only generations are spoiled; health checks and lists of models pass,
unless ``proxy.everything`` is set. ``proxy.refuse()`` and ``proxy.listen()`` are a server that dies and comes back.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.engines.loopback import LoopbackServer, Received, read_message, reset, response

GENERATIONS = ("/v1/chat/completions", "/generate")


@dataclass(frozen=True)
class Fault:
    """Passes the request on and the answer back, as they are."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        writer.write(await proxy.forward(request))


@dataclass(frozen=True)
class Status(Fault):
    """An HTTP error in the server's place; ``retry_after`` in seconds."""

    code: int
    retry_after: float | None = None
    body: bytes | Mapping[str, Any] = b"Internal Server Error"

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        headers = {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}
        if isinstance(self.body, bytes):
            headers["content-type"] = "text/plain"
        writer.write(response(self.code, self.body, headers))


@dataclass(frozen=True)
class Dropped(Fault):
    """The connection is reset before a byte of an answer."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        reset(writer)


@dataclass(frozen=True)
class Gone(Dropped):
    """The connection is reset, and so is every one from now on, health checks included."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        proxy.always, proxy.everything = self, True
        await super().apply(request, proxy, writer)


@dataclass(frozen=True)
class ResetMidway(Fault):
    """The connection is reset in the middle of the answer's body."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        answer = await proxy.forward(request)
        writer.write(answer[: _half_of_body(answer)])
        await writer.drain()
        await asyncio.sleep(0.05)  # what is on its way arrives before the reset
        reset(writer)


@dataclass(frozen=True)
class CutShort(Fault):
    """Half of the body that was announced, then a proper end of the connection."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        answer = await proxy.forward(request)
        writer.write(answer[: _half_of_body(answer)])
        await writer.drain()
        writer.close()


@dataclass(frozen=True)
class Half(Fault):
    """A well-formed response of which the body is half a JSON."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        body = (await proxy.forward(request)).partition(b"\r\n\r\n")[2]
        writer.write(response(200, body[: len(body) // 2]))


@dataclass(frozen=True)
class Body(Fault):
    """Another body in place of the answer's: no JSON, or JSON of another shape."""

    body: bytes

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, self.body))


@dataclass(frozen=True)
class Endless(Fault):
    """A body without end, as fast as the client takes it."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" " * (1 << 20))
            await writer.drain()


@dataclass(frozen=True)
class Said(Fault):
    """Another text in the model's mouth: a text, or what a function makes of its own; how it stopped, too."""

    text: str | Callable[[str], str]
    finish: str = "stop"

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        body = json.loads((await proxy.forward(request)).partition(b"\r\n\r\n")[2])
        for choice in body.get("choices", ()):
            own = choice["message"]["content"] or ""
            choice["message"]["content"] = self.text(own) if callable(self.text) else self.text
            choice["finish_reason"], choice["logprobs"] = self.finish, None
        writer.write(response(200, body))


@dataclass(frozen=True)
class Slow(Fault):
    """The right answer, ``seconds`` later."""

    seconds: float

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        answer = await proxy.forward(request)
        await asyncio.sleep(self.seconds)
        writer.write(answer)


@dataclass(frozen=True)
class Hang(Fault):
    """Not a byte, for as long as the client waits."""

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)


@dataclass(frozen=True)
class Drip(Fault):
    """The right answer, a few bytes at a time: no read ever waits for long, the whole takes for ever."""

    every_seconds: float = 0.1
    bytes_each: int = 1

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        answer = await proxy.forward(request)
        for start in range(0, len(answer), self.bytes_each):
            writer.write(answer[start : start + self.bytes_each])
            await writer.drain()
            await asyncio.sleep(self.every_seconds)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived, and the fault that it met."""

    request: Received
    fault: Fault | None = field(repr=False)

    @property
    def at(self) -> float:
        return self.request.at

    @property
    def generates(self) -> bool:
        return self.request.method == "POST" and self.request.path in GENERATIONS


class FaultProxy(LoopbackServer):
    """Passes everything on to ``upstream``, spoiled as it is told."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.everything = False
        self.requests: list[Seen] = []
        target = urlsplit(upstream)
        self._upstream = (target.hostname or "127.0.0.1", target.port or 80)

    @property
    def generations(self) -> list[Seen]:
        """The requests for an answer of the model."""
        return [seen for seen in self.requests if seen.generates]

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        generates = Seen(request, None).generates
        fault = None
        if generates or self.everything:
            fault = self.faults.popleft() if generates and self.faults else self.always
        self.requests.append(Seen(request, fault))
        try:
            await (fault or Fault()).apply(request, self, writer)
        except (asyncio.IncompleteReadError, OSError):  # the server behind is away: so is this one
            reset(writer)

    async def forward(self, request: Received) -> bytes:
        """The upstream's whole response. Raises OSError or asyncio.IncompleteReadError when it gives none."""
        reader, writer = await asyncio.open_connection(*self._upstream, limit=1 << 24)
        try:
            left_out = ("connection", "transfer-encoding", "content-length", "accept-encoding")
            kept = {name: value for name, value in request.headers.items() if name not in left_out}
            kept |= {"content-length": str(len(request.body)), "connection": "close"}
            lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {kept[name]}" for name in kept)]
            writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body)
            first, headers, body = await read_message(reader)
        finally:
            writer.close()
        passed: dict[str, str] = {name: headers[name] for name in ("content-type", "retry-after") if name in headers}
        return response(int(first.split(" ")[1]), body, passed)


def _half_of_body(answer: bytes) -> int:
    start = answer.index(b"\r\n\r\n") + 4
    return start + (len(answer) - start) // 2
