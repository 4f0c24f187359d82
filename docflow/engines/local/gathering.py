"""Requests of several threads gathered into batches, for a model that answers many at once.

BatchProcessor does this in one event loop. Here whoever asks is a thread, and only such requests go together as the
model can take in one piece.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar


class Job(Protocol):
    """A request that waits."""

    @property
    def kind(self) -> Hashable:
        """Jobs of the same kind can be done together."""
        ...

    def fail(self, error: BaseException) -> None:
        """Nobody will do it."""
        ...


J = TypeVar("J", bound=Job)


class Gathering(Generic[J]):
    """Hands jobs to ``work`` in batches, from one thread of its own: the oldest first, ``most`` at a time.

    A batch goes once it is full, or ``seconds`` after its first job came, and when the one before it is done. ``work``
    tells each job what became of it; what it raises, every job of the batch that is left is told.
    """

    def __init__(self, work: Callable[[Sequence[J]], None], most: int, seconds: float = 0.01) -> None:
        self._work, self._most, self._seconds = work, most, seconds
        self._queue: deque[tuple[float, J]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="model-batches", daemon=True)
        self._thread.start()

    def add(self, job: J) -> bool:
        """Put a job in the queue; False where it is closed."""
        with self._changed:
            if self._closed:
                return False
            self._queue.append((time.monotonic(), job))
            self._changed.notify()
            return True

    def close(self, error: BaseException) -> None:
        """Fail whoever waits; returns when the batch that is under way has ended."""
        with self._changed:
            self._closed = True
            left = [job for _, job in self._queue]
            self._queue.clear()
            self._changed.notify()
        for job in left:
            job.fail(error)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._work(batch)
            except Exception as error:  # noqa: BLE001 (it is raised where each of them waits)
                for job in batch:
                    job.fail(error)

    def _next(self) -> list[J]:
        """The next batch; nothing when closed."""
        with self._changed:
            while not self._closed:
                if not self._queue:
                    self._changed.wait()
                    continue
                since, first = self._queue[0]
                together = [job for _, job in self._queue if job.kind == first.kind][: self._most]
                left = since + self._seconds - time.monotonic()
                if left <= 0 or len(together) == self._most:
                    chosen = set(map(id, together))
                    self._queue = deque(entry for entry in self._queue if id(entry[1]) not in chosen)
                    return together
                self._changed.wait(left)
            return []
