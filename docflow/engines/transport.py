"""The one seam over which servers are spoken to: JSON over HTTP, with bounds on time, size and connections.

It stands on aiohttp, whose event loop runs in one thread beside the callers: with a 300 KB body a call costs 0.3 ms of
CPU at any number of callers, where httpx takes 0.6 ms for one and 1.2 ms for 32 at once, and three times as long to
answer them (``tests/bench/transports.py``). It also bounds a whole call: httpx bounds each read, so that a server which
sends a byte now and then would hold a caller for ever.

Nothing is followed, and nothing is taken from the environment: no redirects, no proxies, no cookies, no netrc.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from docflow.engines.abandoning import current_call
from docflow.engines.base import ServerOptions
from docflow.errors import BadAnswer, ConfigError, EngineError, EngineRefused, EngineTimeout, EngineUnavailable

if TYPE_CHECKING:
    import aiohttp

MOST_ANSWER_BYTES = 64 * 1024 * 1024
"""A long answer with the probabilities of its tokens is a few megabytes; more is a fault, and must not fill memory."""
MOST_ERROR_BYTES = 64 * 1024
_LARGE_BODY = 1024 * 1024
_KEEP_SECONDS = 4.0  # both servers end an idle connection after 5 s: a request on its way then would be lost
_GRACE_SECONDS = 5.0
_MESSAGE_LENGTH = 300
_QUOTED = 16
_OVERFLOW = re.compile(r"context length|model length|max_model_len|longer than the|too many tokens|token count", re.I)
_IMAGES = re.compile(r"\bimages?\b", re.I)
_INPUT = re.compile(r"[\"']?\binput(_value)?[\"']?\s*[=:].*", re.S)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. ``shown`` is what may be printed: no credentials."""

    base: str
    shown: str
    authorization: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str, api_key: str = "") -> Address:
        """The address in a URL as users write it, with or without ``/v1`` at its end. Raises ConfigError."""
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigError("the URL of a server is not well formed", hint=_URL_HINT) from error
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ConfigError("the URL of a server is not well formed", hint=_URL_HINT)
        place = f"[{host}]" if ":" in host else host
        path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
        base = f"{parts.scheme}://{place}{f':{port}' if port else ''}{path}"
        authorization = ""
        if api_key:
            authorization = f"Bearer {api_key}"
        elif parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
        if not authorization.isascii() or not authorization.isprintable():
            raise ConfigError("the API key holds characters that no HTTP header takes")
        return cls(base, base, authorization)


_URL_HINT = "Write http://HOST:PORT or https://HOST."


class Transport:
    """Connections to one server. Safe to share among threads; every call returns or raises within its seconds."""

    def __init__(self, url: str, options: ServerOptions) -> None:
        """Raises ConfigError for a URL that is none."""
        self.address = Address.parse(url, options.api_key)
        self._options = options
        self._lock = threading.Lock()
        self._client: _Client | None = None
        self._finalizer: weakref.finalize[..., Transport] | None = None
        self._closed = False

    def get(self, path: str, seconds: float) -> Any:
        """The JSON behind a path. Raises EngineError."""
        return self._call("GET", path, None, seconds)

    def probe(self, path: str, seconds: float) -> bytes:
        """What stands behind a path, whatever it is, where the status is 2xx. Raises EngineError."""
        reply = self._reply("GET", path, None, seconds)
        if not 200 <= reply.status < 300:
            raise refusal(reply, self.address.shown, b"")
        return reply.body

    def post(self, path: str, body: bytes, seconds: float) -> Any:
        """The JSON that a server answers to a body of JSON. Raises EngineError."""
        return self._call("POST", path, body, seconds)

    def text(self, path: str, seconds: float) -> str:
        """The text behind a path. Raises EngineError."""
        reply = self._reply("GET", path, None, seconds)
        if reply.status != 200:
            raise refusal(reply, self.address.shown, b"")
        return reply.body.decode("utf-8", "replace")

    def close(self) -> None:
        """End what is under way, and give back the connections and the thread."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Give up what is under way, so that whoever waits for it fails now; what comes later gets new connections."""
        with self._lock:
            client, self._client = self._client, None
            if self._finalizer is not None:
                self._finalizer.detach()
        if client is not None:
            client.close()

    def _call(self, method: str, path: str, body: bytes | None, seconds: float) -> Any:
        reply = self._reply(method, path, body, seconds)
        if reply.status != 200:
            raise refusal(reply, self.address.shown, body or b"")
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"{self.address.shown} answered something that is not JSON") from error

    def _reply(self, method: str, path: str, body: bytes | None, seconds: float) -> Reply:
        shown = self.address.shown
        call = current_call()
        if call is not None:
            call.check()
        with self._lock:
            if self._closed:
                raise EngineUnavailable(f"the connections to {shown} are closed", retryable=False)
            if self._client is None:
                self._client = _Client(self.address, self._options)
                self._finalizer = weakref.finalize(
                    self, self._client.close
                )  # where nobody closes: at exit, at the latest
            future = self._client.start(method, path, body, seconds)
        try:
            if call is not None:
                call.waits_for(future)
            return future.result(seconds + _GRACE_SECONDS)
        except CancelledError as error:
            if call is not None:
                call.check()
            raise EngineUnavailable(f"the connections to {shown} are closed", retryable=not self._closed) from error
        except TimeoutError as error:  # the exchange bounds itself; this is for a thread that got no CPU
            raise EngineTimeout(f"{shown} did not answer within {seconds:g} s", hint=_TIMEOUT_HINT) from error
        finally:
            future.cancel()  # an interrupted caller leaves nothing behind


class _Client:
    """The event loop in its thread, and the session in it. Holds no reference to its Transport."""

    def __init__(self, address: Address, options: ServerOptions) -> None:
        self._address = address
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="docflow-transport", daemon=True)
        self._thread.start()

    def start(self, method: str, path: str, body: bytes | None, seconds: float) -> Future[Reply]:
        return asyncio.run_coroutine_threadsafe(self._exchange(method, path, body, seconds), self._loop)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_GRACE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GRACE_SECONDS)
        self._loop.close()

    async def _exchange(self, method: str, path: str, body: bytes | None, seconds: float) -> Reply:
        import aiohttp

        shown = self._address.shown
        # In pieces where it is large: one body would hold up the others. Small ones cost less as they are.
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body
        try:
            async with (
                asyncio.timeout(seconds),  # aiohttp's own total rounds up to whole seconds
                self._opened().request(
                    method, self._address.base + path, data=data, allow_redirects=False, headers=_HEADERS
                ) as response,
            ):
                return Reply(response.status, await read_body(response, shown), retry_after(response.headers))
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise failure(error, shown, self._options.connect_seconds, seconds) from error

    def _opened(self) -> aiohttp.ClientSession:
        """The session; made in its event loop, as it must be."""
        if self._session is None:
            self._session = open_session(self._address, self._options, self._socket)
        return self._session

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        for one in self._sockets:  # a connection with something left to send to a server that reads nothing stays open
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        await asyncio.sleep(0.01)  # connections that are closing are closed by the loop, once it turns again


def open_session(
    address: Address, options: ServerOptions, made: Callable[[aiohttp.AddrInfoType], socket.socket] | None = None
) -> aiohttp.ClientSession:
    """A session to one server, of the event loop that runs. ``made`` makes its sockets, where somebody counts them."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=options.connections, keepalive_timeout=_KEEP_SECONDS, socket_factory=made),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_seconds),
        headers={"Authorization": address.authorization} if address.authorization else {},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


def failure(error: Exception, shown: str, connect_seconds: float, seconds: float) -> EngineError:
    """What it means that an exchange with a server broke off (``aiohttp.ClientError``, ``OSError``)."""
    import aiohttp

    match error:
        case aiohttp.ConnectionTimeoutError():
            message = f"{shown} did not take a connection within {connect_seconds:g} s"
            return EngineUnavailable(message, hint=_AWAY_HINT)
        case TimeoutError():
            return EngineTimeout(f"{shown} did not answer within {seconds:g} s", hint=_TIMEOUT_HINT)
        case aiohttp.ClientConnectorCertificateError():
            message = f"the certificate of {shown} is not valid: {error.certificate_error}"
            return EngineUnavailable(message, retryable=False)
        case aiohttp.ClientConnectorSSLError():  # before the next: its number is OpenSSL's, no errno
            return EngineUnavailable(f"{shown} does not speak TLS as expected", hint=_TLS_HINT)
        case aiohttp.ClientConnectorError():
            # asyncio's own words repeat the address; the numbers of names that are not found are negative.
            number = error.os_error.errno
            reason = os.strerror(number) if number and number > 0 else error.os_error.strerror or "no such host"
            return EngineUnavailable(f"{shown} cannot be reached: {reason}", hint=_AWAY_HINT)
        case aiohttp.ClientResponseError():
            return EngineUnavailable(f"{shown} does not speak HTTP as expected", hint=_AWAY_HINT)
    return EngineUnavailable(f"{shown} broke off the connection ({type(error).__name__})")


def nobody_is_there(error: EngineError) -> bool:
    """Whether nothing takes connections there, which is known at once: not a server that is busy, slow or starting."""
    import aiohttp

    return isinstance(error.__cause__, aiohttp.ClientConnectorError)


async def read_body(response: aiohttp.ClientResponse, shown: str) -> bytes:
    """The body, or as much of an error's as anybody reads. Raises BadAnswer when it is too long."""
    good = response.status == 200
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if not good and len(content) > MOST_ERROR_BYTES:
            break
        if len(content) > MOST_ANSWER_BYTES:
            raise BadAnswer(f"{shown} answered more than {MOST_ANSWER_BYTES // (1024 * 1024)} MiB")
    return bytes(content)


_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
_AWAY_HINT = "See that the server runs and that the URL is right: docflow engines check URL."
_TLS_HINT = "Write http:// if the server has no certificate."
_TIMEOUT_HINT = (
    "Give it longer with extraction.timeout_seconds, or see what keeps the server: docflow engines check URL."
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: status, body, and the seconds after which the server wants to be asked again."""

    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds in a Retry-After header, which gives them, or a date; None where it says neither."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value) if value[:1].isdigit() else _seconds_until(value) if value else math.nan
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None  # 1e999 is a number too, and no time to come back


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()


def refusal(reply: Reply, shown: str, sent: bytes) -> EngineError:
    """The error that a status other than 200 means. ``sent`` is what no message may quote."""
    status, said = reply.status, said_by(reply.body, sent)
    message = f"{shown} answered {status}: {said}" if said else f"{shown} answered {status}"
    error: EngineError
    if status in (401, 403):
        hint = "Give the server's key as the environment variable DOCFLOW_API_KEY."
        return EngineUnavailable(f"{shown} answered {status}: it wants another API key", hint=hint, retryable=False)
    if 300 <= status < 400:
        hint = "docflow follows no redirects: give the URL to which this one leads."
        return EngineUnavailable(f"{shown} answered {status}, a redirect", hint=hint, retryable=False)
    if status in (408, 425, 429) or status >= 500 or status < 400:
        error = EngineUnavailable(message)
        error.retry_after, error.no_room = reply.retry_after, status == 429
        return error
    hint, elsewhere = "", False
    if _OVERFLOW.search(said) or status == 413:
        hint = "The pages and the answer do not fit the model's context: fewer pages, extraction.page_tokens or"
        hint += " extraction.max_tokens"
        hint, elsewhere = hint + " lower, or a server with a longer context.", True
    elif status == 404:
        hint, elsewhere = "See that the URL and the model are right: docflow engines check URL.", True
    elif _IMAGES.search(said):
        hint = "The server may take fewer images a request than the document has pages (--limit-mm-per-prompt on vLLM,"
        hint, elsewhere = hint + " --limit-mm-data-per-request on SGLang).", True
    refused = EngineRefused(message, hint=hint)
    refused.elsewhere = elsewhere
    return refused


def said_by(body: bytes, sent: bytes) -> str:
    """The message in an error's body, on one line, shortened, and without what it quotes of the request."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""  # a page of HTML, or a traceback: nothing for a user
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    if not isinstance(found, str):
        return ""
    text = " ".join(_without_quotes(_INPUT.sub("", found), sent).split())
    return text if len(text) <= _MESSAGE_LENGTH else text[: _MESSAGE_LENGTH - 1] + "…"


def _without_quotes(message: str, sent: bytes) -> str:
    """The message with ``…`` for each stretch of 16 characters or more that the request holds too."""
    text = json.dumps(message[: 4 * _MESSAGE_LENGTH], ensure_ascii=False)[1:-1]  # escaped, as it was sent
    kept: list[str] = []
    at = 0
    while at < len(text):
        length = _QUOTED
        if len(text) - at < length or text[at : at + length].encode("utf-8", "replace") not in sent:
            kept.append(text[at])
            at += 1
            continue
        while at + length < len(text) and text[at : at + length + 1].encode("utf-8", "replace") in sent:
            length += 1
        kept.append("…")
        at += length
    return "".join(kept).replace('\\"', '"').replace("\\n", " ")
