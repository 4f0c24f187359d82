"""Watching a folder: what is new or has changed is extracted as soon as it is whole, over and over.

A file is taken when it looked the same twice, some seconds apart, and nobody on this machine has it open for writing.
What was done is known by content, from the dataset: a watch that starts again does nothing twice. The folder itself is
only read.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from docflow.buckets import Place
from docflow.documents.sources import SourceItem, find
from docflow.errors import EngineError, NothingToDo, StorageError, UsageError
from docflow.loading import load_program
from docflow.runs.execution import execute
from docflow.runs.model import Run, RunOptions, new_run_id
from docflow.runs.signals import stopped_by_signals

SETTLE_SECONDS = 2.0
"""A file must have looked the same for so long."""
MOST_A_BATCH = 2_000
"""Files a batch, at most: what is told of a large inbox is told in good time."""
MOST_WAIT_SECONDS = 60.0
"""How long to wait, in the end, before an engine that is away is tried again."""
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".swp", "~")
"""How files are called while browsers and copying programs write them."""

Look = tuple[int | None, float | None]
"""A file's size in bytes and its time of change: while both stay, so does the file."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some files: their run, or why it could not be (``error``, then they are tried again)."""

    files: int
    run: Run | None = None
    error: str = ""


class Watch:
    """Looks at a folder. ``settle_seconds`` is how long a file must have stayed the same."""

    def __init__(self, inbox: Path, *, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._inbox = inbox
        self._settle = settle_seconds
        self._done: dict[str, Look] = {}
        self._seen: dict[str, tuple[Look, float]] = {}

    @property
    def waiting(self) -> int:
        """Files that are there and not settled yet."""
        return len(self._seen)

    def look(self) -> list[SourceItem]:
        """The files to extract: new or changed since they were taken, and whole.

        Raises NothingToDo when the folder is gone.
        """
        now = time.monotonic()
        ready: list[SourceItem] = []
        there: dict[str, Look] = {}
        seen: dict[str, tuple[Look, float]] = {}
        for item in find(self._inbox):
            if item.source.endswith(UNFINISHED):
                continue
            look = there[item.source] = (item.size, item.mtime)
            if self._done.get(item.source) == look:
                continue
            before, since = self._seen.get(item.source, (None, now))
            if before != look:
                seen[item.source] = (look, now)
                continue
            seen[item.source] = (look, since)
            if now - since >= self._settle and not (item.path and is_being_written(item.path)):
                ready.append(item)
        self._seen = seen
        self._done = {source: look for source, look in self._done.items() if source in there}
        return ready

    def take(self, items: list[SourceItem]) -> None:
        """These are done, as they looked: they are given again only when they change."""
        for item in items:
            self._done[item.source] = (item.size, item.mtime)
            self._seen.pop(item.source, None)


def is_being_written(path: Path) -> bool:
    """Whether a process of this machine has the file open for writing, as far as that can be told.

    Linux tells by refusing a read lease, for one's own files on local disks.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # whoever opens it next will say why not
    try:
        # Someone who opens the file for writing meanwhile is let in at once; the signal that tells us is one that
        # does nothing, where the usual one would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:  # someone else's file, or a file system without leases
        return False
    finally:
        os.close(descriptor)
    return False


def watch(options: RunOptions, every_seconds: float, on_batch: Callable[[Batch], None]) -> Run | None:
    """Extract what comes into the folder that is the only source of ``options``, until Ctrl-C or SIGTERM.

    A budget holds for each batch; one that reaches it ends the watch, and its run is given back.

    ``on_batch`` is told of each batch. An engine that is away, a folder that is gone for a time and a full disk are
    told once and tried again. Documents that failed before are tried again with the first look only, where
    ``options.retry_failed`` is set. Raises UsageError for a call that is off.
    """
    [inbox] = map(Path, options.sources)
    _check(inbox, options.out)
    load_program(options.program, schema=options.schema)  # said now, not when the first file comes
    watching, stopping = Watch(inbox), threading.Event()
    retry_failed, trouble, wait = options.retry_failed, "", every_seconds
    with stopped_by_signals(stopping.set):
        while not stopping.is_set():
            try:
                for batch in _batches(watching, replace(options, retry_failed=retry_failed)):
                    on_batch(batch)
                    if batch.run is not None and batch.run.budget:
                        return batch.run
                    if batch.run is not None and batch.run.stopped:
                        return None
                    retry_failed = False
                trouble, wait = "", every_seconds
            except (EngineError, NothingToDo, StorageError) as error:
                if str(error) != trouble:
                    on_batch(Batch(0, error=error.message))
                trouble, wait = str(error), min(2 * wait, max(MOST_WAIT_SECONDS, every_seconds))
            stopping.wait(min(wait, SETTLE_SECONDS) if watching.waiting and not trouble else wait)
    return None


def _check(inbox: Path, out: Place | None) -> None:
    if not inbox.is_dir():
        raise UsageError(f"{inbox} is no folder that can be watched", hint="Name a folder.")
    if isinstance(out, Path) and out.resolve().is_relative_to(inbox.resolve()):
        raise UsageError(f"OUT ({out}) lies in the folder that is watched", hint="Name one beside it with --out.")


def _batches(watching: Watch, options: RunOptions) -> Iterator[Batch]:
    """Extract what is ready. Raises what a run raises."""
    ready = watching.look()
    for start in range(0, len(ready), MOST_A_BATCH):
        items = [item for item in ready[start : start + MOST_A_BATCH] if item.path is None or item.path.exists()]
        if not items:
            continue
        run = _run(options, items)
        if not (run.stopped or run.budget):
            watching.take(items)
        yield Batch(len(items), run)


def _run(options: RunOptions, items: list[SourceItem]) -> Run:
    return execute(replace(options, sources=tuple(items), run_id=new_run_id()))
