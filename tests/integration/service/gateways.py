"""A service on a port of its own, and upstreams that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import uvicorn

from docflow.server.service.app import service_app
from docflow.server.service.protocol import BoundedProtocol
from docflow.settings import load_settings
from tests.engines.loopback import LoopbackServer, Received, reset, response

KEY = "0123456789abcdef-team"
HEADERS = {"authorization": f"Bearer {KEY}"}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5"
    "ErkJggg=="
)

PIECES = ("Total", ": ", "12.50")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 5}}


class Upstream(LoopbackServer):
    """Speaks as an OpenAI-compatible server. ``requests`` are the generations it was asked for.

    ``status`` other than 200 is what it answers to these, with ``said``; ``does`` is done instead where it is set;
    ``left`` is set once a client went away in the middle; ``go`` holds back streams after their first piece.
    """

    def __init__(self, model: str = "tiny", *, port: int = 0) -> None:
        super().__init__(port)
        self.model = model
        self.status, self.headers = 200, dict[str, str]()
        self.said: dict[str, Any] = {"error": {"message": "no"}}
        self.health = 200
        self.does: Callable[[Received, asyncio.StreamWriter], Any] | None = None
        self.requests: list[Received] = []
        self.looks: list[str] = []
        self.left = threading.Event()
        self.go = threading.Event()
        self.go.set()

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if request.method == "GET":
            self.looks.append(request.path)
            models = {"object": "list", "data": [{"id": self.model, "object": "model", "owned_by": "vllm"}]}
            writer.write(response(self.health, models))
            return
        self.requests.append(request)
        if self.does is not None:
            await self.does(request, writer)
        elif self.status != 200:
            writer.write(response(self.status, self.said, self.headers))
        elif request.path == "/v1/embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            usage = {"prompt_tokens": 2, "total_tokens": 2}
            writer.write(response(200, {"object": "list", "data": data, "model": self.model, "usage": usage}))
        elif request.json().get("stream"):
            await self.stream(request.json(), writer)
        else:
            message = {"role": "assistant", "content": "".join(PIECES)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            writer.write(response(200, {"model": self.model, "choices": [choice], "usage": USAGE}))

    def events(self, body: Mapping[str, Any]) -> list[bytes]:
        """The events that this body's stream has."""
        said = [{"index": 0, "delta": {"content": piece}} for piece in PIECES]
        events: list[Any] = [{"model": self.model, "choices": [choice]} for choice in said]
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({"model": self.model, "choices": [], "usage": USAGE})
        return [*(f"data: {json.dumps(event)}\n\n".encode() for event in events), b"data: [DONE]\n\n"]

    async def stream(self, body: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number, event in enumerate(self.events(body)):
            await self.held_back(writer, number)
            writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def held_back(self, writer: asyncio.StreamWriter, number: int) -> None:
        while number and not self.go.is_set():
            if has_left(writer):
                self.left.set()
                raise ConnectionError
            await asyncio.sleep(0.005)


def has_left(writer: asyncio.StreamWriter) -> bool:
    """Whether the client has ended the connection; asyncio keeps its own half open."""
    return writer.transport.is_closing() or writer._reader.at_eof()  # type: ignore[attr-defined]


async def hang(request: Received, writer: asyncio.StreamWriter) -> None:
    """Say nothing, for ever."""
    await asyncio.sleep(600)


async def break_off(request: Received, writer: asyncio.StreamWriter) -> None:
    """End the connection without a word."""
    reset(writer)


async def break_before_the_first_byte(request: Received, writer: asyncio.StreamWriter) -> None:
    """Say that all is well, and end the connection."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(0.05)
    reset(writer)


async def break_in_the_middle(request: Received, writer: asyncio.StreamWriter) -> None:
    """Begin an answer and end the connection."""
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "To"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head + f"{len(event):x}\r\n".encode() + event + b"\r\n")
    await writer.drain()
    await asyncio.sleep(0.2)
    reset(writer)


async def half_an_answer(request: Received, writer: asyncio.StreamWriter) -> None:
    """Promise more than comes."""
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"choices"')
    await writer.drain()
    reset(writer)


@contextlib.contextmanager
def serving(**flags: Any) -> Iterator[httpx.Client]:
    """A service with these settings (``gateway__upstreams=...``), and a client that has a key."""
    given = {"serve.keys": f"team={KEY};ops:admin=0123456789abcdef-ops", "gateway.answer_seconds": 20}
    given |= {name.replace("__", "."): value for name, value in flags.items()}
    app = service_app(load_settings(given))
    config = uvicorn.Config(
        app,
        port=0,
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="service", daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


def chat(text: str = "read", **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is true that others bring about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
