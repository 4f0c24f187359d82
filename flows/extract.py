"""``docflow extract`` as a Prefect flow: a chunk of documents a task, the summary an artifact.

The work itself is in ``docflow.runs``: this wraps its functions and nothing else. Prefect's database gets ids, counts
and paths, never the text of a document; results are not persisted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_runners import ThreadPoolTaskRunner

from docflow.errors import DocflowError
from docflow.runs import RunOptions, new_run_id
from docflow.runs.execution import RETRY_SECONDS, Execution
from docflow.runs.summary import markdown
from docflow.settings import load_settings

CHUNKS_AT_ONCE = 3
"""One fills, one is finished and written, one may wait for its next attempt."""

running: dict[str, Execution] = {}
"""The runs of this process, by id: tasks are given the id, since a run itself cannot be sent anywhere."""


def may_pass(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
    """Whether trying a chunk again can help: its error knows."""
    return isinstance(state.data, DocflowError) and state.data.retryable


@task(
    name="run_chunk",
    task_run_name="chunk-{number}",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=list(RETRY_SECONDS),
    retry_condition_fn=may_pass,
    persist_result=False,
    cache_policy=NO_CACHE,
)
def run_chunk(run_id: str, number: int) -> dict[str, Any]:
    """Wait until a chunk's documents are extracted, and write their rows; counts and file names."""
    execution = running[run_id]
    summary = execution.run_chunk(execution.chunk(number))
    return {
        "number": summary.number,
        "documents": summary.documents,
        "counts": dict(summary.counts),
        "parts": list(summary.parts),
        "seconds": round(summary.seconds, 3),
    }


@flow(
    name="docflow-extract",
    flow_run_name="extract-{run_id}",
    task_runner=ThreadPoolTaskRunner(max_workers=CHUNKS_AT_ONCE),  # type: ignore[arg-type]
    persist_result=False,
    validate_parameters=False,
)
def extract(
    sources: list[str],
    out: str,
    program: str = "auto",
    engine: str | list[str] | None = None,
    fallback: str | list[str] | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    redo_fallback: bool = False,
    run_id: str | None = None,
) -> dict[str, Any]:
    """Extract typed records from documents into the dataset at ``out``; counts by status.

    Keep credentials out of ``engine`` and ``fallback``, which Prefect's database keeps: name servers that need them in
    the settings. With the ``run_id`` of a run that this process began already, that run is gone on with. Raises what
    ``docflow.runs.execute`` raises.
    """
    if run_id in running:
        return _run(running[run_id])
    options = RunOptions(
        sources=tuple(sources),
        program=program,
        engine=engine,
        fallback=fallback,
        out=Path(out),
        limit=limit,
        retry_failed=retry_failed,
        redo_fallback=redo_fallback,
        settings=load_settings(),
        run_id=run_id or new_run_id(),
    )
    with Execution(options) as execution:
        running[options.run_id] = execution
        try:
            return _run(execution)
        finally:
            del running[options.run_id]


def _run(execution: Execution) -> dict[str, Any]:
    execution.run.runner = "prefect"
    run_id = execution.run.id
    tasks = [run_chunk.submit(run_id, chunk.number) for chunk in execution.chunks()]
    for future in tasks:
        outcome = future.result(raise_on_failure=False)
        if isinstance(outcome, BaseException):
            execution.fail(outcome)
    run = execution.summarise()
    create_markdown_artifact(markdown(run), key="docflow-extract", description=f"run {run_id}")
    return {"run_id": run_id, "out": str(run.out), "counts": dict(run.counts), "stopped": run.stopped}
