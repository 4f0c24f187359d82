"""What the gateway costs before an upstream that answers at once, beside a bare relay and the LiteLLM proxy.

    python tests/bench/gateway.py [--check] [--no-litellm] [--soak MINUTES]

Times are those of a client, from when a request was due, against the same upstream asked directly in turn. Requests a
core are requests over the seconds of CPU that the relaying process has used (``/proc``), which other work on the
machine changes little. The last line is one JSON object; with --check, targets that were missed give exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.on_gateway import processes
from tests.bench.on_gateway.load import Load, Taken, percentile
from tests.bench.on_gateway.processes import KEY, Running

TEXT = "Read this receipt and give its total as JSON. " * 12
CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": TEXT}], "temperature": 0}
BODY = json.dumps(CHAT).encode()
STREAM = json.dumps(CHAT | {"stream": True}).encode()
SLOW = json.dumps(CHAT | {"stream": True, "user": "slow"}).encode()

RATE = 100.0
ADDED_P50, ADDED_P99, ADDED_FIRST = 3.0, 15.0, 3.0
TIMES_LITELLM = 10.0
MEMORY_GROWTH = 1.10
AT_ONCE = 20


def table(title: str, heads: list[str], rows: list[list[Any]]) -> None:
    print(f"\n{title}\n")
    shown = [heads, *([f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in shown) for at in range(len(heads))]
    for name, *cells in shown:
        print("  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))


async def in_turn(direct: Load, relayed: Load, seconds: float, rounds: int) -> tuple[Taken, Taken]:
    """Both at the same rate, one after the other, several times: what else the machine does meets both."""
    one, other = Taken(), Taken()
    for _ in range(rounds):
        for load, taken in ((direct, one), (relayed, other)):
            found = await load.at(RATE, seconds / rounds)
            taken.first += found.first
            taken.whole += found.whole
            taken.statuses = dict(Counter(taken.statuses) + Counter(found.statuses))
    return one, other


async def added(upstream: Running, gateway: Running, body: bytes, seconds: float, name: str) -> dict[str, float]:
    direct, relayed = Load(upstream.url, body), Load(gateway.url, body, KEY)
    for load in (direct, relayed):
        await load.at(RATE, 1)
    before = gateway.cpu_seconds()
    one, other = await in_turn(direct, relayed, seconds, rounds=4)
    cpu = (gateway.cpu_seconds() - before) / len(other.whole) * 1000
    direct.close()
    relayed.close()
    shares = (0.5, 0.95, 0.99)
    rows: list[list[Any]] = []
    for who, taken in (("direct", one), ("gateway", other)):
        firsts = [percentile(taken.first, share) for share in shares]
        wholes = [percentile(taken.whole, share) for share in shares]
        rows.append([who, len(taken.whole), taken.failed, *firsts, *wholes])
    rows.append(["added", "", "", *(rows[1][at] - rows[0][at] for at in range(3, 9))])
    heads = ["", "requests", "failed", "first p50", "p95", "p99", "whole p50", "p95", "p99"]
    table(f"{name}, {RATE:g} requests a second, in ms ({cpu:.2f} ms of CPU each)", heads, rows)
    extra = rows[2]
    return {
        "added_first_p50_ms": extra[3],
        "added_first_p99_ms": extra[5],
        "added_p50_ms": extra[6],
        "added_p99_ms": extra[8],
        "cpu_ms": cpu,
        "failed": one.failed + other.failed,
    }


async def saturated(who: Running, key: str, seconds: float) -> dict[str, float]:
    load = Load(who.url, BODY, key)
    await load.saturated(AT_ONCE, min(2.0, seconds))
    before = who.cpu_seconds()
    taken = await load.saturated(AT_ONCE, seconds)
    cpu = who.cpu_seconds() - before
    load.close()
    good = len(taken.whole) - taken.failed
    return {
        "requests_second": good / taken.seconds,
        "requests_core": good / cpu,
        "cpu_ms": cpu / max(1, good) * 1000,
        "p50_ms": percentile(taken.whole, 0.5),
        "p99_ms": percentile(taken.whole, 0.99),
        "failed": taken.failed,
    }


async def left(upstream: Running, gateway: Running, count: int) -> dict[str, Any]:
    """Clients that go away after the first byte: how soon the upstream knows."""
    load = Load(gateway.url, SLOW, KEY)
    before = counts(upstream)["left"]
    await load.leave(count)
    began = time.monotonic()
    while counts(upstream)["running"] and time.monotonic() - began < 10:
        await asyncio.sleep(0.005)
    seconds = time.monotonic() - began
    cancelled = counts(upstream)["left"] - before
    print(
        f"\nClients gone: {cancelled} of {count} streams ended at the upstream, the last {seconds * 1000:.0f} ms after"
    )
    return {"gone": count, "cancelled": cancelled, "last_ms": seconds * 1000}


def counts(upstream: Running) -> dict[str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=10)
    try:
        connection.request("GET", "/counts")
        found: dict[str, int] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


async def soak(minutes: float, rate: float, folder: Path) -> dict[str, Any]:
    """A steady load while two upstreams are killed and started again in turn."""
    with processes.upstream() as a, processes.upstream() as b:
        named = f"vllm={a.url};sglang={b.url}"
        with processes.gateway(named, "vllm=sglang;", folder) as gateway:
            plain, streams = Load(gateway.url, BODY, KEY), Load(gateway.url, STREAM, KEY)
            memory: list[float] = []
            kills = 0
            running = asyncio.gather(plain.at(rate * 0.8, minutes * 60), streams.at(rate * 0.2, minutes * 60))
            turn = [a, b]
            began = time.monotonic()
            while not running.done():
                await asyncio.wait([running], timeout=5)
                memory.append(gateway.memory_mb())
                if running.done() or time.monotonic() - began > minutes * 60 - 12:
                    continue
                turn[0].kill()
                kills += 1
                await asyncio.sleep(3)
                await asyncio.to_thread(turn[0].start)
                await asyncio.sleep(6)  # its rest is over, and it has been looked at
                turn.reverse()
            one, other = await running
    warm = memory[len(memory) // 4 :] or memory
    third = max(1, len(warm) // 3)
    growth = statistics.median(warm[-third:]) / statistics.median(warm[:third])
    statuses = {
        status: one.statuses.get(status, 0) + other.statuses.get(status, 0) for status in one.statuses | other.statuses
    }
    heads = ["minutes", "requests", "not 200", "kills", "MiB first", "MiB last", "growth"]
    row = [minutes, sum(statuses.values()), one.failed + other.failed, kills, memory[0], memory[-1], growth]
    table(f"Soak at {rate:g} requests a second: {statuses}", heads, [row])
    return {
        "minutes": minutes,
        "requests": sum(statuses.values()),
        "lost": one.failed + other.failed,
        "kills": kills,
        "memory_growth": growth,
        "memory_mb": [memory[0], memory[-1]],
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(processes.upstream())
        gateway = stack.enter_context(processes.gateway(f"vllm={upstream.url}", "", folder))
        found["chat"] = await added(upstream, gateway, BODY, options.seconds, "Chat")
        found["stream"] = await added(upstream, gateway, STREAM, options.seconds, "Stream")
        found["left"] = await left(upstream, gateway, 20)
        rows: dict[str, dict[str, float]] = {"gateway": await saturated(gateway, KEY, options.seconds / 2)}
        with processes.bare(upstream.url) as bare:
            rows["FastAPI + httpx"] = await saturated(bare, "", options.seconds / 2)
        if not options.no_litellm:
            with processes.litellm(upstream.url, options.cache, folder) as litellm:
                rows["LiteLLM proxy"] = await saturated(litellm, f"sk-{KEY}", options.seconds / 2)
        rows["upstream alone"] = await saturated(upstream, "", options.seconds / 2)
        heads = ["", "requests/s", "requests/s a core", "CPU ms", "p50 ms", "p99 ms", "failed"]
        lines = [[who, *row.values()] for who, row in rows.items()]
        table(f"Saturated, {AT_ONCE} at a time", heads, lines)
        found["saturated"] = rows
        if options.soak:
            found["soak"] = await soak(options.soak, options.soak_rate, folder)
    return found


def missed(found: dict[str, Any]) -> list[str]:
    """The targets that were not reached."""
    rows = found["saturated"]
    reached = {
        f"chat: p50 added within {ADDED_P50:g} ms": found["chat"]["added_p50_ms"] <= ADDED_P50,
        f"chat: p99 added within {ADDED_P99:g} ms": found["chat"]["added_p99_ms"] <= ADDED_P99,
        f"stream: first byte added within {ADDED_FIRST:g} ms": found["stream"]["added_first_p50_ms"] <= ADDED_FIRST,
        "nothing failed": not found["chat"]["failed"] + found["stream"]["failed"],
        "streams whose clients left are ended": found["left"]["cancelled"] == found["left"]["gone"],
    }
    if "LiteLLM proxy" in rows:
        times = rows["gateway"]["requests_core"] / rows["LiteLLM proxy"]["requests_core"]
        found["times_litellm"] = times
        reached[f"{TIMES_LITELLM:g} times the LiteLLM proxy a core (it is {times:.1f})"] = times >= TIMES_LITELLM
    if "soak" in found:
        reached["soak: nothing lost"] = not found["soak"]["lost"]
        reached[f"soak: memory grows by {MEMORY_GROWTH - 1:.0%} at most"] = (
            found["soak"]["memory_growth"] <= MEMORY_GROWTH
        )
    return [target for target, well in reached.items() if not well]


def main() -> int:
    parser = argparse.ArgumentParser(description="What the gateway costs.")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each measurement")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--soak-rate", type=float, default=50.0, metavar="REQUESTS", help="a second")
    parser.add_argument("--no-litellm", action="store_true", help="leave the LiteLLM proxy out")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a target is missed")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "docflow-bench", metavar="DIR")
    options = parser.parse_args()
    found = uvloop.run(measure(options))
    found["missed"] = missed(found)
    for target in found["missed"]:
        print(f"missed: {target}")
    print(json.dumps(found))
    return 1 if options.check and found["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
