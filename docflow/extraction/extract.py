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
from docflow.engines.base import Engine, Limits
from docflow.engines.bridge import run_program
from docflow.errors import DocflowError, EngineError, InternalError, ReadingError, stack_of
from docflow.extraction.asking import Window, readings_of, repair
from docflow.extraction.grounding import Grounder
from docflow.extraction.merging import merge
from docflow.extraction.metering import Metered
from docflow.extraction.missing_rows import missing_rows
from docflow.extraction.opinions import ask_better, unsure_leaves, verify
from docflow.extraction.record import Record, locale_of
from docflow.extraction.result import ErrorInfo, PageInfo, Result
from docflow.program import KIND, Program
from docflow.settings import ExtractionSettings, Grounding

log = logging.getLogger("docflow.extraction")

READ_AHEAD = 4
"""Pages of one document that are read side by side."""


def extract_document(
    document: Document,
    program: Program,
    engine: Engine,
    settings: ExtractionSettings | None = None,
    *,
    cheap: Engine | None = None,
) -> Result[Any]:
    """One document through one program. What goes wrong with it is in the Result, whose status is then ``failed``.

    A ``cheap`` engine answers first where ``settings.cheap_first_below`` is set; ``engine`` then reads what that one is
    unsure of, and ``usage`` is what ``engine`` cost.
    """
    settings = settings or ExtractionSettings()
    started = time.perf_counter()
    blank = blank_result(document, program, engine, settings)
    metered = Metered(engine)
    try:
        result = _extract(document, program, metered, cheap, settings, blank)
    except DocflowError as error:
        attempts = error.attempts if isinstance(error, EngineError) else blank.attempts
        result = replace(blank, error=ErrorInfo.of(error), attempts=attempts)
    except Exception as error:  # noqa: BLE001 - the border of one document: a fault here must not reach its neighbours
        log.error("document %s failed: %s\n%s", document.id, type(error).__name__, stack_of(error))
        fault = InternalError(f"{type(error).__name__}: {error}")
        result = replace(blank, error=ErrorInfo.of(fault))
    return replace(result, usage=metered.usage, seconds=time.perf_counter() - started)


def blank_result(document: Document, program: Program, engine: Engine, settings: ExtractionSettings) -> Result[Any]:
    """A failed result that does not say why, of nothing but what is known before an engine is asked."""
    numbers = [page.number for page in document.pages]
    return Result(
        document_id=document.id,
        source=document.source,
        media_type=document.media_type,
        pages=tuple(PageInfo.of(page) for page in document.pages),
        first_page=min(numbers, default=None),
        last_page=max(numbers, default=None),
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


def _extract(
    document: Document,
    program: Program,
    engine: Engine,
    cheap: Engine | None,
    settings: ExtractionSettings,
    blank: Result[Any],
) -> Result[Any]:
    spared = None
    with _reading_ahead(_grounded(document.pages, settings.grounding)):
        cheaply = None
        if cheap is not None and settings.cheap_first_below is not None:
            cheaply = _cheaply(document, program, engine, cheap, settings, settings.cheap_first_below)
            spared = 0
        if cheaply is not None:
            record, windows, spared = cheaply
        else:
            record, windows = _read(document, program, engine, settings)
        if settings.verify_below is not None:
            verify(record, windows, settings.verify_below)
    chosen = record.program
    answering = cheap if cheap is not None and windows[-1].free else engine
    answers = [answer for window in windows for answer in window.talk.bridge.answers]
    last = answers[-1]
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
        missing_rows=missing_rows(record),
        answer=last.text if problems else None,
        error=error,
        engine=last.engine or answering.name,
        model=last.model or answering.model,
        attempts=1 + sum(answer.attempts - 1 for answer in answers),
        fallback=any(answer.fallback for answer in answers),
        spared=spared,
    )


def _read(
    document: Document, program: Program, engine: Engine, settings: ExtractionSettings
) -> tuple[Record, list[Window]]:
    """The record as one engine reads it, and its conversations. Raises EngineError, ReadingError and ProgramError."""
    chosen, windows = _ask(document, program, engine, settings)
    record = _record(chosen, windows, settings)
    repair(record, windows, settings.repairs)
    return record, windows


def _cheaply(
    document: Document, program: Program, engine: Engine, cheap: Engine, settings: ExtractionSettings, below: float
) -> tuple[Record, list[Window], int] | None:
    """The record as ``cheap`` reads it, with what that is unsure of read by ``engine``, and how many leaves were not.

    None where ``engine`` has to read all of it: the cheap one failed, is unsure of the kind of document, or gave a
    record that does not pass as a whole.
    """
    try:
        record, windows = _read(document, program, cheap, settings)
    except (EngineError, ReadingError) as error:
        log.info("document %s: the cheap engine failed, %s", document.id, type(error).__name__)
        return None
    if program.kinds and any(
        window.talk.answer(KIND).choice_probs.get(record.program.name, 1.0) < below
        for window in windows
        if window.talk.has(KIND)
    ):
        return None
    unsure = unsure_leaves(record, below)
    if unsure is None:
        return None
    for window in windows:
        window.free = True
    if unsure:
        ask_better(record, windows, unsure, engine, _limits(settings, record.program))
        repair(record, windows, settings.repairs)
    return record, windows, len(record.readings) - len(unsure)


def _limits(settings: ExtractionSettings, program: Program) -> Limits:
    limits = Limits(max_tokens=settings.max_tokens, timeout_seconds=settings.timeout_seconds)
    page_tokens = settings.page_tokens or program.page_tokens
    return replace(limits, page_tokens=page_tokens) if page_tokens else limits


def _ask(
    document: Document, program: Program, engine: Engine, settings: ExtractionSettings
) -> tuple[Program, list[Window]]:
    """Every window of pages asked once, and the program that was chosen. Raises EngineError and ProgramError."""
    limits = _limits(settings, program)
    size = settings.pages_per_call or max(1, len(document.pages))
    parts = [document.pages[start : start + size] for start in range(0, len(document.pages), size)]
    windows = [Window(pages, run_program(program, pages, engine, limits)) for pages in parts]
    if not program.kinds:
        return program, windows
    kinds = [window.talk.answer(KIND).text for window in windows]
    chosen = program.kind_named(_majority(kinds))
    for number, kind in enumerate(kinds):
        if kind != chosen.name:  # pages that look like another kind, such as terms, still belong to the document
            windows[number] = Window(
                parts[number], run_program(chosen, parts[number], engine, _limits(settings, chosen))
            )
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
