"""One file of a run: opened, read and extracted, or copied from the same bytes under another name."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from docflow.engines.base import Engine, Usage
from docflow.errors import DocflowError, InternalError, stack_of
from docflow.extraction.result import ErrorInfo, Result
from docflow.program import Program
from docflow.runs.plan import Work
from docflow.runs.refresh import refreshed
from docflow.runs.resources import Resources
from docflow.settings import ExtractionSettings

if TYPE_CHECKING:
    from docflow.storage.store import Store

log = logging.getLogger("docflow.runs")


def extract_work(
    work: Work,
    resources: Resources,
    program: Program,
    store: Store | None,
    settings: ExtractionSettings,
    stopping: threading.Event,
) -> list[Result[Any]]:
    """What one file gave, whatever goes wrong with it: a result, or one for each document in it where files are split.

    Nothing when ``stopping`` was set before it began.
    """
    if work.copied:
        copies = copies_for(work, store, stopping)
        if copies or stopping.is_set():
            return copies
    work.attempts += 1
    started = time.perf_counter()
    try:
        document = resources.decoder.open(work.item)
    except Exception as error:  # noqa: BLE001 - the border of one document: a fault here must not reach its neighbours
        if stopping.is_set():  # the decoder was closed under it: nothing is wrong with the document
            return []
        if isinstance(error, DocflowError):
            said = error
        else:
            log.error("document %s cannot be opened: %s\n%s", work.document_id, type(error).__name__, stack_of(error))
            said = InternalError(f"{type(error).__name__}: {error}")
        return [failed_result(work, said, resources.engine, program, settings, time.perf_counter() - started)]
    from docflow.extraction.splitting import extract_parts  # SGLang's front end: not before the first document is open

    document.read_with(resources.reader.words)
    older = None if store is None else store.older_row(document.id)
    kept, spent = None, Usage()
    if older is not None:
        kept, spent = refreshed(document, program, resources.engine, settings, older, cheap=resources.cheap)
    if kept is not None:
        results = [kept]
    else:
        results = extract_parts(document, program, resources.engine, settings, cheap=resources.cheap)
        results[0] = dataclasses.replace(results[0], usage=results[0].usage + spent)
    if stopping.is_set() and any(result.status == "failed" for result in results):
        return []
    before, work.sent = work.sent, work.sent + max(result.attempts for result in results)
    return [dataclasses.replace(result, attempts=before + result.attempts) for result in results]


def copies_for(work: Work, store: Store | None, stopping: threading.Event) -> list[Result[Any]]:
    """What the same bytes gave under another name, as results of this one; nothing when they must be extracted."""
    results = copied_results(work, store, stopping)
    if stopping.is_set():
        return []
    now = dt.datetime.now(dt.UTC)
    # A copy costs nothing: what the document cost stands in the row that it is copied from.
    return [
        dataclasses.replace(copy, source=work.item.source, created_at=now, usage=Usage(), seconds=0.0)
        for copy in results
    ]


def copied_results(work: Work, store: Store | None, stopping: threading.Event) -> Sequence[Result[Any]]:
    """What the same bytes gave under another name; nothing when they must be extracted after all."""
    leader = work.leader
    if leader is not None:
        while not leader.wait(0.1):
            if stopping.is_set():
                return ()
        results = leader.results
        if results and results[0].document_id == work.document_id:  # the leader's file may have changed since
            return results
    return store.stored_results(work.document_id) if store is not None else ()


def failed_result(
    work: Work,
    error: DocflowError,
    engine: Engine,
    program: Program,
    settings: ExtractionSettings,
    seconds: float,
) -> Result[Any]:
    """The failed row of a document of which nothing is known but its error."""
    return Result(
        document_id=work.document_id,
        source=work.item.source,
        media_type=work.media_type,
        pages=(),
        program=program.name,
        program_version=program.version,
        requested_program=program.name,
        requested_engine=engine.name,
        requested_model=engine.model,
        engine=engine.name,
        model=engine.model,
        status="failed",
        error=ErrorInfo.of(error),
        attempts=work.sent + 1,
        grounding=settings.grounding,
        split=0 if settings.split else None,
        seconds=seconds,
    )
