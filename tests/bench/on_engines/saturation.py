"""Documents a second of ``docflow extract``, over a bare load generator that sends the very same requests.

The requests are recorded from docflow itself, in front of a server that answers at once. The generator has nothing to
do but to send their bytes over connections that it keeps open, so many at a time, and to read the answers.

Docflow decodes and fits each page besides, about 25 ms of a core. Where the server computes on this machine's cores
too, that time is taken from the server, as it is not where a server has a GPU or a machine of its own: so with servers
that the bench started it measures twice, once with a core for the server and another for whoever asks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from docflow.api import run
from docflow.runs import Run, RunOptions
from docflow.settings import ServerSettings, Settings
from tests.bench.on_engines import work
from tests.engines.instant import InstantServer
from tests.engines.kit.servers import Server

LEVELS = (1, 8, 32)
MANY = 8
"""Beyond so many at a time three times the documents are sent, or the run is all beginning and end: it then takes about
as long as the others."""
AHEAD = 3
"""Documents in work beyond the requests at the server: those that are decoded, and those that are written."""
FLUSH = {"sglang": ("/flush_cache",), "vllm": ("/reset_prefix_cache", "/reset_mm_cache")}
"""What empties a server's caches; vLLM has these in its development mode only."""


def measure(
    kind: str,
    url: str,
    folder: Path,
    count: int,
    page_tokens: int,
    repeats: int,
    cores: str = "the server's machine has others",
    levels: Sequence[int] = LEVELS,
) -> dict[str, Any]:
    """Both at each concurrency, in turns; the best of ``repeats`` each, since what disturbs only makes slower.

    ``cores`` says which the server has, for the table's head.
    """
    program = work.program(folder, "receipt")
    pages = work.pages(folder, 3 * count if max(levels) > MANY else count)
    recorded = {len(files): _recorded(kind, files, program, page_tokens) for files in (pages[:count], pages)}
    cold = flush(kind, url)
    if not cold:
        asyncio.run(_replay(url, recorded[len(pages)], 4))  # both then find everything in the cache
    figures: dict[str, Any] = {"caches": "emptied before each" if cold else "warm for both"}
    rows = []
    for level in levels:
        files = pages if level > MANY else pages[:count]
        bodies = recorded[len(files)]
        bare, ours, whole = 0.0, 0.0, 0.0
        for _ in range(repeats):
            flush(kind, url)
            bare = max(bare, len(files) / asyncio.run(_replay(url, bodies, level)))
            flush(kind, url)
            done, seconds, _cpu = _extract(kind, url, files, program, page_tokens, level, "off")
            ours, whole = max(ours, done.documents_per_second), max(whole, len(files) / seconds)
        ratio = ours / bare
        rows.append([str(level), str(len(files)), bare, ours, ratio, whole / bare])
        figures[f"at_{level}"] = {
            "documents": len(files),
            "bare": round(bare, 3),
            "docflow": round(ours, 3),
            "ratio": round(ratio, 4),
            "ratio_with_start": round(whole / bare, 4),
        }
    print(f"\n{kind}: documents a second, caches {figures['caches']}; best of {repeats}")
    print(f"cores: {cores}")
    print(work.table(["at a time", "documents", "bare", "docflow", "ratio", "ratio with start-up"], rows))
    return figures


def _recorded(kind: str, files: Sequence[Path], program: Any, page_tokens: int) -> list[bytes]:
    """The bodies that docflow sends for these documents."""
    with InstantServer(kind) as instant:  # type: ignore[arg-type]
        _extract(kind, instant.url, files, program, page_tokens, 8, "off")
        bodies = [request.body for request in instant.requests]
    if len(bodies) != len(files):
        raise SystemExit(f"{len(bodies)} requests were recorded for {len(files)} documents")
    return bodies


@contextlib.contextmanager
def apart(server: Server) -> Iterator[bool]:
    """Meanwhile the server has the last core for itself, and this process, with what it starts, the others.

    Gives False where there is only one.
    """
    cores = os.sched_getaffinity(0)
    own = {max(cores)}
    if len(cores) < 2:
        yield False
        return
    server.keep_to(own)
    os.sched_setaffinity(0, cores - own)
    try:
        yield True
    finally:
        os.sched_setaffinity(0, cores)
        server.keep_to(cores)


def grounded(kind: str, url: str, folder: Path, count: int, page_tokens: int) -> dict[str, Any]:
    """What grounding adds: documents a second and CPU a page of docflow's processes, with it and without."""
    program = work.program(folder, "receipt")
    files = work.pages(folder, count)
    figures = {}
    rows = []
    for grounding in ("off", "full"):
        flush(kind, url)
        done, _, cpu = _extract(kind, url, files, program, page_tokens, 8, grounding)
        figures[grounding] = {"documents_per_second": round(done.documents_per_second, 3), "cpu_ms": round(cpu, 1)}
        rows.append([grounding, done.documents_per_second, f"{cpu:.0f} ms"])
    print(f"\n{kind}: grounding, {count} documents whose words are not known yet, 8 at a time")
    print(work.table(["grounding", "documents a second", "CPU a page"], rows))
    return figures


def flush(kind: str, url: str) -> bool:
    """Empty a server's caches; False where it cannot be told to."""
    for path in FLUSH[kind]:
        asked = urllib.request.Request(url + path, b"", method="POST")
        try:
            with urllib.request.urlopen(asked, timeout=30):
                pass
        except (urllib.error.URLError, OSError):
            return False
    time.sleep(0.3)
    return True


def _extract(
    kind: str, url: str, files: Sequence[Path], program: Any, page_tokens: int, level: int, grounding: str
) -> tuple[Run, float, float]:
    """A run, its wall seconds, and the CPU milliseconds a document that docflow and its processes took."""
    settings = Settings(engine=f"{kind}={url}", servers=ServerSettings(requests=level))
    extraction = settings.extraction.model_copy(
        update={"grounding": grounding, "page_tokens": page_tokens, "max_tokens": 512}
    )
    reading = settings.reading.model_copy(update={"cache": False})
    options = RunOptions(
        sources=tuple(files),
        program=program,
        concurrency=level + AHEAD,
        runner="direct",
        settings=settings.model_copy(update={"extraction": extraction, "reading": reading}),
    )
    with _cpu_of_processes() as cpu:
        started = time.perf_counter()
        done = run(options)
        seconds = time.perf_counter() - started
    if done.failed or done.invalid:
        raise SystemExit(f"{kind}: {done.failed + done.invalid} documents were not valid")
    return done, seconds, cpu[0] * 1000 / len(files)


@contextlib.contextmanager
def _cpu_of_processes() -> Any:
    """The CPU seconds of this process and of those that it starts and ends meanwhile."""

    def taken() -> float:
        times = psutil.Process().cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    before = taken()
    spent = [0.0]
    yield spent
    spent[0] = taken() - before


async def _replay(url: str, bodies: Sequence[bytes], level: int) -> float:
    """Send every body, ``level`` at a time; the seconds that took."""
    waiting = list(reversed(bodies))
    started = time.perf_counter()
    await asyncio.gather(*(_connection(url, waiting) for _ in range(level)))
    return time.perf_counter() - started


async def _connection(url: str, waiting: list[bytes]) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 24)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    while waiting:
        body = waiting.pop()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        writer.write(body)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise SystemExit(f"the load generator was refused: {answer[:200]!r}")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        json.loads(await reader.readexactly(int(length.split(b":")[1])))
    writer.close()
    await writer.wait_closed()
