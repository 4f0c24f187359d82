"""``docflow extract`` as a Prefect flow: a chunk of documents a task, the summary an artifact.

The work itself is in ``docflow.runs``: this wraps its functions and nothing else. Prefect's database gets ids, counts
and paths, never the text of a document; results are not persisted.

A deployment's entry point is ``docflow.flows.extract.extract``.
"""

from __future__ import annotations

import contextvars
import signal
from typing import Annotated, Any

from docflow.flows.reporting import Reporter
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import AfterValidator, Field

from docflow.buckets import place_of
from docflow.documents.sources import find
from docflow.errors import DocflowError, NothingToDo, UsageError
from docflow.runs import RunOptions, begin
from docflow.runs.execution import Execution
from docflow.runs.extractor import RETRY_SECONDS
from docflow.settings import load_settings, without_credentials

FLOW_RETRIES = 2
"""How often a run of a deployment is begun again that could not go on: no engine, no room for OUT, no SOURCE."""
FLOW_RETRY_SECONDS = 60
"""How long to wait before, where Prefect's own PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS does not say."""

running: dict[str, tuple[Execution, Reporter]] = {}
"""The runs of this process, by id: tasks are given the id, since a run itself cannot be sent anywhere."""
begun: contextvars.ContextVar[Execution | None] = contextvars.ContextVar("begun", default=None)
"""A run that this process began already: the flow that is called goes on with it."""


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
    execution, reporter = running[run_id]
    summary = execution.run_chunk(execution.chunk(number))
    reporter.chunk_written()
    return {
        "number": summary.number,
        "documents": summary.documents,
        "counts": dict(summary.counts),
        "parts": list(summary.parts),
        "seconds": round(summary.seconds, 3),
    }


def _without_secrets(text: str) -> str:
    if without_credentials(text) != text:
        raise ValueError("a user or password in a URL would be kept in Prefect's database; put it into the settings")
    return text


Plain = Annotated[
    str,
    AfterValidator(_without_secrets),
    # What Prefect's server checks a deployment's parameters with, before it keeps them.
    Field(json_schema_extra={"pattern": r"^(?!.*://[^/?#\s]*@)"}),
]
"""Text that holds no credentials: parameters stand in Prefect's database and on its pages."""


def _name_of_run() -> str:
    return f"extract-{_run_id()}"


def _run_id() -> str:
    """The id of docflow's run: of the one that is gone on with, else made of the id of Prefect's run."""
    execution = begun.get()
    if execution is not None:
        return execution.options.run_id
    again = flow_run.get_run_count()
    run_id = f"{flow_run.get_scheduled_start_time():%Y%m%dT%H%M%S}-{(flow_run.get_id() or '')[-6:]}"
    return f"{run_id}-{again}" if again > 1 else run_id


def _retry_seconds() -> int:
    said = get_current_settings().flows.default_retry_delay_seconds
    return int(said) if isinstance(said, int | float) and said else FLOW_RETRY_SECONDS


@flow(
    name="docflow-extract",
    description="Typed records from documents, added to a dataset. What is done already is skipped.",
    flow_run_name=_name_of_run,
    retries=FLOW_RETRIES,
    retry_delay_seconds=_retry_seconds(),
    persist_result=False,
)
def extract(
    sources: list[Plain],
    out: Plain,
    program: Plain = "auto",
    schema_file: Plain | None = None,
    engine: list[Plain] | None = None,
    fallback: list[Plain] | None = None,
    limit: Annotated[int, Field(ge=1)] | None = None,
    retry_failed: bool = False,
    redo_fallback: bool = False,
    refresh: bool = False,
    runner: Plain | None = None,
) -> State[dict[str, Any]]:
    """Extract typed records from documents into the dataset at ``out``; counts by status.

    Keys of servers come from the settings of the process that runs this (docflow.toml, DOCFLOW_API_KEY), never from a
    parameter. Folders in which there is no document yet are no error. Raises what ``docflow.runs.execute`` raises.

    Args:
        sources: Files, folders (with all below them) or globs, as absolute paths on the machine that runs this.
        out: The folder of the dataset, as an absolute path; rows are added to what is there.
        program: What to extract: auto, a built-in program such as receipt, path/to/file.py:name or package.module:name.
        schema_file: A JSON Schema file or module:Model, in place of a program: leave that at auto then.
        engine: Who answers: embedded, sglang=URL or vllm=URL; several share the work. Empty for what the settings say.
        fallback: Who answers while those are away, in this order. Empty for what the settings say.
        limit: Stop after so many documents that are not done yet.
        retry_failed: Try the documents again that failed in an earlier run.
        redo_fallback: Ask the documents again that a fallback answered in an earlier run.
        refresh: Where the program has changed, ask for the fields that have changed and keep the others.
        runner: Who does the documents: direct, dask or dask=tcp://HOST:PORT. Empty for what the settings say.
    """
    execution = begun.get()
    if execution is not None:
        return _run(execution)
    options = RunOptions(
        sources=tuple(sources),
        program=None if schema_file and program == "auto" else program,
        schema=schema_file or None,
        engine=engine or None,
        fallback=fallback or None,
        out=place_of(out),
        limit=limit,
        retry_failed=retry_failed,
        redo_fallback=redo_fallback,
        refresh=refresh,
        runner=runner or None,
        settings=load_settings(),
        run_id=_run_id(),
    )
    if "-" in sources:
        raise UsageError("- stands for a list on standard input, which a flow does not have")
    try:
        with begin(options) as execution:
            outcome = _run(execution)
    except NothingToDo:
        find(list(sources))  # raises for a source that is not there; one that is there is only empty
        return Completed(data=_outcome(options.run_id, out), message="no document is there yet")
    if execution.run.stopped:
        # What is done is written. Prefect knows who sent the signal, and why: the run is cancelled, or it crashed.
        raise TerminationSignal(signal.SIGTERM)
    return outcome


def _run(execution: Execution) -> State[dict[str, Any]]:
    execution.run.runner = "prefect" if execution.runner == "direct" else execution.runner
    run_id = execution.run.id
    reporter = Reporter(execution)
    running[run_id] = execution, reporter
    try:
        # Not the flow's own task runner: a flow has that before it is known how many chunks are at work at once.
        threads: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=execution.chunks_at_once + 1)
        with threads as runner:
            tasks = [
                runner.submit(run_chunk, {"run_id": run_id, "number": chunk.number}) for chunk in execution.chunks()
            ]
            for future in tasks:
                outcome = future.result(raise_on_failure=False)
                if isinstance(outcome, BaseException):
                    execution.fail(outcome)
        run = execution.summarise()
        reporter.end()
    finally:
        del running[run_id]
    said = [f"{run.counts[status]:,} {status}" for status in ("valid", "invalid", "failed") if run.counts[status]]
    said += [
        f"{count:,} {word} before" for count, word in ((run.skipped, "done"), (run.skipped_failed, "failed")) if count
    ]
    return Completed(
        data=_outcome(run_id, str(run.out), dict(run.counts), stopped=run.stopped), message=", ".join(said) or None
    )


def _outcome(run_id: str, out: str, counts: dict[str, int] | None = None, *, stopped: bool = False) -> dict[str, Any]:
    return {"run_id": run_id, "out": out, "counts": counts or {}, "stopped": stopped}
