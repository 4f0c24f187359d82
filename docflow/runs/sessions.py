"""A process that works for a run which another process leads: what it opens once, and what it does with each order.

Engine, decoders, OCR and program stay open between the orders of a run, and are closed when the run ends, or when no
order has come for a while.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from docflow.engines.members import Places
from docflow.errors import DocflowError, InternalError, StorageError, UsageError, stack_of
from docflow.extraction.result import Result
from docflow.loading import load_program
from docflow.runs import tally
from docflow.runs.chunks import Chunk
from docflow.runs.extractor import GRACE_SECONDS, Extractor, Task
from docflow.runs.model import Run
from docflow.runs.orders import Job, Order, Outcome, own_version
from docflow.runs.plan import Work
from docflow.runs.resources import open_engine, open_resources
from docflow.settings import load_settings

log = logging.getLogger("docflow.runs")

IDLE_SECONDS = 120.0
"""A run that has sent no order for so long may be dead: its processes are ended (another order opens them again)."""

OnCounted = Callable[[Run], None]


class Session:
    """What one run has open in this process. Orders may be worked on side by side: ``orders`` are at work now."""

    def __init__(self, job: Job, places: Places | None, *, cores: int, where: str) -> None:
        """Raises UsageError, EngineError or StorageError where this process cannot work for the run."""
        self.where = where
        self.orders = 0
        self.idle_since = 0.0
        self.stopping = threading.Event()
        self._fault: BaseException | None = None
        self._counted: dict[Chunk, tuple[Run, OnCounted]] = {}
        self._lock = threading.Lock()
        with contextlib.ExitStack() as opened:
            self._open(opened, job, places, cores)
            self._opened = opened.pop_all()

    def _open(self, opened: contextlib.ExitStack, job: Job, places: Places | None, cores: int) -> None:
        from docflow.storage.store import Store  # Arrow takes most of a second to import

        options = job.options
        if not job.beside:  # the cache is this machine's own
            settings = options.settings.model_copy(update={"cache_dir": load_settings().cache_dir})
            options = replace(options, settings=settings)
        options = replace(options, concurrency=job.concurrency)
        assert options.out is not None
        if not job.marker.exists():
            raise StorageError(
                f"{self.where} does not see {options.out} as the run does",
                hint="OUT has to be shared: the same folder, under the same path, for every worker.",
            )
        engine, ours = open_engine(options, places)
        if ours:
            opened.callback(engine.close)
        resources = open_resources(options, engine, cores=cores)
        opened.callback(resources.close)
        program = load_program(options.program, schema=options.schema, name=options.name)
        if program.version != job.program_version:
            raise UsageError(
                f"{self.where} has another version of the program {program.name}",
                hint="Programs and schema files have to be the same for every worker.",
            )
        self._store = Store(
            options.out,
            program,
            job.engine,
            job.model,
            job.run_id,
            split=options.settings.extraction.split,
            redo_fallback=options.redo_fallback,
            indexed=False,
            refresh=options.refresh,
        )
        task = Task(
            resources=resources,
            program=program,
            store=self._store,
            calibration=job.calibration,
            settings=options.settings.extraction,
            requested_model=job.model,
        )
        self._extractor = Extractor(task, self.stopping, taken=self._take, written=lambda _: None, fault=self._fail)
        opened.callback(self._extractor.close)

    def close(self) -> None:
        """End what is open; what is still at work fails."""
        self.stopping.set()
        self._opened.close()

    def do(self, order: Order, counted: OnCounted) -> Outcome:
        """Extract the documents of an order and write their parts.

        ``counted`` is called with the counts so far, whenever a document is finished.
        """
        chunk = Chunk(order.number)
        run = Run(id=order.job.run_id, program=order.job.engine, engine=order.job.engine, runner="dask")
        with self._lock:
            self._counted[chunk] = run, counted
        try:
            self._check_sources(order)
            for one in order.documents:
                work = Work(one.item, one.document_id, one.media_type)
                if one.is_redone:
                    self._store.redo(one.item.source, one.document_id)
                chunk.add(work)
                self._extractor.put(work, chunk)
            chunk.seal()
            summary = self._extractor.run_patiently(chunk)
        except DocflowError as error:
            return Outcome(counted=run, error=error)
        finally:
            with self._lock:
                del self._counted[chunk]
        if self._fault is not None:
            return Outcome(counted=run, error=_said(self._fault))
        return Outcome(counted=run, parts=summary.parts, seconds=summary.seconds)

    def _check_sources(self, order: Order) -> None:
        """A file may go while a run lasts; where its very folder is not there, this worker could read none of them."""
        for folder in {one.item.path.parent for one in order.documents if one.item.path and one.document_id}:
            if not folder.is_dir():
                raise UsageError(
                    f"{self.where} does not see the folder {folder}",
                    hint="Sources have to be shared: the same files, under the same paths, for every worker.",
                )

    def _take(self, chunk: Chunk, work: Work, results: Sequence[Result[Any]]) -> None:
        with self._lock:
            if (known := self._counted.get(chunk)) is None:  # given up meanwhile
                return
            run, counted = known
            for result in results:
                tally.count(run, result)
            run.files += 1
            counted(run)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._fault = self._fault or error
        self.stopping.set()


def _said(error: BaseException) -> DocflowError:
    """An error as it may go to another process."""
    if isinstance(error, DocflowError):
        return error
    log.error("a worker failed: %s\n%s", type(error).__name__, stack_of(error))
    return InternalError(f"{type(error).__name__}: {error}")


# --- the sessions of this process ---------------------------------------------------------------------------------


class Sessions:
    """The runs that this process works for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}
        self._ended: set[str] = set()

    def do(self, order: Order, places: Places | None, counted: OnCounted, *, cores: int, where: str) -> Outcome:
        """Do an order in the session of its run, which is opened where it is not yet; an error is in the outcome."""
        job = order.job
        nothing = Run(id=job.run_id, program=job.engine, engine=job.engine, runner="dask")
        if job.version != own_version():
            return Outcome(counted=nothing, error=another_version(where, own_version()))
        try:
            with self._lock:
                if job.run_id in self._ended:
                    return Outcome(counted=nothing)
                session = self._open.get(job.run_id)
                if session is None:
                    session = self._open[job.run_id] = Session(job, places, cores=cores, where=where)
                session.orders += 1
        except DocflowError as error:
            return Outcome(counted=nothing, error=error)
        try:
            return session.do(order, counted)
        finally:
            with self._lock:
                session.orders -= 1
                session.idle_since = since = time.monotonic()
            timer = threading.Timer(IDLE_SECONDS, self._close_if_idle, (job.run_id, since))
            timer.daemon = True
            timer.start()

    def end(self, run_id: str) -> None:
        """The run has ended, or is to end: nothing more is begun, and what it has open is closed. Returns at once."""
        with self._lock:
            self._ended.add(run_id)
            session = self._open.pop(run_id, None)
        if session is not None:
            session.stopping.set()
            threading.Thread(target=self._close, args=(session,), daemon=True).start()

    def _close(self, session: Session) -> None:
        deadline = time.monotonic() + 2 * GRACE_SECONDS
        while session.orders and time.monotonic() < deadline:  # what is in work has a moment to be kept
            time.sleep(0.05)
        session.close()

    def _close_if_idle(self, run_id: str, since: float) -> None:
        with self._lock:
            session = self._open.get(run_id)
            if session is None or session.orders or session.idle_since != since:
                return
            del self._open[run_id]
        session.close()


sessions = Sessions()
"""Those of this process."""


def another_version(where: str, version: str) -> UsageError:
    """A worker has another docflow than the run."""
    return UsageError(
        f"{where} has docflow {version}, and this is {own_version()}",
        hint="Install the same version on every worker.",
    )
