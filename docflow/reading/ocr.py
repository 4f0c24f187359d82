"""Pages without a text layer -> words, by OCR in worker processes of their own.

onnxruntime's threads, hostile pixels and a crash stay in the worker: a worker that dies or takes too long is replaced,
and only its page is lost. One that has read many pages is replaced between two of them, whatever leaks in it. The
parent never imports numpy, OpenCV or onnxruntime.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from docflow.documents.model import Box, Page, Word
from docflow.errors import ConfigError, ReadingError
from docflow.reading.cache import WordsCache
from docflow.reading.messages import read_message, write_message

if TYPE_CHECKING:
    from docflow.settings import ReadingSettings

# A hostile page that takes a worker over finds no secrets in its environment.
_KEPT_ENVIRONMENT = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "OMP_NUM_THREADS",
)  # fmt: skip
# By default glibc gives every large tensor back to the system and takes it anew for the next page: the page faults
# alone are a fifth of the time. With these limits the worker keeps the few hundred MiB that it uses over and over.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
REVISION = 2
"""Counts the changes to how docflow itself reads: a new number means that cached words are not used any more."""
READABLE = 0.65
"""Legibility below which what was read of a page is not worth answering from."""
START_SECONDS = 120.0
"""Longest time for a worker to load its models, on however busy a machine."""


class Reader:
    """Reads pages with OCR; safe to use from several threads. ``words`` is what ``Document.read_with`` takes.

    ``workers`` processes with ``threads`` threads each. They start when first needed, or at once by ``warm``.
    Raises ConfigError when the folder of OCR models that the settings name is not complete.
    """

    def __init__(self, settings: ReadingSettings, cache_dir: Path | None, workers: int, threads: int) -> None:
        self._settings = settings
        self._cache = None
        model = _model_folder(settings.ocr_model)
        if cache_dir is not None and settings.cache:
            self._cache = WordsCache(cache_dir, _reader_version(settings, model), settings.cache_mb)
        self._start: Callable[[], _Worker] = lambda: _Worker(threads, model)
        self._most = workers
        self._free = threading.Condition()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm(self) -> None:
        """Start every worker now; returns at once, while they load their models."""
        # One that cannot be started now is an error of the page that needs it.
        with self._free, contextlib.suppress(ReadingError):
            while not self._closed and len(self._idle) + len(self._busy) < self._most:
                self._idle.append(self._start())

    def words(self, page: Page) -> tuple[Word, ...]:
        """The words of a page: its text layer's where it has one, else from the cache, else by OCR.

        Sets the page's ``legibility`` as well.
        Raises ReadingError when OCR fails on the page, DocumentError when its pixels cannot be had.
        """
        if page.text_layer:
            return page.layer_words
        if self._cache is not None and (known := self._cache.get(page.document_id, page.number)) is not None:
            words, page.legibility = known
            return words
        image = page.render(
            max_side=_longest_side(page, self._settings.max_side)
        )  # before a worker is taken: others read meanwhile
        rows, legibility = self._read(image.tobytes(), image.width, image.height)
        words = _words(rows, page.width / image.width, page.height / image.height)
        page.legibility = legibility
        if self._cache is not None:
            self._cache.put(page.document_id, page.number, words, legibility)
        return words

    def forget(self, document_id: str) -> int:
        """Drop a document's words from the cache; tells how many pages were dropped."""
        return self._cache.forget(document_id) if self._cache is not None else 0

    def close(self) -> None:
        """End the workers. Pages that other threads are reading just then raise ReadingError."""
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.stop()  # whoever waits for it gives it back
            self._free.notify_all()
        for worker in idle:
            worker.kill()

    def _read(self, pixels: bytes, width: int, height: int) -> tuple[list[Any], float]:
        worker = self._take()
        usable = False
        try:
            answer = worker.read(pixels, width, height, self._settings.ocr_seconds)
            usable = True
        except _PageError as error:
            usable = True
            raise ReadingError(f"OCR failed: {error}", retryable=False) from error
        finally:
            self._give_back(worker, usable)
        return answer["words"], answer["legibility"]

    def _take(self) -> _Worker:
        with self._free:
            while not self._closed:
                for worker in [worker for worker in self._idle if worker.lost]:  # between two pages: nobody's loss
                    self._idle.remove(worker)
                    worker.kill()
                if self._idle or len(self._busy) < self._most:
                    worker = self._idle.pop() if self._idle else self._start()
                    self._busy.append(worker)
                    return worker
                self._free.wait()
        raise ReadingError("the reader is closed")

    def _give_back(self, worker: _Worker, usable: bool) -> None:
        with self._free:
            self._busy.remove(worker)
            usable = usable and not self._closed and worker.pages < self._settings.ocr_recycle_after
            if usable:
                self._idle.append(worker)
            self._free.notify()
        if not usable:
            worker.kill()


def is_readable(page: Page) -> bool:
    """Whether the reader can read this page's script and print; what it read of another page is guesswork.

    Reads the page's words first, and raises what that raises.
    """
    page.words  # noqa: B018 (reading them sets the legibility)
    return page.legibility >= READABLE


LONG_PAGE = 2.5
"""Height over width from which on a page is a long strip, such as the receipt of a full trolley."""


def _longest_side(page: Page, max_side: int) -> int:
    """Pixels along the longest side of the image to read.

    A long strip may be longer than ``max_side``, so that its letters stay as large as those of other pages; with its
    width the image still has no more pixels than a square page.
    """
    return round(max_side * min(LONG_PAGE, max(1.0, page.height / page.width / LONG_PAGE)))


class _PageError(Exception):
    """The worker is well, but could not read this page."""


class _Worker:
    """One OCR process. Not for two threads at once. Raises ReadingError when it cannot be started."""

    def __init__(self, threads: int, model: Path | None) -> None:
        command = [sys.executable, "-P", "-m", "docflow.reading.worker", str(threads), *([str(model)] if model else [])]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ} | _KEEP_MEMORY,
                # Ctrl-C is for the parent, which lets the page in work finish; the worker ends when its stdin does.
                start_new_session=True,
            )
        except OSError as error:
            raise ReadingError(f"no OCR process can be started: {error}") from error
        self._ready = False
        self.pages = 0
        """How many it was given to read."""

    def read(self, pixels: bytes, width: int, height: int, seconds: float) -> dict[str, Any]:
        """The words and legibility of an image. Raises _PageError, or ReadingError: then the worker is of no use."""
        if not self._ready:
            hello = self._exchange(START_SECONDS, "OCR did not start")
            if "error" in hello:
                raise ReadingError(f"OCR cannot be loaded: {hello['error']}", retryable=False)
            self._ready = True
        self.pages += 1
        header = json.dumps({"width": width, "height": height}).encode()
        answer = self._exchange(seconds, "OCR of the page", header, pixels)
        if "error" in answer:
            raise _PageError(answer["error"])
        return answer

    @property
    def lost(self) -> bool:
        """Whether the process has ended after it was up; one that never came up still has its reason to tell."""
        return self._ready and self._process.poll() is not None

    def stop(self) -> None:
        """End the process at once, from any thread: whoever waits for its answer gets ReadingError."""
        self._process.kill()

    def kill(self) -> None:
        """End the process and give its pipes back."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was still to be written to a process that is gone
                    continue

    def _exchange(self, seconds: float, what: str, *messages: bytes) -> dict[str, Any]:
        """Send messages and take the answer; a worker that takes longer is killed, which ends the reading too."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            for message in messages:
                write_message(stdin, message)
            answer: dict[str, Any] = json.loads(read_message(stdout))
        except (EOFError, OSError) as error:
            if late.is_set():
                raise ReadingError(
                    f"{what} took longer than {seconds:g} s",
                    hint="Raise reading.ocr_seconds, or lower reading.max_side.",
                ) from error
            raise ReadingError(f"{what}: the OCR process died", hint="Run again with --retry-failed.") from error
        finally:
            timer.cancel()
        return answer


def _words(rows: list[Any], across: float, down: float) -> tuple[Word, ...]:
    """Rows of a worker as words, from the pixels of the image to the unit of the page."""
    words = []
    for text, box, score, segment, levelled in rows:
        place = Box(box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        # The levelled page may lie across the page: one scale for both directions keeps its lines level.
        level = None if levelled is None else Box(*(value * across for value in levelled))
        words.append(Word(text, place, score, segment, level))
    return tuple(words)


_MODEL_FILES = ("det.onnx", "rec.onnx", "dict.txt")


def _model_folder(folder: Path | None) -> Path | None:
    """The folder of OCR models, if one is set. Raises ConfigError when a file is missing."""
    if folder is None:
        return None
    folder = folder.expanduser().resolve()
    missing = [name for name in _MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"the OCR model {folder} has no {' and no '.join(missing)}",
            hint="A folder of OCR models holds det.onnx, rec.onnx and dict.txt.",
        )
    return folder


def _reader_version(settings: ReadingSettings, model: Path | None) -> str:
    """Everything that the words of a page depend on, besides its pixels."""
    parts = [f"docflow {REVISION}", f"rapidocr {version_of('rapidocr')}", f"{settings.max_side}", f"{settings.pdf_dpi}"]
    if model is not None:
        for name in _MODEL_FILES:
            with (model / name).open("rb") as stream:
                parts.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return "\n".join(parts)
