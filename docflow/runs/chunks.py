"""A chunk: the documents whose rows are written together, about half a minute's work."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from docflow.extraction.result import Result
from docflow.runs.plan import Work

MOST_SECONDS = 25.0
"""A chunk takes no more documents after this: what a kill can cost is this, and the documents then in work."""
MOST_DOCUMENTS = 500
"""So that the rows of a chunk stay small in memory, however fast documents go; and not so few that a large dataset
falls into very many parts, which readers have to open one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSummary:
    """What a chunk came to: counts and file names, no text of any document."""

    number: int
    documents: int
    counts: Counter[str]
    parts: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Chunk:
    """Takes documents while it is open; whole when it is sealed and each of them is finished.

    ``rows`` are what its documents gave so far; ``again`` are those whose engine failed in a way that may pass.
    ``summary`` is there once it is written.
    """

    number: int
    opened_at: float = field(default_factory=time.monotonic)
    works: list[Work] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    again: list[Work] = field(default_factory=list)
    unfinished: int = 0
    sealed: bool = False
    closed: bool = False
    taken: bool = False
    summary: ChunkSummary | None = None
    writing: threading.Lock = field(default_factory=threading.Lock)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def full(self) -> bool:
        documents = max(len(self.works), len(self.rows))
        return documents >= MOST_DOCUMENTS or time.monotonic() - self.opened_at >= MOST_SECONDS

    @property
    def whole(self) -> bool:
        """Sealed, every document finished, none to try again: it can be written without waiting."""
        with self.changed:
            return self.sealed and not self.unfinished and not self.again

    def add(self, work: Work) -> None:
        with self.changed:
            self.works.append(work)
            self.unfinished += 1

    def take(self, work: Work, results: Sequence[Result[Any]], rows: Sequence[dict[str, Any]]) -> bool:
        """Take all that a file gave; False when the chunk was closed meanwhile."""
        with self.changed:
            if self.closed:
                return False
            work.results = tuple(results)
            self.counts.update(result.status for result in results)
            self.rows.extend(rows)
        return True

    def close(self) -> list[Work]:
        """Take nothing more; the documents that gave something."""
        with self.changed:
            self.closed = True
            return [work for work in self.works if work.results]

    def try_again(self, work: Work) -> None:
        with self.changed:
            self.again.append(work)

    def take_again(self) -> list[Work]:
        """The documents to try again, which are unfinished from now on."""
        with self.changed:
            again, self.again = self.again, []
            self.unfinished += len(again)
        return again

    def finish(self) -> None:
        """One of its documents is finished."""
        with self.changed:
            self.unfinished -= 1
            self.changed.notify_all()

    def seal(self) -> None:
        """Nothing more is added."""
        with self.changed:
            self.sealed = True
            self.changed.notify_all()

    def wait_sealed(self) -> None:
        """Wait until nothing more is added."""
        with self.changed:
            while not self.sealed:
                self.changed.wait(0.1)

    def wait(self, stopping: threading.Event, grace_seconds: float) -> None:
        """Wait until the chunk is whole; after ``stopping`` is set, ``grace_seconds`` more for what is in work."""
        deadline = None
        with self.changed:
            while self.unfinished or not self.sealed:
                self.changed.wait(0.1)
                if stopping.is_set():
                    deadline = deadline or time.monotonic() + grace_seconds
                    if time.monotonic() >= deadline:
                        return
