"""Documents in work in this process, and the chunks that their rows are written in.

documents -> threads (decoders and OCR are processes) -> rows -> chunks -> parts
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docflow.errors import EngineError, EngineUnavailable, StorageError
from docflow.evaluation.calibration import Calibration
from docflow.extraction.result import ErrorInfo, Result
from docflow.program import Program
from docflow.runs.chunks import Chunk, ChunkSummary
from docflow.runs.documents import extract_work
from docflow.runs.plan import Work
from docflow.runs.resources import Resources
from docflow.runs.workers import Workers
from docflow.settings import ExtractionSettings

if TYPE_CHECKING:
    from docflow.storage.store import Store

ATTEMPTS = 3
"""How often a document is tried whose engine fails in a way that may pass."""
RETRY_SECONDS = (1.0, 5.0)
"""How long to wait before each further attempt at a chunk."""
GRACE_SECONDS = 2.0
"""After an interruption, how long documents in work may take to be kept too."""

OnTaken = Callable[[Chunk, Work, Sequence[Result[Any]]], None]
OnWritten = Callable[[Work], None]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is done with each document. ``store`` is None where rows go to the caller alone.

    ``requested_model`` is what rows are filed by where another process leads the run: the model that this one found
    first may be another server's.
    """

    resources: Resources
    program: Program
    store: Store | None
    calibration: Calibration | None
    settings: ExtractionSettings
    requested_model: str | None = None


class Extractor:
    """Takes documents through a program in threads, and writes whole chunks.

    ``taken`` is called with what a document gave once a chunk has it, ``written`` once its rows are stored, and
    ``fault`` with an error that is not one document's. Nothing is begun once ``stopping`` is set.
    """

    def __init__(
        self,
        task: Task,
        stopping: threading.Event,
        *,
        taken: OnTaken,
        written: OnWritten,
        fault: Callable[[BaseException], None],
    ) -> None:
        self._task, self._stopping = task, stopping
        self._taken, self._written, self._fault = taken, written, fault
        self._workers = Workers(task.resources.concurrency)

    def close(self) -> None:
        """Let the threads end, once what is queued is done; returns at once."""
        self._workers.end()

    def put(self, work: Work, chunk: Chunk) -> None:
        """Queue a document of a chunk; waits while as many wait as can be in work."""
        if not self._workers.put(lambda: self._do(work, chunk), self._stopping):
            chunk.finish()

    def run(self, chunk: Chunk) -> ChunkSummary:
        """Wait until a chunk is whole and write it; after an interruption, what there is of it.

        Raises EngineError or StorageError: where that is retryable, calling again takes up what is left.
        """
        for work in chunk.take_again():
            self.put(work, chunk)
        chunk.wait(self._stopping, GRACE_SECONDS)
        if chunk.again and not self._stopping.is_set():
            # The kind of the failure only: an engine's own words may quote a document, and this goes to Prefect.
            kinds = sorted({work.failure.type for work in chunk.again if work.failure})
            raise EngineUnavailable(f"{len(chunk.again)} documents got no answer ({', '.join(kinds)})", retryable=True)
        finished = chunk.close()
        parts: list[str] = []
        store = self._task.store
        if store is not None and finished:
            inputs = [f"{work.item.source}\0{work.document_id}" for work in finished]
            try:
                written = store.write(chunk.rows, inputs)
            except StorageError as error:
                if not error.retryable:
                    self._fault(error)
                raise
            parts = [store.name_of(path) for path in written]
        for work in finished:
            self._written(work)
        chunk.rows.clear()
        chunk.works.clear()
        return ChunkSummary(
            number=chunk.number,
            documents=len(finished),
            counts=chunk.counts,
            parts=tuple(parts),
            seconds=time.monotonic() - chunk.opened_at,
        )

    def run_patiently(self, chunk: Chunk) -> ChunkSummary:
        """``run``, and again where trying again may help. Raises EngineError or StorageError in the end."""
        return patiently(lambda: self.run(chunk), self._stopping)

    def _do(self, work: Work, chunk: Chunk) -> None:
        """One document, in one of the threads."""
        try:
            if not self._stopping.is_set():
                self._extract(work, chunk)
        except BaseException as error:  # noqa: BLE001 (a thread's border: the run ends, and its caller gets the error)
            self._fault(error)
        finally:
            work.finish()
            chunk.finish()

    def _extract(self, work: Work, chunk: Chunk) -> None:
        task = self._task
        results = extract_work(work, task.resources, task.program, task.store, task.settings, self._stopping)
        if not results:  # interrupted before its turn came
            return
        work.failure = next((error for result in results if (error := _passing_failure(result))), None)
        if work.failure is not None and work.attempts < ATTEMPTS:
            chunk.try_again(work)
            return
        if task.requested_model is not None:
            results = [dataclasses.replace(result, requested_model=task.requested_model) for result in results]
        if task.calibration is not None:
            results = [task.calibration.apply(result, task.settings.accept_error) for result in results]
        rows = []
        if task.store is not None:
            stored = [task.store.row(result) for result in results]
            results, rows = [result for result, _ in stored], [row for _, row in stored]
        if chunk.take(work, results, rows):
            self._taken(chunk, work, results)


def patiently(run: Callable[[], ChunkSummary], stopping: threading.Event) -> ChunkSummary:
    """Call ``run``, and again where its error says that this may help."""
    for seconds in RETRY_SECONDS:
        try:
            return run()
        except (EngineError, StorageError) as error:
            if not error.retryable:
                raise
        stopping.wait(seconds)
    return run()


def _passing_failure(result: Result[Any]) -> ErrorInfo | None:
    """What went wrong with the engine and may pass; None where nothing did."""
    error = result.error
    if result.status == "failed" and error and error.stage == EngineError.stage and error.retryable:
        return error
    return None
