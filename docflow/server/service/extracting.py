"""Extraction for requests: one engine, one set of decoders and OCR processes, and a line for those who wait."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from docflow.documents.sniff import HEAD_BYTES, media_type
from docflow.documents.sources import SourceItem
from docflow.engines.base import Engine
from docflow.evaluation.calibration import Calibration
from docflow.extraction.result import Result
from docflow.program import Program
from docflow.runs.documents import extract_work
from docflow.runs.model import OnResult, RunOptions
from docflow.runs.plan import Work
from docflow.runs.resources import Resources, load_calibration, open_resources
from docflow.runs.workers import Workers
from docflow.server.service.following import Following, Tell
from docflow.server.service.programs import Programs
from docflow.server.service.refusals import Refusal
from docflow.server.service.uploads import Upload, Uploads
from docflow.settings import ExtractionSettings, Settings

log = logging.getLogger("docflow.service")

T = TypeVar("T")

DOCUMENTS_AT_ONCE = 4
"""Documents of one request that are in work at once: another one's single document need not wait for hundreds."""
_NEVER = threading.Event()


def data_dir_of(settings: Settings) -> Path:
    """Where the service keeps what it is sent."""
    return settings.serve.data_dir or settings.cache_dir / "serve"


@dataclass(frozen=True, slots=True)
class Extracted:
    """What became of one upload: a result, or one for each document in it; and how its pages are shown."""

    results: list[Result[Any]]
    following: Following


class Extraction:
    """The part of a service that takes documents through programs. Lives in one event loop, works in threads.

    Processes start with the first document and are shared by all requests and jobs. ``on_result`` is told of each
    document's result, whoever asked; it may be called from any thread.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        """Raises ConfigError, ProgramError, StorageError for settings that are off."""
        self.settings = settings
        self.programs = Programs(settings.serve.programs)
        self.on_result: OnResult = lambda result: None
        self.uploads = Uploads(data_dir_of(settings) / "uploads")
        options = RunOptions(sources=(), settings=settings, engine=engine)
        self.calibration: Calibration | None = load_calibration(options)
        self.resources: Resources = open_resources(options, engine, one_image=False)
        self._workers = Workers(self.resources.concurrency)
        self._turns = asyncio.Semaphore(self.resources.concurrency)
        self._inside = 0
        self._closing = threading.Event()

    def close(self) -> None:
        """End the processes; what is still in work fails."""
        self._closing.set()
        self.resources.close()
        self._workers.end()
        self.uploads.close()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for a request, in work or in line. Raises Refusal (503) when there is none."""
        serve = self.settings.serve
        if self._inside >= serve.requests + serve.waiting:
            raise Refusal(503, "too many requests are waiting", code="overloaded", retry_after=5)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def extract(
        self,
        upload: Upload,
        program: Program,
        settings: ExtractionSettings,
        tell: Tell,
        *,
        keep: bool = False,
    ) -> Extracted:
        """One document, once it is its turn. What goes wrong with it is in its results.

        ``tell`` is called in other threads. ``keep`` holds the bytes in memory, for pages that are shown later.
        Cancelling it gives the document up: what an engine was asked already is still waited for, out of sight.
        """
        following = Following(tell, threading.Event())
        try:
            results = await self.in_turn(lambda: self._extract(upload, program, settings, following, keep))
        except asyncio.CancelledError:
            following.given_up.set()
            raise
        return Extracted(results, following)

    async def in_turn(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, done in a thread once it is its turn."""
        await self._turns.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            self._turns.release()  # not before the thread is free, whatever became of those who wait
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:  # noqa: BLE001 (a thread's border: whoever waits gets the error)
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(finish, result, error)

        if not self._workers.put(run, self._closing):
            self._turns.release()
            raise Refusal(503, "the service is closing", retry_after=5)
        return await future

    def _extract(
        self, upload: Upload, program: Program, settings: ExtractionSettings, following: Following, keep: bool
    ) -> list[Result[Any]]:
        if following.given_up.is_set():
            return []
        item = SourceItem(upload.name, upload.path, size=upload.size)
        try:
            head, document_id = _looked_at(upload.path)
            if keep:
                item = SourceItem(upload.name, data=upload.path.read_bytes(), size=upload.size)
        except OSError:  # given up and removed meanwhile; opening it says so
            head, document_id = b"", ""
        work = Work(item, document_id, media_type(head) or "")
        if work.media_type.startswith("image/"):
            self.resources.warm()
        results = extract_work(work, following.through(self.resources), program, None, settings, _NEVER)
        if self.calibration is not None:
            results = [self.calibration.apply(result, settings.accept_error) for result in results]
        # The engine's own text is for whoever runs the service; a record that is not valid is in data as it was read.
        return [dataclasses.replace(result, answer=None) for result in results]


def _looked_at(path: Path) -> tuple[bytes, str]:
    """The first bytes of a file, and the id of all of them. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        return head, hashlib.file_digest(file, "sha256").hexdigest()
