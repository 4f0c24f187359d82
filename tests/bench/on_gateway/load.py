"""A load that costs little itself: requests over bare connections, at a rate or as fast as they are answered."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(slots=True)
class Taken:
    """How long requests took, in milliseconds, from when they were due: to the first byte, and to the end."""

    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    def add(self, status: int, first: float, whole: float) -> None:
        self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1
        self.first.append(first * 1000)
        self.whole.append(whole * 1000)

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != "200")


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self.answer: asyncio.Future[int] | None = None
        self.first = 0.0
        self._data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[int]:
        self._data.clear()
        self.first = 0.0
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        if not self._data:
            self.first = time.perf_counter()
        self._data += data
        head = self._data.find(b"\r\n\r\n")
        if head < 0 or self.answer is None or self.answer.done():
            return
        top = bytes(self._data[:head]).lower()
        at = top.find(b"content-length:")
        if at >= 0:
            whole = len(self._data) >= head + 4 + int(top[at + 15 :].split(b"\r\n", 1)[0])
        else:
            whole = self._data.endswith(b"0\r\n\r\n")
        if whole:
            self.answer.set_result(int(top[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)


class Load:
    """Requests to one URL."""

    def __init__(self, url: str, body: bytes, key: str = "") -> None:
        place = urlsplit(url)
        self._host, self._port = place.hostname or "", place.port or 80
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
        head += f"authorization: Bearer {key}\r\n" if key else ""
        self._request = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
        self._free: deque[_Connection] = deque()

    async def at(self, rate: float, seconds: float) -> Taken:
        """So many requests a second, each at its time whether those before are answered or not."""
        taken, tasks = Taken(), set[asyncio.Task[None]]()
        began = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._one(taken, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        taken.seconds = time.perf_counter() - began
        return taken

    async def saturated(self, connections: int, seconds: float) -> Taken:
        """As many as are answered."""
        taken = Taken()
        began = time.perf_counter()

        async def go_on() -> None:
            while time.perf_counter() - began < seconds:
                await self._one(taken, time.perf_counter())

        await asyncio.gather(*(go_on() for _ in range(connections)))
        taken.seconds = time.perf_counter() - began
        return taken

    async def leave(self, count: int) -> None:
        """Begin answers, and go away after their first byte."""
        for _ in range(count):
            connection = await self._connection()
            connection.ask(self._request)
            while not connection.first:
                await asyncio.sleep(0.002)
            connection.transport.abort()

    async def _one(self, taken: Taken, due: float) -> None:
        try:
            connection = await self._connection()
        except OSError:
            taken.add(0, 0.0, 0.0)
            return
        status = await connection.ask(self._request)
        ended = time.perf_counter()
        taken.add(status, (connection.first or ended) - due, ended - due)
        if status and not connection.transport.is_closing():
            self._free.append(connection)

    async def _connection(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.transport.is_closing():
                return connection
        _, made = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
        return made

    def close(self) -> None:
        for connection in self._free:
            connection.transport.abort()
        self._free.clear()
