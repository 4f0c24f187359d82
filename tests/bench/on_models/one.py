"""One engine in a process of its own: a document through a program, then requests one by one and at once.

    python -m tests.bench.on_models.one ENTRY PROGRAM FOLDER AT_ONCE

ENTRY is an engine as ``--engine`` takes it, PROGRAM ``file.py:name``, FOLDER holds documents. Prints one JSON object.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from docflow import engines
from docflow.api import run
from docflow.engines.base import Engine, Request, Turn, Usage
from docflow.loading import load_program
from docflow.runs import RunOptions
from docflow.settings import Settings
from tests.bench.on_engines.work import Recorder

PAGE_TOKENS = 160
_nonce = itertools.count(1)


def main() -> None:
    entry, program, folder, at_once = sys.argv[1:5]
    started = time.monotonic()
    engine = engines.create(entry)
    health = engine.health()
    if not health.ok:
        print(json.dumps({"missing": health.detail}))
        return
    found: dict[str, Any] = {"model": health.model, "load_seconds": time.monotonic() - started}
    recorder = Recorder(engine)
    files = sorted(Path(folder).iterdir())
    found["first_seconds"] = _extract(recorder, program, files[:1])["seconds"]
    recorder.usages.clear()
    found |= _extract(recorder, program, files[1:])
    spent = recorder.spent
    found["usage"] = {"calls": spent.calls, "prompt": spent.prompt, "cached": spent.cached, "output": spent.output}
    if int(at_once) > 1:
        found["throughput"] = _throughput(engine, recorder.requests, int(at_once))
    recorder.close()
    print(json.dumps(found))


def _extract(engine: Engine, program: str, files: Sequence[Path]) -> dict[str, Any]:
    """The documents, one after the other."""
    settings = Settings()
    extraction = settings.extraction.model_copy(
        update={"grounding": "off", "page_tokens": PAGE_TOKENS, "max_tokens": 256}
    )
    options = RunOptions(
        sources=tuple(files),
        program=load_program(program),
        engine=engine,
        concurrency=1,
        runner="direct",
        settings=settings.model_copy(update={"extraction": extraction}),
    )
    started = time.monotonic()
    done = run(options)
    return {
        "documents": done.documents,
        "valid": done.valid,
        "invalid": done.invalid,
        "failed": done.failed,
        "errors": [error.error.message for error in done.errors[:3]],
        "seconds": time.monotonic() - started,
    }


def _throughput(engine: Engine, requests: Sequence[Request], at_once: int) -> dict[str, Any]:
    """The same requests one after the other and several at once, each time with words that nobody has cached."""
    wanted = [requests[number % len(requests)] for number in range(2 * at_once)]
    _ask(engine, wanted[:at_once], at_once)  # what is made once is made now
    seconds = {}
    spent = Usage()
    for name, workers in (("serial", 1), ("at_once", at_once)):
        seconds[name], usage = _ask(engine, wanted, workers)
        spent += usage
    return {
        "requests": len(wanted),
        "at_once": at_once,
        "serial_per_second": len(wanted) / seconds["serial"],
        "at_once_per_second": len(wanted) / seconds["at_once"],
        "ratio": seconds["serial"] / seconds["at_once"],
        "output_tokens_each": spent.output / (2 * len(wanted)),
    }


def _ask(engine: Engine, requests: Sequence[Request], workers: int) -> tuple[float, Usage]:
    fresh = []
    for request in requests:
        first, *rest = request.turns
        turns = (Turn(first.role, (f"Request {next(_nonce)}. ", *first.parts)), *rest)
        fresh.append(replace(request, turns=turns))
    started = time.monotonic()
    with ThreadPoolExecutor(workers) as threads:
        answers = list(threads.map(engine.answer, fresh))
    return time.monotonic() - started, sum((answer.usage for answer in answers), Usage())


if __name__ == "__main__":
    main()
