"""What becomes of a run whose server is killed: every document gets its row, and the time that cost is stated."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docflow
from docflow.api import run
from docflow.runs import Progress, Run, RunOptions
from docflow.settings import Settings
from tests.bench.on_engines import work
from tests.engines.kit.servers import Server

AWAY_SECONDS = 5.0
"""How long the killed server stays dead before it is started again; coming up takes it a minute more."""


def measure(sglang: Server, vllm_url: str, folder: Path, count: int, page_tokens: int) -> dict[str, Any]:
    """A run with SGLang killed at a third of the way and started again, beside one that nothing disturbs."""
    program = work.program(folder, "receipt")
    calm = _run(sglang.url, vllm_url, folder / "calm", work.pages(folder, count), program, page_tokens)
    killed = threading.Event()
    helpers: list[threading.Thread] = []

    def kill() -> None:
        sglang.kill()
        time.sleep(AWAY_SECONDS)
        sglang.restart()

    stamps: list[tuple[float, int]] = []

    def watch(progress: Progress) -> None:
        stamps.append((time.monotonic(), progress.done))
        if progress.done >= count // 3 and not killed.is_set():
            killed.set()
            helpers.append(threading.Thread(target=kill))
            helpers[0].start()

    files = work.pages(folder, count)
    hard = _run(sglang.url, vllm_url, folder / "hard", files, work.program(folder, "receipt"), page_tokens, watch)
    for helper in helpers:
        helper.join()
    sglang.wait_ready()
    rows = docflow.open(folder / "hard").arrow(columns=["source", "status", "engine", "fallback"]).to_pylist()
    keys = Counter(row["source"] for row in rows)
    figures = {
        "documents": count,
        "rows": len(rows),
        "doubled": sum(1 for n in keys.values() if n > 1),
        "failed": sum(row["status"] == "failed" for row in rows),
        "by_fallback": sum(row["fallback"] for row in rows),
        "seconds": round(hard.working_seconds, 1),
        "calm_seconds": round(calm.working_seconds, 1),
        "lost_seconds": round(hard.working_seconds - calm.working_seconds, 1),
        "longest_pause_seconds": round(_longest_pause(stamps), 1),
        "killed": killed.is_set(),
    }
    print(f"\nfailover: {count} documents on SGLang with vLLM to stand in; SGLang killed at a third, started again")
    print(work.table(["", ""], [[key.replace("_", " "), value] for key, value in figures.items()]))
    return figures


def _run(
    sglang: str, vllm: str, out: Path, files: Sequence[Path], program: Any, page_tokens: int, watch: Any = None
) -> Run:
    settings = Settings(engine=f"sglang={sglang}", fallbacks=f"vllm={vllm}")
    extraction = settings.extraction.model_copy(
        update={"grounding": "off", "page_tokens": page_tokens, "max_tokens": 512, "timeout_seconds": 60}
    )
    options = RunOptions(
        sources=tuple(files),
        program=program,
        out=out,
        concurrency=8,
        runner="direct",
        settings=settings.model_copy(update={"extraction": extraction}),
    )
    return run(options, watch)


def _longest_pause(stamps: Sequence[tuple[float, int]]) -> float:
    """The longest time in which no document was finished."""
    longest, since, done = 0.0, stamps[0][0] if stamps else 0.0, 0
    for at, count in stamps:
        if count > done:
            longest, since, done = max(longest, at - since), at, count
    return longest
