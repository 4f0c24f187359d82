"""The gateway's requests as pure ASGI: read, checked, sent on, and every piece of the answer passed back as it comes.

It stands beside the framework, not on it: what the framework does for each request costs more than all of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from docflow.errors import EngineError
from docflow.server.service.allowance import Allowances
from docflow.server.service.exchange import Exchange, exchange_of
from docflow.server.service.gateway.call import Call, Kind, Opened
from docflow.server.service.gateway.checks import PATHS, call_of, mark_beginnings, prompt_length
from docflow.server.service.gateway.fetching import ImageHosts
from docflow.server.service.gateway.relay import Relay, Relayed
from docflow.server.service.gateway.stream import Events, EventTooLong
from docflow.server.service.keys import NOBODY
from docflow.server.service.refusals import Refusal
from docflow.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_COUNTED_BYTES = 4 * 1024 * 1024
"""Answers up to this size are read for the tokens that they cost; longer ones are mostly probabilities."""
_TYPES = ("application/json", "text/event-stream", "text/plain")
"""What an answer may be, so that no browser ever takes one for a page."""


class Gateway:
    """The handlers of the gateway's routes."""

    def __init__(self, relay: Relay, allowances: Allowances, settings: Settings) -> None:
        self.relay = relay
        self._allowances, self._settings = allowances, settings
        serve = settings.serve
        self._hosts = ImageHosts(settings.gateway, serve.upload_bytes, serve.requests + serve.waiting)

    def app(self, kind: Kind) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """The ASGI application of one route."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await self._handle(kind, scope, receive, send)

        return handle

    async def _handle(self, kind: Kind, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.kind, exchange.route = kind, PATHS[kind]
        caller = exchange.caller or NOBODY
        self._allowances.take(caller)
        raw = await read_body(receive)
        settings = self._settings
        call = call_of(
            kind, raw, exchange.request_id, settings.gateway, settings.serve.model, exchange.trace, self._hosts
        )
        exchange.streamed = call.stream
        exchange.read(prompt_length(call))
        task = asyncio.current_task()
        assert task is not None
        watch = Leaving(task, receive)
        try:
            if call.named:
                await self._hosts.fetch(call)
            if self.relay.uses_beginnings(kind):
                mark_beginnings(call)
            relayed = await self.relay.ask(call, exchange)
            await self._answer(call, relayed, exchange, send, watch)
        except asyncio.CancelledError:
            if not watch.left or task.uncancel() > 0:
                raise
            exchange.client_left = True  # nobody is there to be answered, and the upstream knows already
        finally:
            watch.end()
            self._allowances.used(caller, (exchange.prompt_tokens or 0) + (exchange.output_tokens or 0))

    async def _answer(self, call: Call, relayed: Relayed, exchange: Exchange, send: Send, watch: Leaving) -> None:
        opened = relayed.opened
        if opened.rest is None:
            model = self._count(opened, exchange)
            relayed.done(model)
            watch.end()  # from here on there is nothing to be given up
            if call.kind == "embeddings" and _cannot_embed(opened):
                raise Refusal(
                    501,
                    f"{exchange.upstream} serves no embeddings",
                    code="not_implemented",
                    hint="Add an upstream with an embedding model, and a route policy for embeddings.",
                )
            await self._start(opened, exchange, send, len(opened.first))
            await send({"type": "http.response.body", "body": opened.first})
            return
        events = Events(call.uncounted)
        failed: EngineError | None = None
        finished = False
        try:
            await self._start(opened, exchange, send, None)
            await self._send(send, events.feed(opened.first))
            try:
                async for piece in opened.rest:
                    relayed.heard()
                    await self._send(send, events.feed(piece))
                await self._send(send, events.finish())
            except EngineError as error:
                failed = error
            except EventTooLong:
                failed = EngineError("an event that does not end")
            finished = True
        finally:
            _read_usage(events.usage, exchange)
            exchange.model = events.model or exchange.model
            if finished and failed is None:
                relayed.done(events.model)
            else:
                relayed.broken(failed)
        watch.end()
        if failed is not None:
            exchange.error = type(failed).__name__
            said = {"message": f"{exchange.upstream} broke off its answer", "type": "server_error", "param": None}
            body = orjson.dumps({"error": {**said, "code": "upstream_failed"}, "request_id": exchange.request_id})
            await self._send(send, b"data: " + body + b"\n\n")
        await send({"type": "http.response.body", "body": b""})

    async def _start(self, opened: Opened, exchange: Exchange, send: Send, length: int | None) -> None:
        kind = opened.content_type if opened.content_type.startswith(_TYPES) else "application/octet-stream"
        headers = [
            (b"content-type", kind.encode("latin-1", "replace")),
            (b"x-docflow-upstream", (exchange.upstream or "").encode("latin-1", "replace")),
        ]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        if exchange.fallback_from is not None:
            headers.append((b"x-docflow-fallback-from", exchange.fallback_from.encode("latin-1", "replace")))
        if opened.retry_after is not None:
            headers.append((b"retry-after", str(max(1, round(opened.retry_after))).encode()))
        await send({"type": "http.response.start", "status": opened.status, "headers": headers})

    async def _send(self, send: Send, piece: bytes) -> None:
        """Pass a piece on. A client that takes nothing for long is cut off: it holds a place at the upstream."""
        if not piece:
            return
        try:
            async with asyncio.timeout(self._settings.serve.body_seconds):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            raise Refusal(408, "the client took nothing for too long", code="timeout") from None

    def _count(self, opened: Opened, exchange: Exchange) -> str:
        """Read the usage of a whole answer; the model that gave it."""
        if opened.status >= 400 or len(opened.first) > MOST_COUNTED_BYTES:
            return ""
        try:
            answer = orjson.loads(opened.first)
        except orjson.JSONDecodeError:
            return ""
        if not isinstance(answer, dict):
            return ""
        _read_usage(answer.get("usage"), exchange)
        model = answer.get("model")
        exchange.model = model if isinstance(model, str) and model else exchange.model
        return exchange.model or ""


class Leaving:
    """Cancels a request's task when its client goes away."""

    def __init__(self, task: asyncio.Task[Any], receive: Receive) -> None:
        self.left = False
        self._task, self._receive = task, receive
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        self._task.cancel()

    def end(self) -> None:
        self._watch.cancel()


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request. Raises Refusal where it breaks off."""
    message = await receive()
    if not message.get("more_body"):
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request broke off")
        return bytes(message.get("body", b""))
    pieces = [message.get("body", b"")]
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request broke off")
        pieces.append(message.get("body", b""))
    return b"".join(pieces)


def _read_usage(usage: Any, exchange: Exchange) -> None:
    if not isinstance(usage, dict):
        return
    exchange.prompt_tokens = _whole(usage.get("prompt_tokens"))
    exchange.output_tokens = _whole(usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    exchange.cached_tokens = _whole(details.get("cached_tokens")) if isinstance(details, dict) else None


def _whole(given: Any) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else None


def _cannot_embed(opened: Opened) -> bool:
    """Whether an upstream says that it has no embeddings: no such path, or no model for them."""
    if opened.status in (404, 405, 501):
        return b"does not exist" not in opened.first  # that is about the model's name
    return opened.status == 400 and b"mbedding" in opened.first
