"""A run at work: a plan that finds documents, threads that extract them, chunks that are written.

    sources -> plan -> chunks -> documents (threads; decoders and OCR are processes) -> rows -> parts

Documents flow on while chunks are written: a new chunk opens as soon as one is full, and whoever runs the chunks (this
module, or a Prefect flow) only waits for each to be whole and writes it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self

from docflow.documents.sources import SourceItem, find
from docflow.engines.pool import Pool
from docflow.errors import NothingToDo, StorageError
from docflow.extraction.result import Result
from docflow.fields.locale import locale_named
from docflow.loading import load_program
from docflow.runs import tally
from docflow.runs.auto import with_engines_named
from docflow.runs.budget import Budget
from docflow.runs.chunks import Chunk, ChunkSummary
from docflow.runs.extractor import Extractor, Task, patiently
from docflow.runs.model import OnProgress, OnResult, Progress, Run, RunOptions
from docflow.runs.plan import Plan, Work
from docflow.runs.resources import (
    as_sources,
    check_engine,
    is_image,
    load_calibration,
    open_engine,
    open_resources,
)
from docflow.runs.retention import tidy
from docflow.runs.signals import stopped_by_signals
from docflow.runs.summary import fallback_notes, write_run

if TYPE_CHECKING:
    from docflow.storage.seen import Seen
    from docflow.storage.store import Store

log = logging.getLogger("docflow.runs")

PLANNED_AHEAD = 10_000
"""Documents that are known and not begun, at most: a plan of that size is exact about how much is left."""
UNWRITTEN = 1_000
"""Finished documents that wait to be written, at most: memory stays flat while a writer is slow or a server starts."""
PROGRESS_SECONDS = 0.25


def execute(options: RunOptions, progress: OnProgress | None = None, on_result: OnResult | None = None) -> Run:
    """Run over the sources in this process (see ``docflow.runs.execute``)."""
    with Execution(options, progress, on_result) as execution:
        return execution.run_direct()


class Execution:
    """One run. Entering it begins the work at once; leaving it ends what is still at work.

    Entering raises UsageError, NothingToDo, EngineError or StorageError for what can be known beforehand.
    """

    runner: ClassVar[str] = "direct"
    chunks_at_once: int = 2
    """One fills while another is finished and written."""

    def __init__(
        self, options: RunOptions, progress: OnProgress | None = None, on_result: OnResult | None = None
    ) -> None:
        self.options = options
        self._progress, self._on_result = progress, on_result
        self._lock = threading.RLock()
        self._result_lock = threading.Lock()
        self._planned: queue.Queue[Work | None] = queue.Queue(maxsize=PLANNED_AHEAD)
        self._chunks: queue.Queue[Chunk | None] = queue.Queue()
        self._opened: list[Chunk] = []
        self._stopping = threading.Event()
        self._enough = threading.Event()
        self._all_fed = threading.Event()
        self._found_changed = threading.Condition()
        self._found = 0
        self._all_found = False
        self._unwritten = 0
        self._fault: BaseException | None = None
        self._cleanup = contextlib.ExitStack()
        self._started = time.monotonic()
        self._first_at: float | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            self._open(cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._cleanup.close()

    def _open(self, cleanup: contextlib.ExitStack) -> None:
        """Begin with what takes longest to start, and end with the threads that do the work."""
        self.options, auto = with_engines_named(self.options)
        options = self.options
        self._budget = Budget(options.settings.budget, options.settings.costs)
        self._sources = find(as_sources(options.sources), stdin=sys.stdin)
        first = [item for item in (next(self._sources, None), next(self._sources, None)) if item is not None]
        if not first:
            raise NothingToDo(
                "no document matched the source", hint=f"Name images or PDFs. {self._passed_over()}".strip()
            )
        self._engine, ours = open_engine(options)
        if ours:
            cleanup.callback(self._engine.close)
        self._start(first, cleanup)
        self._program = load_program(options.program, schema=options.schema, name=options.name)
        check_engine(self._engine)
        if options.settings.extraction.locale:
            locale_named(options.settings.extraction.locale)  # one that is not known: said once, not by every document
        self._store = self._open_store()
        self.run = Run(
            id=options.run_id, program=self._program.name, engine=self._engine.name, runner=self.runner, out=options.out
        )
        if auto:
            self.run.notes.append(auto)
        self._calibration = load_calibration(options)
        if self._calibration is None and options.settings.extraction.accept_error is not None:
            self.run.notes.append("no row is marked for review: there is no calibration (docflow calibrate makes one)")
        self._plan = Plan(
            chain(first, self._sources),
            self._store,
            options.settings.limits,
            limit=options.limit,
            retry_failed=options.retry_failed,
            seen=self._open_seen(),
            rehash=options.rehash,
        )
        self._make_ready(cleanup)
        cleanup.enter_context(stopped_by_signals(self.stop))
        ended = threading.Event()
        for name, loop in (("plan", self._find), ("feed", self._feed), ("progress", lambda: self._tell(ended))):
            thread = threading.Thread(target=self._guarded, args=(loop,), name=f"run-{name}", daemon=True)
            thread.start()
        cleanup.callback(thread.join, 5)  # the last one, which tells the progress: nothing is told after the end
        cleanup.callback(ended.set)

    def _start(self, first: Sequence[SourceItem], cleanup: contextlib.ExitStack) -> None:
        """Start what does the documents. ``first`` are the first two that were found."""
        options = self.options
        self._resources = open_resources(options, self._engine, one_image=len(first) == 1 and is_image(first[0]))
        cleanup.callback(self._resources.close)
        if is_image(first[0]) and (options.out is None or not (options.out / "records").exists()):
            self._resources.warm()  # what follows here takes about as long as the processes need to come up

    def _make_ready(self, cleanup: contextlib.ExitStack) -> None:
        """Make it ready for documents, once program, store and calibration are there."""
        task = Task(
            resources=self._resources,
            program=self._program,
            store=self._store,
            calibration=self._calibration,
            settings=self.options.settings.extraction,
        )
        self._extractor = Extractor(
            task, self._stopping, taken=self._take, written=self._forget_written, fault=self.fail
        )
        cleanup.callback(self._extractor.close)

    def _open_store(self) -> Store | None:
        if self.options.out is None:
            return None
        from docflow.storage.store import Store  # Arrow takes most of a second to import

        engine, options = self._engine, self.options
        return Store(
            self.options.out,
            self._program,
            engine.name,
            engine.model,
            options.run_id,
            split=options.settings.extraction.split,
            redo_fallback=options.redo_fallback,
            refresh=options.refresh,
        )

    def _open_seen(self) -> Seen | None:
        if self.options.out is None:
            return None
        from docflow.storage.seen import Seen

        return Seen(self.options.out)

    # --- for whoever runs the chunks ----------------------------------------------------------------------------

    def more_than(self, count: int) -> bool:
        """Whether more than ``count`` documents are to do; waits until that is known, or the run is stopping.

        Work goes on meanwhile.
        """
        with self._found_changed:
            while not (self._found > count or self._all_found or self.stopping or self._enough.is_set()):
                self._found_changed.wait(0.1)  # a list on standard input may end long after the run was stopped
            return self._found > count

    def is_through(self, within_seconds: float = 0.0) -> bool:
        """Whether every document is finished, or the run is stopping; waits for that, but no longer than it is told."""
        deadline = time.monotonic() + within_seconds
        while not self.stopping:
            if self._all_fed.is_set() and all(chunk.summary or chunk.whole for chunk in self._opened):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def chunks(self) -> Iterator[Chunk]:
        """The chunks, each as soon as it opens. Asked for again, those that were given and not written come first."""
        yield from [chunk for chunk in self._opened if chunk.taken and chunk.summary is None]
        while (chunk := self._chunks.get()) is not None:
            chunk.taken = True
            yield chunk
        self._chunks.put(None)

    def chunk(self, number: int) -> Chunk:
        """A chunk by its number, which counts from 1."""
        return self._opened[number - 1]

    def write_whole_chunks(self) -> None:
        """Write what can be written without waiting: for whoever cannot run chunks yet."""
        for chunk in list(self._opened):
            if chunk.summary is None and chunk.whole and self._fault is None:
                with contextlib.suppress(StorageError):  # it is tried again when the chunk is run
                    self.run_chunk(chunk)

    def run_chunk(self, chunk: Chunk) -> ChunkSummary:
        """Wait until a chunk is whole and write it; after an interruption, what there is of it.

        Raises EngineError or StorageError: where that is retryable, calling again takes up what is left. A chunk that
        is written already is left as it is.
        """
        with chunk.writing:
            if chunk.summary is None:
                chunk.summary = self._run_chunk(chunk)
            return chunk.summary

    def _run_chunk(self, chunk: Chunk) -> ChunkSummary:
        return self._extractor.run(chunk)

    def run_direct(self) -> Run:
        """Run every chunk here, a few at a time."""
        with ThreadPoolExecutor(self.chunks_at_once, thread_name_prefix="chunk") as pool:
            waiting: list[Future[ChunkSummary]] = [
                pool.submit(self._run_chunk_patiently, chunk) for chunk in self.chunks()
            ]
            for future in waiting:
                future.exception()  # waits; what went wrong for good is raised by summarise
        for future in waiting:
            if self._fault is None and (error := future.exception()) is not None:
                self._fault = error
        return self.summarise()

    def _run_chunk_patiently(self, chunk: Chunk) -> ChunkSummary:
        return patiently(lambda: self.run_chunk(chunk), self._stopping)

    @property
    def stopping(self) -> bool:
        """Whether no more documents are begun: the run was interrupted, or failed."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin no more documents; those in work have a moment to finish."""
        self.run.stopped = True
        self._stopping.set()

    def fail(self, error: BaseException) -> None:
        """End the run because of an error that is not one document's; ``summarise`` raises it."""
        with self._lock:
            self._fault = self._fault or error
        self._stopping.set()

    def summarise(self) -> Run:
        """The run as it ended. Raises what ended it early."""
        if self._fault is not None:
            raise self._fault
        run, now = self.run, time.monotonic()
        if run.seconds:  # asked before
            return run
        run.seconds = now - self._started
        run.working_seconds = now - (self._first_at or now)
        run.skipped, run.skipped_failed = self._plan.skipped, self._plan.skipped_failed
        if self._sources.skipped:
            run.notes.append(self._passed_over())
        if run.spared:
            count = run.spared
            run.notes.append(
                f"the engine {run.engine} was not needed for {count['documents']:,} of {count['all documents']:,} "
                f"documents and {count['leaves']:,} of {count['all leaves']:,} values"
            )
        if run.missing_rows:
            documents = "1 document" if run.missing_rows == 1 else f"{run.missing_rows:,} documents"
            run.notes.append(f"{documents} with rows suspected missing from a list (column missing_rows)")
        run.notes += fallback_notes(run, self._engine)
        if self._store is not None:
            write_run(self._store.out, run, self.options, self._program, self._engine.model)
            with contextlib.suppress(StorageError):  # what should have gone by now goes the next time
                run.notes += tidy(self._store.out, self.options.settings)
        self._write_metrics()
        return run

    def _write_metrics(self) -> None:
        """Add the run to the file of metrics, where one is wanted. What is extracted stays, whatever becomes of it."""
        settings = self.options.settings
        if settings.telemetry.metrics_file is None:
            return
        from docflow.runs.metrics_file import write_metrics

        try:
            write_metrics(settings.telemetry.metrics_file, self.run, settings.costs)
        except StorageError as error:
            self.run.notes.append(error.message)

    def _passed_over(self) -> str:
        count = self._sources.skipped
        files = "1 file was" if count == 1 else f"{count:,} files were"
        return f"{files} passed over, because neither name nor content is a document's." if count else ""

    # --- the threads of a run -----------------------------------------------------------------------------------

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as error:  # noqa: BLE001 (a thread's border: the run ends, and its caller gets the error)
            self.fail(error)
            with self._found_changed:
                self._all_found = True
                self._found_changed.notify_all()

    def _find(self) -> None:
        """Find what is to do, ahead of the work."""
        try:
            for work in self._plan.works(self._stopping):
                if not self._put_planned(work):
                    return
                with self._found_changed:
                    self._found += 1
                    self._found_changed.notify_all()
        finally:
            with self._found_changed:
                self._all_found = True
                self._found_changed.notify_all()
            self._put_planned(None)

    def _put_planned(self, work: Work | None) -> bool:
        while not (self._stopping.is_set() or self._enough.is_set()):
            try:
                self._planned.put(work, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _feed(self) -> None:
        """Put what was found into chunks and into work, just ahead of the threads that do it."""
        chunk: Chunk | None = None
        begun = 0
        try:
            while not self._stopping.is_set():
                if chunk is not None and self._is_full(chunk):
                    chunk.seal()
                    chunk = None
                try:
                    work = self._planned.get(timeout=0.1)
                except queue.Empty:
                    continue
                if work is None or self._is_out_of_budget(begun):
                    return
                begun += 1
                if self._first_at is None:
                    self._first_at = time.monotonic()
                    self._warm_for(work.item)
                if chunk is None:
                    chunk = Chunk(len(self._opened) + 1)
                    self._opened.append(chunk)
                    self._chunks.put(chunk)
                chunk.add(work)
                self._begin(work, chunk)
                while self._unwritten > UNWRITTEN and not self._stopping.is_set():
                    if chunk is not None:  # the writer may be waiting for this very chunk
                        chunk.seal()
                        chunk = None
                    time.sleep(0.05)
        finally:
            self._enough.set()
            if chunk is not None:
                chunk.seal()
            self._all_fed.set()
            self._chunks.put(None)

    def _is_out_of_budget(self, begun: int) -> bool:
        """Whether no more documents may be begun, though there are some to do."""
        with self._lock:
            self.run.budget = self._budget.reached(begun, time.monotonic() - self._started, self.run.usage)
        return bool(self.run.budget)

    def _is_full(self, chunk: Chunk) -> bool:
        """Whether a chunk takes no more documents."""
        return chunk.full

    def _warm_for(self, item: SourceItem) -> None:
        """Make ready for the first document to do."""
        self._resources.warm_for(item)

    def _begin(self, work: Work, chunk: Chunk) -> None:
        """Put a document of a chunk into work; waits while there is enough in work."""
        self._extractor.put(work, chunk)

    def _take(self, chunk: Chunk, work: Work, results: Sequence[Result[Any]]) -> None:
        """What a document gave is in its chunk."""
        with self._lock:
            for result in results:
                tally.count(self.run, result)
            self._unwritten += len(results)
            self.run.files += 1
        self._give(results)

    def _give(self, results: Sequence[Result[Any]]) -> None:
        if self._on_result is not None:
            with self._result_lock:
                for result in results:
                    self._on_result(result)

    def _forget_written(self, work: Work) -> None:
        """A document's rows are stored."""
        with self._lock:
            self._unwritten -= len(work.results)
        self._plan.forget(work)

    def _tell(self, ended: threading.Event) -> None:
        """Tell the progress a few times a second, and once more at the end."""
        if self._progress is None:
            return
        while not ended.wait(PROGRESS_SECONDS):
            self._progress(self.now())
        self._progress(self.now())

    def now(self) -> Progress:
        """Where the run stands."""
        with self._lock:
            counts = self.run.counts
            return Progress(
                run_id=self.run.id,
                total=self._found if self._all_found else None,
                found=self._found,
                finished=self.run.files,
                valid=counts["valid"],
                invalid=counts["invalid"],
                failed=counts["failed"],
                skipped=self._plan.skipped,
                skipped_failed=self._plan.skipped_failed,
                seconds=time.monotonic() - self._first_at if self._first_at else 0.0,
                note="stopping" if self.run.stopped else self._note(),
            )

    def _note(self) -> str | None:
        """The last note while the run is at work; what is said of it at its end stands in the run alone."""
        if self.run.seconds:
            return None
        if isinstance(self._engine, Pool) and self._engine.note:
            return self._engine.note
        return self.run.notes[-1] if self.run.notes else None
