"""The proof that an engine is of use: it reads a page of the samples, by a real program, grammar and image included.

What it is asked has short answers only: a small model may go on with a free text for ever.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, Field

from docflow.engines.started import Started
from docflow.errors import BadAnswer, EngineUnavailable
from docflow.settings import Settings

DOCUMENT = "receipt-001.jpg"


class FirstLook(BaseModel):
    """What a page is, at a first look."""

    kind: Literal["receipt", "invoice", "form", "letter"] | None = Field(None, description="what kind of page it is")
    currency: Literal["EUR", "USD", "GBP", "CHF"] | None = Field(None, description="the currency of its amounts")
    handwritten: bool | None = Field(None, description="whether it is written by hand")


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
            RunOptions(sources=(page,), program=FirstLook, engine=engine, settings=settings, runner="direct"),
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
