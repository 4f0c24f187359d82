"""One document through one program: ask, normalise, validate, ask again what failed, ground, and say how it went."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from docflow.documents.model import Document, Page
from docflow.engines.base import Engine, Limits, Usage
from docflow.engines.bridge import run_program
from docflow.errors import DocflowError, InternalError
from docflow.extraction.asking import Window, readings_of, repair
from docflow.extraction.grounding import Grounder
from docflow.extraction.merging import merge
from docflow.extraction.record import Record, locale_of
from docflow.extraction.result import ErrorInfo, PageInfo, Result
from docflow.program import KIND, Program
from docflow.settings import ExtractionSettings, Grounding

log = logging.getLogger("docflow.extraction")

READ_AHEAD = 4
"""Pages of one document that are read side by side."""


def extract_document(
    document: Document, program: Program, engine: Engine, settings: ExtractionSettings | None = None
) -> Result[Any]:
    """One document through one program. What goes wrong with it is in the Result, whose status is then ``failed``."""
    settings = settings or ExtractionSettings()
    started = time.perf_counter()
    blank: Result[Any] = Result(
        document_id=document.id,
        source=document.source,
        media_type=document.media_type,
        pages=tuple(PageInfo.of(page) for page in document.pages),
        program=program.name,
        program_version=program.version,
        requested_program=program.name,
        requested_engine=engine.name,
        requested_model=engine.model,
        engine=engine.name,
        model=engine.model,
        status="failed",
        grounding=settings.grounding,
    )
    try:
        result = _extract(document, program, engine, settings, blank)
    except DocflowError as error:
        result = replace(blank, error=ErrorInfo.of(error))
    except Exception as error:  # the border of one document: a fault here must not reach its neighbours
        log.exception("document %s failed", document.id)
        fault = InternalError(f"{type(error).__name__}: {error}")
        result = replace(blank, error=ErrorInfo.of(fault))
    return replace(result, seconds=time.perf_counter() - started)


def _extract(
    document: Document, program: Program, engine: Engine, settings: ExtractionSettings, blank: Result[Any]
) -> Result[Any]:
    with _reading_ahead(_grounded(document.pages, settings.grounding)):
        chosen, windows = _ask(document, program, engine, settings)
        record = _record(chosen, windows, settings)
        repair(record, windows, settings.repairs)
    last = windows[-1].talk.bridge.answers[-1]
    validated, _ = record.validate()
    problems = record.problems()
    error = None
    if problems:
        message = "; ".join(f"{path or 'record'}: {text}" for path, text in problems[:5])
        error = ErrorInfo(
            "validate", "ValidationError", message, "The record is kept as it is; look at its evidence.", False
        )
    return replace(
        blank,
        program=chosen.name,
        program_version=chosen.version,
        status="invalid" if problems else "valid",
        record=validated,
        data=record.data(),
        evidence=tuple(record.evidence()),
        answer=last.text if problems else None,
        error=error,
        usage=sum((window.usage for window in windows), Usage()),
        engine=last.engine or engine.name,
        model=last.model or engine.model,
    )


def _ask(
    document: Document, program: Program, engine: Engine, settings: ExtractionSettings
) -> tuple[Program, list[Window]]:
    """Every window of pages asked once, and the program that was chosen. Raises EngineError and ProgramError."""
    limits = Limits(max_tokens=settings.max_tokens, timeout_seconds=settings.timeout_seconds)
    size = settings.pages_per_call or max(1, len(document.pages))
    parts = [document.pages[start : start + size] for start in range(0, len(document.pages), size)]
    windows = [Window(pages, run_program(program, pages, engine, limits)) for pages in parts]
    if not program.kinds:
        return program, windows
    kinds = [window.talk.answer(KIND).text for window in windows]
    chosen = program.kind_named(_majority(kinds))
    for number, kind in enumerate(kinds):
        if kind != chosen.name:  # pages that look like another kind, such as terms, still belong to the document
            again = Window(parts[number], run_program(chosen, parts[number], engine, limits))
            windows[number] = replace(again, spent=windows[number].talk.usage)
    return chosen, windows


def _record(program: Program, windows: Sequence[Window], settings: ExtractionSettings) -> Record:
    """The record that the windows' answers make together."""
    answers = [
        readings_of(window.record_answer(program.schema), program.schema, number)
        for number, window in enumerate(windows)
    ]
    grounders = [Grounder.over(_grounded(window.pages, settings.grounding)) for window in windows]
    leaves = [reading.leaf for answer in answers for reading in answer]
    record = Record(program, locale_of(settings.locale, grounders, leaves), grounders)
    for answer in answers:
        for reading in answer:
            record.type(reading)
    merge(record, answers, settings.merge)
    return record


def _grounded(pages: Sequence[Page], grounding: Grounding) -> list[Page]:
    """The pages among whose words values are looked up."""
    if grounding == "off":
        return []
    return [page for page in pages if grounding == "full" or page.text_layer]


def _majority(names: Iterable[str]) -> str:
    votes = list(names)
    return max(votes, key=votes.count)  # the first of equals


@contextmanager
def _reading_ahead(pages: Sequence[Page]) -> Iterator[None]:
    """Reads pages in the background while an engine is asked; what goes wrong shows where the words are used."""
    unread = [page for page in pages if not page.text_layer]
    if not unread:
        yield
        return
    pool = ThreadPoolExecutor(min(READ_AHEAD, len(unread)), thread_name_prefix="read-ahead")
    try:
        for page in unread:
            pool.submit(getattr, page, "words")
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
