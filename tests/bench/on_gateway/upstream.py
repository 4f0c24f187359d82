"""An upstream that answers at once and costs next to nothing, so that what is measured is who stands before it.

    python -m tests.bench.on_gateway.upstream --port 9000

``GET /counts`` says what it has seen: requests, streams that run, and streams whose client went away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import uvloop

ANSWER = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "tiny",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "This is a document."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}
MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 0, "owned_by": "vllm"}]}
PIECES = 20


def _response(body: Any) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data


def _chunk(event: Any) -> bytes:
    data = b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"
    return b"%x\r\n" % len(data) + data + b"\r\n"


CHAT, LIST = _response(ANSWER), _response(MODELS)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = _chunk({"model": "tiny", "choices": [{"index": 0, "delta": {"content": "word "}}]})
USAGE = _chunk({"model": "tiny", "choices": [], "usage": ANSWER["usage"]})
END = _chunk(b"[DONE]") + b"0\r\n\r\n"
COUNTS = {"requests": 0, "running": 0, "left": 0}


class Connection(asyncio.Protocol):
    """One connection: a request at a time. A stream whose body names ``slow`` goes on until the client leaves."""

    def __init__(self) -> None:
        self._data = b""
        self._transport: Any = None
        self._running: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._running is not None and not self._running.done():
            COUNTS["left"] += 1
            self._running.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(rest) < length:
                return
            self._data = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /counts"):
            self._transport.write(_response(COUNTS))
        elif head.startswith(b"GET"):
            self._transport.write(LIST)
        elif b'"stream":true' in body or b'"stream": true' in body:
            COUNTS["requests"] += 1
            self._running = asyncio.get_running_loop().create_task(self._stream(b"slow" in body, b"_usage" in body))
        else:
            COUNTS["requests"] += 1
            self._transport.write(CHAT)

    async def _stream(self, slow: bool, counted: bool) -> None:
        COUNTS["running"] += 1
        try:
            self._transport.write(HEAD + EVENT)
            while slow:
                await asyncio.sleep(0.02)
                self._transport.write(EVENT)
            for _ in range(PIECES):
                await asyncio.sleep(0)
                self._transport.write(EVENT)
            self._transport.write((USAGE if counted else b"") + END)
        finally:
            COUNTS["running"] -= 1


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args().port))
