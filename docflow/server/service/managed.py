"""Requests that are answered by models of this process: read, checked as the gateway's are, and sent to the manager.

Pure ASGI, as the gateway is. Only models that are offered can be named: aliases, what is in docflow's folder, what is
in the Hub's cache. A request opens no other file, and downloads nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from docflow.errors import (
    BrokenModel,
    CannotEmbed,
    DocflowError,
    EngineRefused,
    ModelBusy,
    ModelNotFound,
    NotEnoughMemory,
    UsageError,
)
from docflow.models import UnifiedModelManager
from docflow.models.requests import ChatRequest, CompletionRequest
from docflow.server.service.allowance import Allowances
from docflow.server.service.exchange import Exchange, exchange_of
from docflow.server.service.gateway.call import Call, Kind
from docflow.server.service.gateway.checks import PATHS, call_of, prompt_length
from docflow.server.service.gateway.handler import Leaving, Receive, Scope, Send, read_body
from docflow.server.service.gateway.relay import Relay
from docflow.server.service.keys import NOBODY
from docflow.server.service.refusals import RETRY_SECONDS, Refusal, refusal_of
from docflow.settings import Settings

App = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX = "/api"
"""Stands before the paths of the protocol where the manager alone answers."""
FRESH_SECONDS = 3.0
"""How long the list of what is on the disk is kept."""
_CHAT = ChatRequest.model_fields.keys() - {"model", "messages", "stream", "stream_options"}
_COMPLETION = CompletionRequest.model_fields.keys() - {"model", "prompt", "stream", "stream_options"}


@dataclass(slots=True)
class Managed:
    """The models of this process as routes know them."""

    manager: UnifiedModelManager
    relay: Relay
    allowances: Allowances
    settings: Settings
    _names: tuple[float, frozenset[str]] = (float("-inf"), frozenset())
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _at_work: int = 0

    # --- which models ---------------------------------------------------------------------------------------------

    async def offers(self, name: str) -> bool:
        """Whether requests may name this model."""
        if name in self.manager.router.configs.aliases or self.manager.catalogue.named(name) is not None:
            return True
        async with self._looking:
            at, names = self._names
            if name not in names and time.monotonic() - at >= FRESH_SECONDS:
                names = frozenset(await asyncio.to_thread(self.manager.names))
                self._names = (time.monotonic(), names)
        return name in names

    async def check_offered(self, name: str, *, by_default: bool = False) -> None:
        """Raises Refusal (404) for a model that is not offered. ``by_default`` says that nobody named it."""
        if not await self.offers(name):
            hint = "GET /models lists those that there are; docflow models pull NAME downloads further ones."
            raise Refusal(
                404,
                f"there is no model {name[:200]!r} here",
                code="model_not_found",
                hint=f"{self.manager.default_named} {hint}" if by_default else hint,
            )

    async def takes(self, name: str) -> bool:
        """Whether a request to ``/v1`` that names this model ("" for none) is the manager's, not an upstream's."""
        upstreams = [upstream.name for upstream, _ in self.relay.upstreams()]
        if not upstreams:
            return True
        if not name:
            return False
        try:
            if self.manager.loaded(name) is not None:
                return True
        except UsageError:
            return False
        if name in upstreams or any(one["id"] == name for one in self.relay.models()):
            return False
        return await self.offers(name)

    async def listed(self) -> list[dict[str, Any]]:
        """The models that are on this machine, as OpenAI's list has them: those that are loaded first."""
        described = [one for one in await self.manager.list_models() if one["present"] and not one["problem"]]
        return [
            {
                "id": one["id"],
                "object": "model",
                "created": 0,
                "owned_by": f"docflow-{one['backend']}",
                "max_model_len": one.get("context"),
            }
            for one in sorted(described, key=lambda one: not one["loaded"])
        ]

    # --- requests -------------------------------------------------------------------------------------------------

    def app(self, kind: Kind) -> App:
        """The application of a route that the manager alone answers."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            await self._handle(kind, await read_body(receive), scope, receive, send)

        return handle

    def before(self, kind: Kind, gateway: App) -> App:
        """The application of a route of the gateway's, which still answers for all models but the managed ones."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            raw = await read_body(receive)
            if await self.takes(_named(raw) or self.settings.serve.model):
                await self._handle(kind, raw, scope, receive, send)
            else:
                await gateway(scope, _again(raw, receive), send)

        return handle

    async def _handle(self, kind: Kind, raw: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        own = scope["path"].startswith(PREFIX)
        exchange.kind, exchange.route = kind, (PREFIX if own else "") + PATHS[kind]
        caller = exchange.caller or NOBODY
        self.allowances.take(caller)
        task = asyncio.current_task()
        assert task is not None
        watch = Leaving(task, receive)
        try:
            call = call_of(kind, raw, exchange.request_id, self.settings.gateway, self.settings.serve.model)
            name = call.model or self.manager.settings.default
            exchange.streamed, exchange.model = call.stream, name
            exchange.read(prompt_length(call))
            await self.check_offered(name, by_default=not call.model)
            with self.place():
                await self._answer(call, name, exchange, send)
        except asyncio.CancelledError:
            if not watch.left or task.uncancel() > 0:
                raise
            exchange.client_left = True
        except Refusal as refusal:
            if own and refusal.status == 400:  # on these paths a body that cannot be is said to be so by 422
                refusal.status = 422
            raise
        except DocflowError as error:
            raise refused(error, bad=422 if own else 400) from error
        finally:
            watch.end()
            self.allowances.used(caller, (exchange.prompt_tokens or 0) + (exchange.output_tokens or 0))

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request. Raises Refusal where too many are there."""
        serve = self.settings.serve
        if self._at_work >= self.manager.settings.requests + serve.waiting:
            raise Refusal(503, "too many requests are waiting", code="overloaded", retry_after=RETRY_SECONDS)
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1

    async def _answer(self, call: Call, name: str, exchange: Exchange, send: Send) -> None:
        manager, body = self.manager, call.body
        if call.kind == "embeddings":
            if "input" not in body:
                raise UsageError("input is missing")
            if body.get("dimensions") is not None:
                raise UsageError("dimensions: vectors are as long as the model gives them")
            answer = await manager.embed(
                body["input"], model=call.model or None, encoding_format=body.get("encoding_format") or "float"
            )
        elif call.stream:
            await self._stream(self._chunks(call), call, name, exchange, send)
            return
        elif call.kind == "chat":
            fields = {key: body[key] for key in _CHAT & body.keys()}
            answer = await manager.generate_chat_completion(body["messages"], model=call.model or None, **fields)
        else:
            fields = {key: body[key] for key in _COMPLETION & body.keys()}
            answer = await manager.generate_completion(body["prompt"], model=call.model or None, **fields)
        self._count(answer["usage"], name, exchange)
        content = orjson.dumps(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _chunks(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        body = call.body
        if call.kind == "chat":
            fields = {key: body[key] for key in _CHAT & body.keys()}
            return self.manager.stream_chat_completion(body["messages"], model=call.model or None, **fields)
        fields = {key: body[key] for key in _COMPLETION & body.keys()}
        return self.manager.stream_completion(body["prompt"], model=call.model or None, **fields)

    async def _stream(
        self, chunks: AsyncIterator[dict[str, Any]], call: Call, name: str, exchange: Exchange, send: Send
    ) -> None:
        try:
            first = await anext(chunks)  # what fails before it has a status of its own
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send(send, first)
            try:
                async for chunk in chunks:
                    if chunk.get("usage") is not None:
                        self._count(chunk["usage"], name, exchange)
                        if call.uncounted:
                            continue
                    await self._send(send, chunk)
            except DocflowError as error:
                exchange.error = type(error).__name__
                said = {"message": "the model broke off its answer", "type": "server_error", "param": None}
                await self._send(send, {"error": {**said, "code": "model_failed"}, "request_id": exchange.request_id})
            else:
                await self._send_bytes(send, b"data: [DONE]\n\n")
            await send({"type": "http.response.body", "body": b""})
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    async def _send(self, send: Send, event: Mapping[str, Any]) -> None:
        await self._send_bytes(send, b"data: " + orjson.dumps(event) + b"\n\n")

    async def _send_bytes(self, send: Send, piece: bytes) -> None:
        """A client that takes nothing for long is cut off: it holds up a model."""
        try:
            async with asyncio.timeout(self.settings.serve.body_seconds):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except TimeoutError:
            raise Refusal(408, "the client took nothing for too long", code="timeout") from None

    def _count(self, usage: Mapping[str, Any], name: str, exchange: Exchange) -> None:
        loaded = self.manager.loaded(name)
        exchange.upstream = loaded.model.backend if loaded is not None else None
        exchange.prompt_tokens = usage["prompt_tokens"]
        exchange.output_tokens = usage.get("completion_tokens", 0)
        exchange.cached_tokens = usage.get("prompt_tokens_details", {}).get("cached_tokens")


def refused(error: DocflowError, *, bad: int = 422, busy: int = 503) -> Refusal:
    """What an error of the manager's means to whoever asked. ``bad`` stands for requests that cannot be."""
    code, retry = type(error).__name__, getattr(error, "retry_after", None)
    statuses: dict[type[DocflowError], int] = {
        ModelNotFound: 404,
        ModelBusy: busy,
        NotEnoughMemory: 507,
        BrokenModel: 500,
        CannotEmbed: 501,
        EngineRefused: bad,
    }
    status = statuses.get(type(error))
    if isinstance(error, UsageError):
        status = bad
    if status is None:
        return refusal_of(error)
    if status == 404:
        code = "model_not_found"
    if status == 503:
        retry = retry or RETRY_SECONDS
    return Refusal(status, error.message, code=code, hint=error.hint, retry_after=retry)


def _named(raw: bytes) -> str:
    """The model that a body names; "" for none, and for a body that is none: whoever answers will say so."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ""
    name = body.get("model") if isinstance(body, dict) else None
    return name if isinstance(name, str) else ""


def _again(raw: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read once more; after it whatever comes."""
    given = False

    async def read() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": raw, "more_body": False}

    return read
