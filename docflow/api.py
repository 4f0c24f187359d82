"""The public Python API: extract, iterate over records, open a dataset.

Everything works in plain scripts, in threads, inside a running event loop, and inside someone's own Prefect flows: the
work happens in threads and subprocesses of its own.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar, overload

from docflow.buckets import BucketPath, place_of
from docflow.runs import PREFECT_FROM, OnProgress, OnResult, Run, Runner, RunOptions, begin, runner_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from pydantic import BaseModel

    from docflow.engines.base import Engine
    from docflow.extraction.result import Result
    from docflow.program import Program
    from docflow.runs.execution import Execution
    from docflow.settings import Settings
    from docflow.storage import Dataset

    R = TypeVar("R", bound=BaseModel)
    Source = str | os.PathLike[str] | bytes | IO[bytes] | Image
    Sources = Source | Sequence[Source]


def run(options: RunOptions, progress: OnProgress | None = None, on_result: OnResult | None = None) -> Run:
    """Run over the sources with the runner that the options ask for: what the command line does.

    The auto runner takes Prefect where a server is configured, and from 21 documents on unless those are through before
    Prefect would be up. Raises what ``docflow.runs.execute`` raises.
    """
    return _run(options, progress, on_result, prefect_from=PREFECT_FROM)


def _run(
    options: RunOptions, progress: OnProgress | None, on_result: OnResult | None, *, prefect_from: int | None
) -> Run:
    with begin(options, progress, on_result) as execution:
        if _runs_in_prefect(execution, prefect_from):
            from docflow.flows.running import run_as_flow

            asked_for = runner_of(options) == "prefect" or bool(os.environ.get("PREFECT_API_URL"))
            return run_as_flow(execution, only_if_long=not asked_for)
        return execution.run_direct()


def _runs_in_prefect(execution: Execution, prefect_from: int | None) -> bool:
    runner = runner_of(execution.options)
    if execution.options.out is None:  # the rows go straight to the caller: nothing to schedule or to try again
        return False
    if runner in ("direct", "prefect"):
        return runner == "prefect"
    if os.environ.get("PREFECT_API_URL") or _inside_a_flow():
        return True
    return prefect_from is not None and execution.more_than(prefect_from)


def _inside_a_flow() -> bool:
    """Whether a Prefect flow or task of the caller's is running here."""
    if "prefect.context" not in sys.modules:
        return False
    from docflow.flows.running import is_inside_a_flow

    return is_inside_a_flow()


def extract(
    source: Sources,
    *,
    program: str | Program | type[BaseModel] | None = None,
    schema: str | None = None,
    name: str | None = None,
    engine: str | Sequence[str] | Engine | None = None,
    fallback: str | Sequence[str] | None = None,
    out: str | os.PathLike[str] | BucketPath | None = None,
    concurrency: int | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    redo_fallback: bool = False,
    refresh: bool = False,
    split: bool | None = None,
    runner: Runner | None = None,
    settings: Settings | None = None,
    progress: OnProgress | None = None,
) -> Run:
    """Extract a record from each document of ``source``, and give the run's summary.

    ``source`` is a path, a folder, a glob, bytes, an open binary file, a PIL image, or a list of these. ``program`` is
    a name such as ``"receipt"``, a Program, or a Pydantic model; ``schema`` a JSON Schema file in its place; without
    either, docflow finds out what kind of document each one is. ``engine`` is a name such as ``"embedded"``, a server
    such as ``"sglang=http://gpu1:30000"``, several of these, or an Engine; ``fallback`` names those that answer while
    the servers are away, and ``redo_fallback`` asks again what they answered. ``refresh`` asks, where the program has
    changed, for what has changed alone. With ``out`` rows are added to the
    dataset there, and what is done already is skipped; without it the results are in ``Run.results``, all in memory.
    With ``split`` a file may hold several documents and gives a result for each (``first_page``, ``last_page``). Where
    PREFECT_API_URL is set, or inside a Prefect flow or task, the run is a flow of its own there (``runner`` says
    otherwise).

    Raises UsageError, NothingToDo, EngineError or StorageError for what stops the run as a whole, and
    KeyboardInterrupt, once what is done is written, when it was interrupted. A document that fails is a result.
    """
    options = _options(
        source,
        program=program,
        schema=schema,
        name=name,
        engine=engine,
        fallback=fallback,
        out=out,
        concurrency=concurrency,
        limit=limit,
        retry_failed=retry_failed,
        redo_fallback=redo_fallback,
        refresh=refresh,
        split=split,
        runner=runner,
        settings=settings,
    )
    results: list[Result[Any]] = []
    done = _run(options, progress, results.append if out is None else None, prefect_from=None)
    if done.stopped:
        raise KeyboardInterrupt
    done.results = results
    return done


@overload
def iter_records(source: Sources, *, program: type[R], **how: Any) -> Iterator[Result[R]]: ...
@overload
def iter_records(source: Sources, *, program: str | Program | None = None, **how: Any) -> Iterator[Result[Any]]: ...
def iter_records(
    source: Sources, *, program: str | Program | type[BaseModel] | None = None, **how: Any
) -> Iterator[Result[Any]]:
    """Extract a record from each document of ``source``, and give each result as soon as it is there.

    Takes what ``extract`` takes, except ``progress`` and ``runner``. With ``out`` rows are written too, and what is
    done already is not given again. Documents wait for the caller, so memory stays flat; ending the iteration ends the
    run.

    Raises what ``extract`` raises.
    """
    stream = _Stream(_options(source, program=program, runner="direct", **how))
    try:
        yield from stream
    finally:
        stream.close()


@overload
def aiter_records(source: Sources, *, program: type[R], **how: Any) -> AsyncIterator[Result[R]]: ...
@overload
def aiter_records(
    source: Sources, *, program: str | Program | None = None, **how: Any
) -> AsyncIterator[Result[Any]]: ...
async def aiter_records(
    source: Sources, *, program: str | Program | type[BaseModel] | None = None, **how: Any
) -> AsyncIterator[Result[Any]]:
    """``iter_records`` for ``async for``: the event loop goes on meanwhile."""
    stream = _Stream(_options(source, program=program, runner="direct", **how))
    try:
        while (result := await asyncio.to_thread(stream.next)) is not None:
            yield result
    finally:
        # In a thread and not awaited: this also runs when the loop is closing.
        threading.Thread(target=stream.close, daemon=True).start()


def open(out: str | os.PathLike[str] | BucketPath) -> Dataset:  # noqa: A001 (read as docflow.open)
    """The dataset that runs wrote to ``out``. Raises StorageError when there is none."""
    from docflow.storage import Dataset

    return Dataset(place_of(out))


def _options(source: Any, *, split: bool | None = None, **how: Any) -> RunOptions:
    """The options of a run over ``source``; ``how`` are those of RunOptions, of which None is as good as not given."""
    from docflow.settings import load_settings

    given = {key: value for key, value in how.items() if value is not None}
    if "program" not in given and "schema" not in given:
        given["program"] = "auto"
    if "out" in given:
        given["out"] = place_of(given["out"])
    settings = given["settings"] if "settings" in given else load_settings()
    if split is not None:
        extraction = settings.extraction.model_copy(update={"split": split})
        settings = settings.model_copy(update={"extraction": extraction})
    given["settings"] = settings
    # An open file iterates over its lines, and text over its letters: they are one source each.
    one = isinstance(source, str | bytes | bytearray | memoryview | os.PathLike) or hasattr(source, "read")
    sources = tuple(source) if isinstance(source, Iterable) and not one else (source,)
    return RunOptions(sources=sources, **given)


class _Stream:
    """A run in a thread of its own, whose results wait for whoever takes them."""

    def __init__(self, options: RunOptions) -> None:
        self._results: queue.Queue[Result[Any] | None] = queue.Queue(maxsize=8)
        self._options = options
        self._closed = threading.Event()
        self._execution: Execution | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="docflow-run", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Result[Any]]:
        while (result := self.next()) is not None:
            yield result

    def next(self) -> Result[Any] | None:
        """The next result; None after the last. Raises what ended the run early."""
        while not self._closed.is_set():
            try:
                result = self._results.get(timeout=1)
            except queue.Empty:
                continue
            if result is None and self._error is not None:
                raise self._error
            return result
        return None

    def close(self) -> None:
        """End the run, and wait until what it uses is given back."""
        self._closed.set()
        if self._execution is not None:
            self._execution.stop()
        self._thread.join()

    def _run(self) -> None:
        from docflow.runs.execution import Execution

        try:
            with Execution(self._options, None, self._give) as execution:
                self._execution = execution
                if self._closed.is_set():  # while the run was being made ready: nobody else can stop it now
                    execution.stop()
                execution.run_direct()
        except BaseException as error:  # noqa: BLE001 (a thread's border: whoever takes the results gets the error)
            self._error = error
        self._give(None)

    def _give(self, result: Result[Any] | None) -> None:
        while not self._closed.is_set():
            try:
                self._results.put(result, timeout=0.1)
            except queue.Full:
                continue
            return
