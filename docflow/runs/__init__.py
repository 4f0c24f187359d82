"""One execution over a source: plan, run_chunk, summarise. It knows neither Prefect nor a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docflow.runs.model import (
    PREFECT_FROM,
    FailedDocument,
    OnProgress,
    OnResult,
    Progress,
    Run,
    Runner,
    RunOptions,
    check_installed,
    new_run_id,
    runner_of,
)

if TYPE_CHECKING:
    from docflow.runs.execution import Execution

__all__ = [
    "PREFECT_FROM",
    "FailedDocument",
    "OnProgress",
    "OnResult",
    "Progress",
    "Run",
    "RunOptions",
    "Runner",
    "begin",
    "check_installed",
    "execute",
    "new_run_id",
    "runner_of",
]


def begin(options: RunOptions, progress: OnProgress | None = None, on_result: OnResult | None = None) -> Execution:
    """A run where its runner wants the documents done: in this process, or by workers of Dask. Raises UsageError."""
    if runner_of(options).startswith("dask"):
        from docflow.runs.scaling import ScaledExecution

        return ScaledExecution(options, progress, on_result)
    from docflow.runs.execution import Execution

    return Execution(options, progress, on_result)


def execute(options: RunOptions, progress: OnProgress | None = None, on_result: OnResult | None = None) -> Run:
    """Run over the sources in this process, without Prefect.

    ``progress`` is called a few times a second, ``on_result`` once a row. A document that fails becomes a failed row;
    a signal ends the run with what is done kept (``Run.stopped``). Raises UsageError for a call that is off,
    NothingToDo when no document matched, NoEngine or EngineUnavailable when the engine cannot answer at all,
    StorageError when OUT cannot be written.
    """
    from docflow.runs.execution import execute as execute_here

    return execute_here(options, progress, on_result)
