"""Jobs at work: each an ordinary run over its documents, that goes on where it was when the service starts again."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from docflow.documents.sources import SourceItem
from docflow.errors import DocflowError, EngineError, StorageError, UsageError, stack_of
from docflow.runs.execution import Execution
from docflow.runs.model import OnProgress, OnResult, Progress, RunOptions
from docflow.runs.resources import Resources
from docflow.server.service.asked import Asked
from docflow.server.service.extracting import Extraction
from docflow.server.service.job_files import FINISHED, Job, JobFiles, now_text
from docflow.server.service.refusals import Refusal
from docflow.server.service.uploads import Received
from docflow.settings import ServeSettings
from docflow.storage import Dataset

log = logging.getLogger("docflow.service")

JOBS_AT_ONCE = 2
MOST_UNFINISHED = 1_000
SWEEP_SECONDS = 600.0
WAITS = (2.0, 5.0, 15.0, 60.0)
"""Seconds before a job whose engine is away is tried again; the last one counts for all further times."""


class JobRun(Execution):
    """The run of a job: through the service's own decoders and OCR processes."""

    def __init__(self, options: RunOptions, resources: Resources, progress: OnProgress, on_result: OnResult) -> None:
        super().__init__(options, progress, on_result)
        self._shared = resources

    def _start(self, first: Sequence[SourceItem], cleanup: contextlib.ExitStack) -> None:
        self._resources = self._shared


class Jobs:
    """The jobs of a service. Threads of its own run them, a few at once, in the order in which they came."""

    def __init__(self, folder: Path, extraction: Extraction, settings: ServeSettings) -> None:
        self.files = JobFiles(folder)
        self._extraction, self._settings = extraction, settings
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._reserved = 0
        self._closing = threading.Event()
        self._swept = time.monotonic()
        self.files.sweep(settings.job_days)
        for job in reversed(self.files.all()):
            if job.state == "deleted":
                self.files.remove(job.id)
            elif job.state not in FINISHED:
                self._waiting.put(job.id)
        self._threads = [
            threading.Thread(target=self._work, name=f"job-{number}", daemon=True) for number in range(JOBS_AT_ONCE)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let the jobs at work write what is done; they go on when a service starts again."""
        self._closing.set()
        with self._lock:
            running = list(self._running.values())
        for one in running:
            one.stop()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(20)

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Room for an upload of that many bytes while it arrives. Raises Refusal (507) where there is none."""
        used = self.files.size()
        with self._lock:
            if used + self._reserved + size > self._settings.jobs_bytes:
                raise Refusal(507, "there is no room for this job", code="no_room", hint="Delete jobs that are done.")
            self._reserved += size
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= size

    def submit(self, received: Received, asked: dict[str, Any], owner: str) -> Job:
        """Keep a job and put it in line. Raises Refusal, StorageError."""
        if self._waiting.qsize() >= MOST_UNFINISHED:
            raise Refusal(503, "too many jobs are waiting", code="overloaded", retry_after=60)
        job = self.files.create(received, asked, owner)
        self._waiting.put(job.id)
        return job

    def delete(self, job: Job) -> None:
        """Stop a job where it is at work, and remove all that was kept of it."""
        job.state = "deleted"
        self.files.save(job)
        with self._lock:
            running = self._running.get(job.id)
        if running is not None:
            running.stop(delete=True)  # its thread removes the files, once it is through with them
        else:
            self.files.remove(job.id)

    def progress(self, job_id: str) -> Progress | None:
        """How far a job is that is at work here."""
        with self._lock:
            running = self._running.get(job_id)
        return running.progress if running is not None else None

    # --- the threads ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                job_id = self._waiting.get(timeout=30)
            except queue.Empty:
                self._sweep()
                continue
            if job_id is not None:
                self._do(job_id)

    def _sweep(self) -> None:
        with self._lock:
            if time.monotonic() - self._swept < SWEEP_SECONDS:
                return
            self._swept = time.monotonic()
        self.files.sweep(self._settings.job_days)

    def _do(self, job_id: str) -> None:
        running = _Running(self._closing)
        with self.files.locked(job_id) as ours:
            if not ours:
                return
            with self._lock:
                self._running[job_id] = running
            try:
                job = self.files.load(job_id)
                if job is not None and job.state not in (*FINISHED, "deleted"):
                    self._run(job, running)
            except BaseException as error:  # noqa: BLE001 (a thread's border: the other jobs go on)
                log.error("job %s: %s\n%s", job_id, type(error).__name__, stack_of(error))
            finally:
                with self._lock:
                    del self._running[job_id]
                if running.deleted:
                    self.files.remove(job_id)

    def _run(self, job: Job, running: _Running) -> None:
        started = time.monotonic()
        before = job.seconds
        job.state, job.message, job.started_at = "running", "", job.started_at or now_text()
        self._save(job, running)
        tries = 0
        while not running.stopped.is_set():
            try:
                self._run_once(job, running)
            except DocflowError as error:
                if not (isinstance(error, EngineError) or error.retryable):
                    job.state, job.message = "failed", _said(error)
                    break
                job.state, job.message = "waiting", "no engine can answer now"
                self._save(job, running)
                running.stopped.wait(WAITS[min(tries, len(WAITS) - 1)])
                tries += 1
                continue
            except Exception as error:  # noqa: BLE001 (a fault of ours costs this job, and is said)
                log.error("job %s: %s\n%s", job.id, type(error).__name__, stack_of(error))
                job.state, job.message = "failed", "the service failed on this job"
                break
            if not running.stopped.is_set():
                job.state, job.message = "done", ""
            break
        job.seconds = round(before + time.monotonic() - started, 3)
        if job.state in FINISHED:
            job.finished_at = now_text()
            job.counts = dict(counts_of(self.files.out(job)))
        elif not running.deleted:
            job.state = "queued"  # the service closes: it goes on from here
        self._save(job, running)

    def _save(self, job: Job, running: _Running) -> None:
        if not running.deleted:
            self.files.save(job)

    def _run_once(self, job: Job, running: _Running) -> None:
        """Raises DocflowError."""
        extraction = self._extraction
        asked = Asked.of(job.asked)
        extracting = asked.settings(extraction.settings.extraction)
        options = RunOptions(
            sources=tuple(
                SourceItem(file.source, self.files.document(job, file), size=file.size) for file in job.files
            ),
            program=asked.chosen(extraction.programs),
            out=self.files.out(job),
            engine=extraction.resources.engine,
            settings=extraction.settings.model_copy(update={"extraction": extracting}),
        )
        # Half of the places: documents of requests, for which somebody waits, find room beside it.
        resources = dataclasses.replace(
            extraction.resources, concurrency=max(1, extraction.resources.concurrency // JOBS_AT_ONCE)
        )
        with JobRun(options, resources, running.tell, extraction.on_result) as execution:
            running.begin(execution)
            run = execution.run_direct()
        if run.budget:
            raise UsageError(f"the budget of {run.budget} that a run may have is reached")


class _Running:
    """A job at work."""

    def __init__(self, closing: threading.Event) -> None:
        self.progress: Progress | None = None
        self.stopped = threading.Event()
        self.deleted = False
        self._execution: JobRun | None = None
        self._lock = threading.Lock()
        if closing.is_set():
            self.stopped.set()

    def begin(self, execution: JobRun) -> None:
        with self._lock:
            self._execution = execution
            if self.stopped.is_set():
                execution.stop()

    def stop(self, *, delete: bool = False) -> None:
        with self._lock:
            self.deleted |= delete
            self.stopped.set()
            if self._execution is not None:
                self._execution.stop()

    def tell(self, progress: Progress) -> None:
        self.progress = progress


def counts_of(out: Path) -> Counter[str]:
    """Rows by status."""
    counts: Counter[str] = Counter()
    with contextlib.suppress(StorageError):  # no row was written yet
        for (_, status), number in Dataset(out).counts().items():
            counts[status] += number
    return counts


def _said(error: DocflowError) -> str:
    return f"{error.message}. {error.hint}".strip() if error.hint else error.message
