"""Answers that go on: server-sent events, with a sign of life where nothing else is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from docflow.server.service.answers import dumped
from docflow.server.service.exchange import exchange_of

ALIVE_SECONDS = 10.0
"""Between two signs of life: also how a client that has gone is noticed."""


def wants_events(request: Request) -> bool:
    """Whether the answer is wanted as it comes along."""
    return "text/event-stream" in request.headers.get("accept", "")


def event(name: str, content: dict[str, Any]) -> bytes:
    """One event."""
    return b"event: " + name.encode() + b"\ndata: " + dumped(content) + b"\n\n"


def streamed(request: Request, events: AsyncIterator[bytes]) -> StreamingResponse:
    """The events as an answer."""
    exchange_of(request.scope).streamed = True
    return StreamingResponse(
        alive(events), media_type="text/event-stream", headers={"x-accel-buffering": "no", "cache-control": "no-store"}
    )


async def alive(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The events, and a comment whenever there was none for a while."""
    iterator = aiter(events)
    following: asyncio.Task[bytes] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(iterator))
            done, _ = await asyncio.wait({following}, timeout=ALIVE_SECONDS)
            if not done:
                yield b": still at work\n\n"
                continue
            try:
                said = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield said
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait({following})
        if hasattr(iterator, "aclose"):
            await iterator.aclose()


async def until_gone(request: Request) -> None:
    """Waits until the client has closed its connection. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
