"""The proof that an engine is of use: it reads a page of the samples, by a real program, grammar and image included."""

from __future__ import annotations

from importlib import resources
from typing import Any

from docflow.engines.started import Started
from docflow.errors import BadAnswer, EngineUnavailable
from docflow.settings import Settings

PROGRAM = "receipt"
DOCUMENT = "receipt-001.jpg"


def read_a_page(started: Started, settings: Settings, seconds: float) -> str:
    """Extract a record from a page of the samples; the row's status, ``valid`` or ``invalid``.

    Whether the record is right is not asked: a model may be small. Raises EngineUnavailable where the engine could not
    answer, BadAnswer where what it answered is no record.
    """
    from docflow.engines import EngineSpec, create_one
    from docflow.runs import RunOptions, execute

    page = (resources.files("docflow.sample_files") / "documents" / DOCUMENT).read_bytes()
    extraction = settings.extraction.model_copy(
        update={"timeout_seconds": seconds, "repairs": 0, "verify_below": None, "cheap_first_below": None}
    )
    settings = settings.model_copy(update={"extraction": extraction, "fallbacks": ""})
    engine = create_one(EngineSpec.parse(started.spec), settings.servers)
    results: list[Any] = []
    try:
        execute(
            RunOptions(sources=(page,), program=PROGRAM, engine=engine, settings=settings, runner="direct"),
            on_result=results.append,
        )
    finally:
        engine.close()
    [result] = results
    if result.status == "failed":
        kind = BadAnswer if result.error.type == "BadAnswer" else EngineUnavailable
        raise kind(
            f"{started.kind} runs, but could not read a page: {result.error.message}",
            hint=result.error.hint or f"The log is {started.log}.",
        )
    return str(result.status)
