"""How many prompt tokens a server computes, over the least that the work can need.

The least is: the prefix that all documents share once, and of each document the rest of its last and longest prompt
once. A program's calls go on from one another, so that prompt holds each page once and each call's own words once.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docflow.api import run
from docflow.documents import Decoder, find
from docflow.engines.base import Engine, Limits, Request, Turn, Usage, WantJson
from docflow.program import instructions
from docflow.runs import RunOptions
from docflow.settings import Settings
from tests.bench.on_engines import work

BLOCK = {"sglang": 1, "vllm": 32}
"""Tokens of a block of the prefix cache: SGLang's goes by the token; 32 is the least that vLLM takes on a CPU."""
SCENARIOS = {"receipts of a known kind": "receipt", "auto: classify, then extract": "auto", "a repair round": "strict"}
CONCURRENCY = 4


def measure(kind: str, url: str, folder: Path, count: int, page_tokens: int, block: int) -> dict[str, Any]:
    """Each scenario on one server, and beside them the first one's work asked image first, a request a question."""
    figures: dict[str, Any] = {}
    rows = []
    for title, name in SCENARIOS.items():
        figure = _scenario(kind, url, folder, name, count, page_tokens, block)
        figures[name] = figure
        rows.append([title, *(figure[key] for key in COLUMNS)])
    first = _image_first(kind, url, folder, count, page_tokens)
    least = figures["receipt"]["least"]
    figures["image_first"] = {"computed": first.prompt - first.cached, "ratio": (first.prompt - first.cached) / least}
    figures["no_cache"] = {"computed": figures["receipt"]["prompt"], "ratio": figures["receipt"]["prompt"] / least}
    print(f"\n{kind}: {count} documents of one page ({page_tokens} image tokens at most), {CONCURRENCY} at a time")
    print(work.table(["", "calls", "prompt", "computed", "least", "rounding", "ratio", "beyond rounding"], rows))
    print(f"the known kind, image first, one request a question: {first.prompt - first.cached} computed, "
          f"{figures['image_first']['ratio']:.2f} times the least")  # fmt: skip
    print(f"the known kind, one call a record, without any cache: {figures['no_cache']['ratio']:.2f} times the least")
    return figures


COLUMNS = ("calls", "prompt", "computed", "least", "rounding", "ratio", "beyond_rounding")


def _scenario(kind: str, url: str, folder: Path, name: str, count: int, page_tokens: int, block: int) -> dict[str, Any]:
    program = work.program(folder, name)
    files = work.pages(folder, count)
    recorder = work.Recorder(work.connect(kind, url))
    done = _extract(files, program, recorder, page_tokens)
    if done.failed:
        raise SystemExit(f"{kind}: {done.failed} documents failed: {done.errors[0].error.message}")
    shared = _shared_tokens(url, recorder.model, recorder.requests[0])
    recorder.close()
    least, rounding, seen = shared, 0, False
    for usages in recorder.usages.values():
        least += max(usage.prompt for usage in usages) - shared
        before = shared if seen else 0
        for usage in usages:
            rounding += before % block
            before = usage.prompt
        seen = True
    spent = recorder.spent
    computed = spent.prompt - spent.cached
    return {
        "calls": spent.calls,
        "prompt": spent.prompt,
        "computed": computed,
        "least": least,
        "rounding": rounding,
        "ratio": round(computed / least, 4),
        "beyond_rounding": round(computed / (least + rounding), 4),
    }


def _extract(files: Sequence[Path], program: Any, engine: Engine, page_tokens: int) -> Any:
    settings = Settings()
    extraction = settings.extraction.model_copy(
        update={"grounding": "off", "page_tokens": page_tokens, "max_tokens": 512}
    )
    options = RunOptions(
        sources=tuple(files),
        program=program,
        engine=engine,
        concurrency=CONCURRENCY,
        runner="direct",
        settings=settings.model_copy(update={"extraction": extraction}),
    )
    return run(options)


def _shared_tokens(url: str, model: str, request: Request) -> int:
    """How many tokens every prompt of a program begins with: the system turn and what opens the image."""
    system = request.turns[0].text
    text = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    body = json.dumps({"model": model, "prompt": text, "add_special_tokens": False}).encode()
    asked = urllib.request.Request(f"{url}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as response:
        return int(json.load(response)["count"])


def _image_first(kind: str, url: str, folder: Path, count: int, page_tokens: int) -> Usage:
    """The same fields asked one at a time, each with the image before the instructions: how it is often done."""
    program = work.program(folder, "receipt")
    assert program.model is not None
    schema = program.schema
    text = instructions(program.model)
    limits = Limits(max_tokens=64, page_tokens=page_tokens)
    spent = Usage()
    engine = work.connect(kind, url)
    with Decoder(workers=1) as decoder:
        for item in find([str(path) for path in work.pages(folder, count)]):
            page = decoder.open(item).pages[0]
            for key, field in schema["properties"].items():
                question = (page, f"{text}Read the field {key}.")
                want = WantJson(_only(schema, key, field))
                spent += engine.answer(Request((Turn("user", question),), want, limits=limits)).usage
    engine.close()
    return spent


def _only(schema: Mapping[str, Any], key: str, field: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "properties": {key: field}, "required": [key]}
