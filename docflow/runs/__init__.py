"""One execution over a source: plan, run_chunk, summarise. It knows neither Prefect nor a terminal."""

from __future__ import annotations

from docflow.runs.model import (
    PREFECT_FROM,
    FailedDocument,
    OnProgress,
    OnResult,
    Progress,
    Run,
    Runner,
    RunOptions,
    new_run_id,
)

__all__ = [
    "PREFECT_FROM",
    "FailedDocument",
    "OnProgress",
    "OnResult",
    "Progress",
    "Run",
    "RunOptions",
    "Runner",
    "execute",
    "new_run_id",
]


def execute(options: RunOptions, progress: OnProgress | None = None, on_result: OnResult | None = None) -> Run:
    """Run over the sources in this process, without Prefect.

    ``progress`` is called a few times a second, ``on_result`` once a row. A document that fails becomes a failed row;
    a signal ends the run with what is done kept (``Run.stopped``). Raises UsageError for a call that is off,
    NothingToDo when no document matched, NoEngine or EngineUnavailable when the engine cannot answer at all,
    StorageError when OUT cannot be written.
    """
    from docflow.runs.execution import execute as execute_here

    return execute_here(options, progress, on_result)
