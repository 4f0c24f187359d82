"""An upstream over HTTP: a session on the service's own event loop for requests, the engines' transport for looks."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from docflow.engines.base import Health, ServerOptions
from docflow.engines.started import key_for
from docflow.engines.transport import (
    MOST_ANSWER_BYTES,
    MOST_ERROR_BYTES,
    Address,
    Reply,
    Transport,
    failure,
    open_session,
    refusal,
    retry_after,
)
from docflow.errors import BadAnswer, EngineError, EngineRefused, EngineTimeout, EngineUnavailable
from docflow.server.service.gateway.bodies import body_for
from docflow.server.service.gateway.call import Call, Opened
from docflow.server.service.gateway.stream import failed_at_once
from docflow.server.service.gateway.upstreams import Upstream
from docflow.settings import GatewaySettings, ServerSettings

if TYPE_CHECKING:
    import aiohttp

MODELS = "/v1/models"
_LARGE_BODY = 1024 * 1024


class HttpUpstream:
    """One server. ``send`` and ``open`` belong to the service's event loop, ``health`` and ``drop`` to any thread."""

    def __init__(self, spec: Upstream, servers: ServerSettings, gateway: GatewaySettings) -> None:
        """Nothing is sent yet. Raises ConfigError."""
        key = servers.api_key.get_secret_value() if servers.api_key and not spec.credentials else ""
        key = key_for(spec.target) or key
        if spec.credentials.startswith(":"):  # https://:KEY@host: a key of its own
            key = unquote(spec.credentials[1:])
        # As many connections as requests may come: the gate, not the connector, says how many do.
        self._options = ServerOptions(spec.model, key, servers.connect_seconds, connections=servers.requests + 8)
        self._spec, self._gateway = spec, gateway
        self._address = Address.parse(spec.target, key)
        self._looks = Transport(spec.target, self._options)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beginning: set[asyncio.Timeout] = set()
        self._urls: dict[str, Any] = {}
        self.models: tuple[dict[str, Any], ...] = ()

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = open_session(self._address, self._options)

    async def end(self) -> None:
        if self._session is not None:
            await self._session.close()

    def close(self) -> None:
        """Ends the looks; ``end`` ends the session, in its event loop."""
        self._looks.close()

    def drop(self) -> None:
        """Give up the requests whose answers have not begun: the server hangs."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._expire)

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        for one in self._beginning:
            one.reschedule(now)

    # --- how it is ----------------------------------------------------------------------------------------------

    def health(self) -> Health:
        """Look at its health path, and for its models where they are not known yet."""
        path, seconds = self._spec.health_path, self._spec.health_timeout
        try:
            said = self._looks.probe(path, seconds)
            if path == MODELS:
                self._learn(said)
        except EngineError as error:
            self.models = ()  # whoever answers here next may have others
            return Health(ok=False, detail=error.message, slow=isinstance(error, EngineTimeout))
        if not self.models:
            self._look_for_models(seconds)
        return Health(ok=True, model=self._spec.model or next((str(one["id"]) for one in self.models), ""))

    def _look_for_models(self, seconds: float) -> None:
        try:
            self._learn(self._looks.probe(MODELS, seconds))
        except EngineError:
            return  # it may well have no such path: then it is asked for whatever the client names

    def _learn(self, said: bytes) -> None:
        try:
            found = orjson.loads(said)["data"]
            self.models = tuple(dict(one) for one in found if isinstance(one.get("id"), str))[:1000]
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadAnswer(f"{self._address.shown} answered something that is no list of models") from error

    # --- requests -----------------------------------------------------------------------------------------------

    async def send(self, call: Call, model: str) -> Opened:
        import aiohttp
        from yarl import URL

        assert self._session is not None
        shown, seconds = self._address.shown, self._gateway.answer_seconds
        url = self._urls.get(call.path)
        if url is None:
            url = self._urls[call.path] = URL(self._address.base + call.path, encoded=True)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "X-Request-Id": call.request_id}
        if call.trace:
            headers["traceparent"] = call.trace
        body = body_for(call, model)
        # In pieces where it is large: written at once, it would hold up everybody else.
        data = io.BytesIO(body) if len(body) > _LARGE_BODY else body
        response: aiohttp.ClientResponse | None = None
        scope = asyncio.timeout(seconds)
        self._beginning.add(scope)
        kept = False
        try:
            async with scope:
                response = await self._session.post(url, data=data, headers=headers, allow_redirects=False)
                opened = await self._begun(call, response, body)
            kept = opened.rest is not None
            return opened
        except (aiohttp.ClientError, OSError) as error:
            raise failure(error, shown, self._options.connect_seconds, seconds) from error
        finally:
            self._beginning.discard(scope)
            if response is not None and not kept:
                # What was not read to its end cannot be used again; what was is back already.
                response.close()

    async def _begun(self, call: Call, response: aiohttp.ClientResponse, sent: bytes) -> Opened:
        status, shown = response.status, self._address.shown
        kind = response.headers.get("Content-Type", "application/json")
        if status in (401, 403):  # the gateway's own key, which is no fault of the client's
            raise EngineRefused(f"{shown} answered {status}: it wants another API key")
        if status == 429 or status >= 500 or 300 <= status < 400:
            said = await _some(response, MOST_ERROR_BYTES)
            raise refusal(Reply(status, said, retry_after(response.headers)), shown, sent)
        if status >= 400:
            said = await _some(response, MOST_ERROR_BYTES)
            return Opened(status, kind, said, retry_after=retry_after(response.headers))
        if not (call.stream and kind.startswith("text/event-stream")):
            whole = await _some(response, MOST_ANSWER_BYTES)
            if len(whole) > MOST_ANSWER_BYTES:
                raise BadAnswer(f"{shown} answered more than {MOST_ANSWER_BYTES // (1024 * 1024)} MiB")
            if not whole:
                raise EngineUnavailable(f"{shown} answered {status} and nothing else")
            return Opened(status, kind, whole)
        first = await response.content.readany()
        if not first:
            raise EngineUnavailable(f"{shown} ended its answer before it began")
        failed = failed_at_once(first)
        if failed is not None:
            raise EngineUnavailable(f"{shown} began its answer with an error")
        return Opened(status, kind, first, self._rest(response), response.close)

    async def _rest(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        import aiohttp

        shown, seconds = self._address.shown, self._gateway.silence_seconds
        content = response.content
        try:
            while True:
                async with asyncio.timeout(seconds):
                    piece = await content.readany()
                if not piece:
                    return
                yield piece
        except TimeoutError as error:
            raise EngineTimeout(f"{shown} said nothing for {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise failure(error, shown, self._options.connect_seconds, seconds) from error


async def _some(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body, or a little more of it than ``most``."""
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > most:
            break
    return bytes(content)
