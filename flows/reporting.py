"""What a run tells Prefect while it works and at its end: counts, ids and kinds of errors, no text of a document.

A run does not depend on any of it: where the server cannot be told, the log says so and the run goes on.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.events import emit_event

from docflow.runs.execution import Execution
from docflow.runs.summary import markdown

log = logging.getLogger("docflow.flows")

SECONDS_BETWEEN = 10.0
"""Progress is told no more often."""
FAILED_EVENT = "docflow.document.failed"
"""An event for each failed document, at most as many a run as ``Run.errors`` keeps; automations can wait for it."""


class Reporter:
    """Tells Prefect of one run; called from its flow and from its chunks' tasks.

    While the run is at work it tells from a thread: a server that hesitates, or is away, holds up no chunk.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._lock = threading.Lock()
        self._told_at = 0.0
        self._failures_told = 0
        self._artifact: UUID | None = None
        self._telling: threading.Thread | None = None

    def chunk_written(self) -> None:
        """Tell of what failed since, and, not too often, where the run stands. Returns at once."""
        with self._lock:
            if self._telling is None or not self._telling.is_alive():
                context = contextvars.copy_context()  # which run of a task this is
                self._telling = threading.Thread(target=context.run, args=(self._tell,), daemon=True)
                self._telling.start()

    def end(self) -> None:
        """Tell how the run ended, once it is summarised."""
        run = self._execution.run
        with self._lock:
            if self._telling is not None:
                self._telling.join()
        _told(self._tell_failures)
        _told(self._tell_progress)
        _told(lambda: create_markdown_artifact(markdown(run), key="docflow-extract", description=f"run {run.id}"))

    def _tell(self) -> None:
        _told(self._tell_failures)
        if time.monotonic() - self._told_at >= SECONDS_BETWEEN:
            self._told_at = time.monotonic()
            _told(self._tell_progress)

    def _tell_progress(self) -> None:
        now = self._execution.now()
        percent = 100.0 * now.done / now.total if now.total else 0.0
        if now.total == 0:
            percent = 100.0
        of = f"of {now.total:,}" if now.total is not None else f"and {now.found:,} found so far"
        said = (
            f"run {now.run_id}: {now.done:,} {of}, {now.valid:,} valid, {now.invalid:,} invalid, {now.failed:,} failed"
        )
        if self._artifact is None:
            made = create_progress_artifact(percent, key="docflow-progress", description=said)
            assert isinstance(made, UUID)  # no coroutine: neither flow nor tasks are asynchronous
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, percent, description=said)

    def _tell_failures(self) -> None:
        run = self._execution.run
        failures = run.errors[self._failures_told :]
        self._failures_told += len(failures)
        for failure in failures:
            emit_event(
                FAILED_EVENT,
                resource={
                    "prefect.resource.id": f"docflow.document.{failure.document_id or 'unreadable'}",
                    "docflow.run": run.id,
                    "docflow.program": run.program,
                },
                payload={
                    "document_id": failure.document_id,
                    "run_id": run.id,
                    "stage": failure.error.stage,
                    "type": failure.error.type,
                    "retryable": failure.error.retryable,
                },
            )


def _told(tell: Callable[[], object]) -> None:
    try:
        tell()
    except Exception as error:  # noqa: BLE001 (a server that is away or refuses must not cost the run)
        log.warning("Prefect was not told: %s", type(error).__name__)
