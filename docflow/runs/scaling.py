"""A run whose documents are done by other processes: worker processes of Dask, here or on other machines.

    sources -> plan -> chunks -> orders -> workers (each as a run of its own) -> parts
                                     outcomes <-

This process plans, sends, counts and tells; it keeps the index of the dataset. A worker extracts the documents of a
chunk and writes their part itself. The part is named after its documents, so a chunk that is done again, because its
worker died, overwrites itself.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docflow.documents.sources import SourceItem
from docflow.engines.pool import Pool
from docflow.engines.specs import absolute_entry, entries_of
from docflow.errors import UsageError, WorkerDied
from docflow.extraction.result import Result
from docflow.machine import usable_cores
from docflow.runs import tally
from docflow.runs.chunks import MOST_DOCUMENTS, MOST_SECONDS, Chunk, ChunkSummary
from docflow.runs.documents import copies_for, failed_result
from docflow.runs.execution import Execution
from docflow.runs.model import Progress, Run, RunOptions, runner_of
from docflow.runs.orders import Job, Order, Ordered, Outcome
from docflow.runs.plan import Work

if TYPE_CHECKING:
    from docflow.storage.places import Place
    from docflow.storage.store import Store

FIRST_DOCUMENTS = 4
"""Documents of a chunk while nothing is known of how long they take."""
LEAST_SECONDS = 2.0
"""Chunks get smaller towards the end, so that workers end together; not smaller than so much work."""
IDLE_SECONDS = 1.0
"""A chunk that has waited so long for its next document goes without it."""
STOP_SECONDS = 10.0
"""After an interruption, how long workers may take to write what they have."""
AT_WORK = ".at-work"
MARKER_KEPT = dt.timedelta(days=30)
TRIES_ALONE = 2
"""How often a document is sent alone whose workers die, before it is said to kill them."""


class ScaledExecution(Execution):
    """A run over workers of Dask. Entering it also raises UsageError where there are none, or of another version."""

    runner = "dask"
    chunks_at_once = 1024
    """As many as the workers have threads, whoever joins: there is room for a chunk only when one of them is free."""

    def __init__(self, options: RunOptions, *told: Any) -> None:
        super().__init__(options, *told)
        self._address = runner_of(options).partition("=")[2] or None
        self._numbers = itertools.count(1)
        self._at_work = self._begun = 0
        self._room = threading.Condition()
        self._waits = False
        self._last_put = 0.0
        self._seconds_each: float | None = None
        self._standing: dict[str, Run] = {}
        self._stopped_at: float | None = None

    def _open(self, cleanup: contextlib.ExitStack) -> None:
        options = self.options
        if options.out is None:
            raise UsageError("the dask runner writes its rows to a dataset", hint="Say where with out.")
        if any(not isinstance(source, str | os.PathLike) for source in options.sources):
            raise UsageError(
                "documents in memory cannot be sent to workers",
                hint="Give the dask runner files, or use the direct runner.",
            )
        if options.engine is not None and not isinstance(options.engine, str | Sequence):
            raise UsageError(
                "an engine that is given as an object cannot be sent to workers", hint="Name it, as in sglang=URL."
            )
        super()._open(cleanup)

    def _start(self, first: Sequence[SourceItem], cleanup: contextlib.ExitStack) -> None:
        try:
            from docflow.runs import dask_cluster
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
                raise
            raise UsageError(
                f"the dask runner needs the package {error.name}", hint='pip install "docflow[dask]"'
            ) from error
        if self._address is not None:
            opened = dask_cluster.running_cluster(self._address)
        else:
            opened = dask_cluster.own_workers(self.options.settings.dask.workers or usable_cores())
        # Beside what follows: engine, program, and what the dataset holds.
        starter = ThreadPoolExecutor(1, thread_name_prefix="dask-start")
        self._client = starter.submit(opened.__enter__)
        cleanup.callback(starter.shutdown)

        def close() -> None:
            if self._client.exception() is None:
                opened.__exit__(None, None, None)

        cleanup.callback(close)

    def _open_store(self) -> Store | None:
        if self._address is not None:
            self._client.result()  # no dataset is begun for a cluster that is not there
        return super()._open_store()

    def _make_ready(self, cleanup: contextlib.ExitStack) -> None:
        from docflow.runs.dask_cluster import Cluster

        self._cluster = Cluster(self._client.result(), self._heard)
        self._cluster.check()
        cleanup.callback(self._end_on_workers)
        self._job = self._make_job(cleanup)
        self._senders = ThreadPoolExecutor(self.chunks_at_once, thread_name_prefix="order")
        cleanup.callback(self._senders.shutdown, wait=False)

    def _make_job(self, cleanup: contextlib.ExitStack) -> Job:
        from docflow.runs.dask_cluster import check_that_it_can_be_sent
        from docflow.storage.places import write_whole

        options = _for_workers(self.options)
        assert options.out is not None
        workers, cores = self._cluster.workers or 1, None
        if self._address is None:
            workers = options.settings.dask.workers or usable_cores()
            cores = max(1, usable_cores() // workers)
        concurrency = options.concurrency or options.settings.concurrency
        if concurrency is None and isinstance(self._engine, Pool):
            concurrency = self._engine.concurrency
        marker = options.out / "runs" / f".{options.run_id}{AT_WORK}"
        _sweep_markers(options.out / "runs")
        write_whole(marker, b"")
        cleanup.callback(marker.unlink, missing_ok=True)
        job = Job(
            options=options,
            engine=self._engine.name,
            model=self._engine.model,
            program_version=self._program.version,
            calibration=self._calibration,
            concurrency=None if concurrency is None else max(1, math.ceil(concurrency / workers)),
            cores=cores,
            beside=self._address is None,
            marker=marker,
        )
        check_that_it_can_be_sent(job)
        return job

    # --- chunks of the right size -------------------------------------------------------------------------------

    def _warm_for(self, item: SourceItem) -> None:
        """Workers start what they need with their first order."""

    def _begin(self, work: Work, chunk: Chunk) -> None:
        self._begun += 1
        if len(chunk.works) == 1:
            with self._room:
                while self._at_work >= max(1, self._cluster.threads) and not self.stopping:
                    self._room.wait(0.2)
                self._at_work += 1
            self._senders.submit(self._run_quietly, chunk)
        self._last_put = time.monotonic()

    def _is_full(self, chunk: Chunk) -> bool:
        documents = len(chunk.works)
        return documents >= self._size(documents) or time.monotonic() - self._last_put >= IDLE_SECONDS

    def _size(self, documents: int) -> int:
        """How many documents a chunk is to have that has some by now."""
        each = self._seconds_each
        if each is None:
            return FIRST_DOCUMENTS
        size = MOST_SECONDS / each
        if self._all_found:
            left = documents + self._found - self._begun
            size = min(size, max(left / (2 * max(1, self._cluster.threads)), LEAST_SECONDS / each))
        return max(1, min(MOST_DOCUMENTS, int(size)))

    def _learn(self, outcome: Outcome) -> None:
        """How long documents take, as the last few chunks show it."""
        if outcome.counted.files:
            each = max(outcome.seconds / outcome.counted.files, 1e-3)
            self._seconds_each = each if self._seconds_each is None else (self._seconds_each + each) / 2

    # --- orders -------------------------------------------------------------------------------------------------

    def _run_quietly(self, chunk: Chunk) -> None:
        """Run a chunk as soon as it is there: whoever asks for it later finds it done, or its error."""
        try:
            self.run_chunk(chunk)
        except BaseException as error:  # noqa: BLE001 (a thread's border: the run ends, and its caller gets the error)
            self.fail(error)

    def _run_chunk(self, chunk: Chunk) -> ChunkSummary:
        if self._fault is not None:
            raise self._fault
        chunk.wait_sealed()
        works, counts, parts = list(chunk.works), Counter[str](), list[str]()
        try:
            for outcome in self._outcomes(chunk, [work for work in works if not work.copied]):
                counts += outcome.counted.counts
                parts += outcome.parts
        finally:
            with self._room:
                self._at_work -= 1
                self._room.notify_all()
        for outcome in self._copies(chunk, [work for work in works if work.copied]):
            counts += outcome.counted.counts
            parts += outcome.parts
        chunk.works.clear()
        return ChunkSummary(
            number=chunk.number,
            documents=counts.total(),
            counts=counts,
            parts=tuple(parts),
            seconds=time.monotonic() - chunk.opened_at,
        )

    def _outcomes(self, chunk: Chunk, works: Sequence[Work], tries: int = 1) -> Iterator[Outcome]:
        """Have documents done by workers, in one order where no worker dies of it; what came of it.

        Where workers die, the documents are sent in halves, until the one is found that they die of.
        """
        from docflow.runs.dask_cluster import WorkersDied

        if not works or self.stopping:
            return
        order = self._order(chunk, works)
        with self._lock:
            self._standing[order.key] = Run(id=self.run.id, program="", engine="", runner="")
        try:
            outcome = self._cluster.do(order, self._is_given_up)
        except WorkersDied as error:
            with self._lock:
                del self._standing[order.key]
            if len(works) > 1:
                half = len(works) // 2
                yield from self._outcomes(chunk, works[:half])
                yield from self._outcomes(chunk, works[half:])
            elif tries < TRIES_ALONE:
                yield from self._outcomes(chunk, works, tries + 1)
            else:
                yield self._write([(works[0], [self._killer(works[0], error)])])
            return
        if outcome is None:
            return
        if outcome.error is not None:
            raise outcome.error
        self._learn(outcome)
        self._settle(works, outcome, order.key)
        yield outcome

    def _order(self, chunk: Chunk, works: Sequence[Work]) -> Order:
        assert self._store is not None
        return Order(
            key=f"docflow-{self.run.id}-{next(self._numbers)}",
            number=chunk.number,
            job=self._job,
            documents=tuple(
                Ordered(
                    work.item,
                    work.document_id,
                    work.media_type,
                    is_redone=self._store.is_redone(work.item.source, work.document_id),
                )
                for work in works
            ),
        )

    def _settle(self, works: Sequence[Work], outcome: Outcome, key: str) -> None:
        """Take up what a worker wrote."""
        assert self._store is not None
        paths = [self._store.out / part for part in outcome.parts]
        self._store.adopt(paths)
        with self._lock:
            del self._standing[key]
            tally.add(self.run, outcome.counted)
        for work in works:
            self._plan.forget(work)
            work.finish()
        if self._on_result is not None:
            self._give(self._store.results_in(paths))

    def _killer(self, work: Work, why: Exception) -> Result[Any]:
        """The failed row of a document of which worker after worker died."""
        error = WorkerDied(
            f"the workers that extracted it died, {TRIES_ALONE} times over ({why})",
            hint="The file may need more memory than a worker has: try it alone with --runner direct --retry-failed.",
        )
        return failed_result(work, error, self._engine, self._program, self.options.settings.extraction, 0.0)

    def _copies(self, chunk: Chunk, works: Sequence[Work]) -> Iterator[Outcome]:
        """Give documents the rows of the same bytes under other names; those that have none are done by workers."""
        copied, left = [], []
        for work in works:
            results = copies_for(work, self._store, self._stopping)
            if results:
                copied.append((work, results))
            else:
                left.append(work)
        if copied:
            yield self._write(copied)
        yield from self._outcomes(chunk, left)

    def _write(self, given: Sequence[tuple[Work, Sequence[Result[Any]]]]) -> Outcome:
        """Write rows that no worker has to make."""
        store, counted, rows = self._store, Run(id=self.run.id, program="", engine="", runner=""), []
        assert store is not None
        for _, results in given:
            if self._calibration is not None:
                accept_error = self.options.settings.extraction.accept_error
                results = [self._calibration.apply(result, accept_error) for result in results]
            rows += [store.row(result)[1] for result in results]
            for result in results:
                tally.count(counted, result)
        counted.files = len(given)
        written = store.write(rows, [f"{work.item.source}\0{work.document_id}" for work, _ in given])
        with self._lock:
            tally.add(self.run, counted)
        for work, results in given:
            self._plan.forget(work)
            work.finish()
            self._give(results)
        return Outcome(counted=counted, parts=tuple(store.name_of(path) for path in written))

    # --- how it goes --------------------------------------------------------------------------------------------

    def _heard(self, said: dict[str, Any]) -> None:
        """A worker tells how far it is with an order."""
        with self._lock:
            standing = self._standing.get(said["order"])
            if standing is not None and said["run"] == self.run.id:
                standing.files, standing.counts = said["files"], Counter(said["counts"])

    def now(self) -> Progress:
        # Without the lock: the answer comes through Dask's loop, and what workers tell through that takes the lock.
        self._waits = not self.run.seconds and not self._cluster.threads
        with self._lock:
            settled, standing = super().now(), list(self._standing.values())
        counts = sum((run.counts for run in standing), Counter[str]())
        return replace(
            settled,
            finished=(settled.finished or 0) + sum(run.files for run in standing),
            valid=settled.valid + counts["valid"],
            invalid=settled.invalid + counts["invalid"],
            failed=settled.failed + counts["failed"],
        )

    def _note(self) -> str | None:
        return "waiting for a worker of Dask" if self._waits else super()._note()

    def stop(self) -> None:
        super().stop()
        self._stop_workers()

    def fail(self, error: BaseException) -> None:
        super().fail(error)
        self._stop_workers()

    def _stop_workers(self) -> None:
        """Let the workers write what they have. Returns at once: a signal's handler must not wait."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            threading.Thread(target=self._cluster.end_run, args=(self.run.id,), daemon=True).start()

    def _is_given_up(self) -> bool:
        return self._stopped_at is not None and time.monotonic() - self._stopped_at > STOP_SECONDS

    def _end_on_workers(self) -> None:
        if self._address is not None:  # our own end with the run
            self._cluster.end_run(self.run.id)
            if isinstance(self._engine, Pool):
                labels = [server.label for server in self._engine.status()]
                self._cluster.close_places(self.run.id, labels, self.options.settings.servers.requests)


def _sweep_markers(folder: Place) -> None:
    """Take away what runs left that were killed long ago: their ids begin with the day."""
    day = (dt.datetime.now(dt.UTC) - MARKER_KEPT).strftime(".%Y%m%d")
    for marker in folder.glob(f".*{AT_WORK}"):
        if marker.name < day:
            marker.unlink(missing_ok=True)


def _for_workers(options: RunOptions) -> RunOptions:
    """The options as another process can take them, wherever it stands: without sources, paths absolute."""
    settings = options.settings
    reading = settings.reading
    if reading.ocr_model is not None:
        reading = reading.model_copy(update={"ocr_model": reading.ocr_model.absolute()})
    engine = options.engine or settings.engine
    assert isinstance(engine, str | Sequence)  # others are refused before
    return replace(
        options,
        sources=(),
        program=_absolute(options.program) if isinstance(options.program, str) else options.program,
        schema=None if options.schema is None else _absolute(options.schema),
        out=options.out.absolute() if isinstance(options.out, Path) else options.out,
        engine=[absolute_entry(entry) for entry in entries_of(engine)],
        settings=settings.model_copy(update={"reading": reading}),
    )


def _absolute(spec: str) -> str:
    """A program or schema whose file is named by an absolute path, where it is a file's."""
    where, colon, name = spec.rpartition(":")
    if where.endswith(".py"):
        return f"{os.path.abspath(where)}{colon}{name}"
    return os.path.abspath(spec) if spec.endswith(".json") else spec
