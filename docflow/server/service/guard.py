"""What stands before every route: who asks, how much they may send, and what no answer may lack.

Pure ASGI, because it is on the way of every streamed byte. Bodies are counted as they arrive, whatever their header
says; clients that fall silent are cut off; errors become answers without internals.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from docflow.errors import stack_of
from docflow.server.service.exchange import STATE, Exchange, Observer
from docflow.server.service.keys import NOBODY, Keys
from docflow.server.service.refusals import Refusal, rendered
from docflow.settings import ServeSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("docflow.service")

OPEN = frozenset({"/", "/health", "/health/live", "/docs", "/openapi.json", "/favicon.ico"})
"""Paths that need no key: they hold nothing of anybody's."""
PUBLIC_PREFIX = "/static/"
MOST_HEADER_BYTES = 16_384
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class Guard:
    """The middleware. ``observers`` are told when a request begins and ends (more may join
    them while the service starts); ``local_hosts`` are the Host headers that
    are answered where there are no keys (against names that resolve to this machine), None for any."""

    def __init__(
        self,
        app: App,
        settings: ServeSettings,
        keys: Keys,
        observers: Sequence[Observer] = (),
        local_hosts: Callable[[], frozenset[str] | None] = lambda: None,
    ) -> None:
        self._app, self._settings, self._keys = app, settings, keys
        self._observers, self._local_hosts = observers, local_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))  # of a header that is sent twice, the first counts
        exchange = Exchange(scope["method"], scope["path"])
        given = headers.get(b"x-request-id", b"")
        if _REQUEST_ID.fullmatch(given):
            exchange.request_id = given.decode()
        exchange.observers = self._observers
        exchange.trace = headers.get(b"traceparent", b"").decode("latin-1")[:100]
        scope.setdefault("state", {})[STATE] = exchange
        body = _Body(receive, self._most_bytes(scope["path"]), self._settings.body_seconds, exchange)
        answer = _Answer(send, exchange, body)
        exchange.tell("begin")
        try:
            self._check(scope, headers, exchange, body)
            await self._app(scope, body, answer)
        except Refusal as refusal:
            await answer.refuse(refusal)
        except asyncio.CancelledError:
            exchange.client_left = True
            raise
        except Exception as error:  # noqa: BLE001 (the service's border: a fault here must not reach other requests)
            if body.refusal is None:
                exchange.error = type(error).__name__
                log.error("request %s: %s\n%s", exchange.request_id, type(error).__name__, stack_of(error))
            await answer.refuse(body.refusal or Refusal(500, "the service failed", code="InternalError"))
        finally:
            exchange.seconds = time.perf_counter() - exchange.started
            route = scope.get("route")  # the framework's, once it found one
            exchange.route = exchange.route or getattr(route, "path", "")
            exchange.tell("end")

    def _check(self, scope: Scope, headers: dict[bytes, bytes], exchange: Exchange, body: _Body) -> None:
        """Raises Refusal for a request that goes no further."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADER_BYTES:
            raise Refusal(431, "the headers of this request are too large")
        path = scope["path"]
        hosts = self._local_hosts()
        host = headers.get(b"host", b"").decode("latin-1")
        if hosts is not None and host not in hosts:
            raise Refusal(421, "this service does not answer to that host")
        origin = headers.get(b"origin")
        changes = scope["method"] not in ("GET", "HEAD")
        if changes and origin is not None and origin.decode("latin-1").partition("://")[2] != host:
            raise Refusal(403, "requests from other sites are not answered")
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        caller = self._keys.caller(authorization, headers.get(b"x-api-key", b"").decode("latin-1"))
        if caller is None and (path in OPEN or path.startswith(PUBLIC_PREFIX)):
            caller = NOBODY
        if caller is None:
            raise Refusal(401, "this service wants a key: Authorization: Bearer KEY", code="invalid_api_key")
        exchange.caller = caller
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > body.most:
            raise body.too_large()

    def _most_bytes(self, path: str) -> int:
        if path.startswith("/v1/jobs"):
            return self._settings.job_bytes
        return max(self._settings.request_bytes, self._settings.upload_bytes)


class _Body:
    """The request's body as it arrives: counted, and not waited for for ever."""

    def __init__(self, receive: Receive, most: int, seconds: float, exchange: Exchange) -> None:
        self.most = most
        self.refusal: Refusal | None = None
        self._receive, self._seconds, self._exchange = receive, seconds, exchange
        self._seen = 0
        self.whole = False

    def too_large(self) -> Refusal:
        return Refusal(413, f"the body of this request is larger than {self.most:,} bytes", code="too_large")

    async def __call__(self) -> MutableMapping[str, Any]:
        if self.whole:  # what comes now is the end of the connection
            message = await self._receive()
            self._exchange.client_left |= message["type"] == "http.disconnect"
            return message
        try:
            async with asyncio.timeout(self._seconds):
                message = await self._receive()
        except TimeoutError:
            self.refusal = Refusal(408, "the request did not arrive in time", code="timeout")
            raise self.refusal from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
            if self._seen > self.most:
                self.refusal = self.too_large()
                raise self.refusal
        else:
            self._exchange.client_left = True
        return message


class _Answer:
    """The answer on its way out: with the headers that every answer has, and its status kept for the exchange."""

    def __init__(self, send: Send, exchange: Exchange, request_body: _Body) -> None:
        self._send, self._exchange, self._request_body = send, exchange, request_body
        self._begun = self._replaced = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            if self._request_body.refusal is not None:  # which the framework took for a body that cannot be parsed
                refusal, self._request_body.refusal = self._request_body.refusal, None
                await self.refuse(refusal)
                self._replaced = True
                return
            self._begun = True
            self._exchange.status = message["status"]
            given = {name.lower() for name, _ in message.get("headers", ())}
            message["headers"] = [
                *message.get("headers", ()),
                *(header for header in _HEADERS if header[0] not in given),
                (b"x-request-id", self._exchange.request_id.encode()),
            ]
            if self._exchange.method == "POST" and not self._request_body.whole:
                # What is still to come is not waited for: a client might go on for ever.
                message["headers"].append((b"connection", b"close"))
        elif self._exchange.first_byte_seconds is None:
            self._exchange.first_byte_seconds = time.perf_counter() - self._exchange.started
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, unless an answer has begun: then it ends where it is."""
        if self._begun:
            return
        self._request_body.refusal = None
        exchange = self._exchange
        exchange.error = exchange.error or refusal.code or str(refusal.status)
        status, headers, body = rendered(refusal, exchange.path, exchange.request_id)
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})
