"""What one call to a server costs the client, over httpx and over aiohttp.

An instant server in a process of its own reads a body with a data: URI of 300 KB and answers at once; 1, 8 and 32
threads call it. Printed are CPU milliseconds a call in the client's process, and latencies. No engine is needed:

    python tests/bench/transports.py [--calls 600] [--kilobytes 300]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

ANSWER = json.dumps(
    {
        "id": "x",
        "model": "instant",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"total": "1.00"}'}}
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 8, "total_tokens": 1008},
    }
).encode()


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            await reader.readexactly(size)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
                + ANSWER
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_connection, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def instant_server() -> Iterator[str]:
    """A server of its own process that answers every POST at once."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1/chat/completions"
    finally:
        process.terminate()
        process.wait()


Send = Callable[[str, bytes], bytes]
HEADERS = {"Content-Type": "application/json"}


@contextmanager
def over_httpx(connections: int) -> Iterator[Send]:
    import httpx

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    with httpx.Client(limits=limits, trust_env=False, timeout=30) as client:
        yield lambda url, body: client.post(url, content=body, headers=HEADERS).content


@contextmanager
def over_aiohttp(connections: int) -> Iterator[Send]:
    import aiohttp

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def opened() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections), timeout=aiohttp.ClientTimeout(total=30)
        )

    session = asyncio.run_coroutine_threadsafe(opened(), loop).result()

    async def post(url: str, body: bytes) -> bytes:
        async with session.post(url, data=body, headers=HEADERS, allow_redirects=False) as response:
            return await response.read()

    yield lambda url, body: asyncio.run_coroutine_threadsafe(post(url, body), loop).result()
    asyncio.run_coroutine_threadsafe(session.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


TRANSPORTS = {"httpx": over_httpx, "aiohttp": over_aiohttp}


def measure(send: Send, url: str, body: bytes, calls: int, at_once: int) -> dict[str, float]:
    """CPU and wall milliseconds a call, median and 95th percentile of the latencies."""

    def one(_: int) -> float:
        begun = time.perf_counter()
        assert send(url, body)
        return (time.perf_counter() - begun) * 1000

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(one, range(at_once * 4)))
        cpu, wall = time.process_time(), time.perf_counter()
        latencies = sorted(threads.map(one, range(calls)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "cpu_ms": cpu / calls * 1000,
        "wall_ms": wall / calls * 1000,
        "p50_ms": statistics.median(latencies),
        "p95_ms": latencies[int(len(latencies) * 0.95)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--kilobytes", type=int, default=300)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve())
        return
    body = (
        b'{"messages":[{"role":"user","content":"data:image/jpeg;base64,' + b"A" * (options.kilobytes * 1024) + b'"}]}'
    )
    rows: list[dict[str, Any]] = []
    print(f"{'transport':10} {'at once':>7} {'CPU ms':>8} {'wall ms':>8} {'p50 ms':>8} {'p95 ms':>8}")
    with instant_server() as url:
        for at_once in (1, 8, 32):
            for name, opened in TRANSPORTS.items():
                with opened(at_once) as send:
                    row = measure(send, url, body, options.calls, at_once)
                rows.append({"transport": name, "at_once": at_once, **{key: round(row[key], 3) for key in row}})
                print(f"{name:10} {at_once:7} " + " ".join(f"{row[key]:8.2f}" for key in row))
    print(json.dumps({"kilobytes": options.kilobytes, "calls": options.calls, "rows": rows}))


if __name__ == "__main__":
    main()
