"""A few threads that take work in order; unlike an executor's they never keep the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Task = Callable[[], None]


class Workers:
    """Runs tasks in the order in which they were put, ``count`` at a time. Tasks do not raise.

    ``put`` waits while as many tasks wait as there are threads, so that whoever plans stays just ahead.
    """

    def __init__(self, count: int) -> None:
        self._tasks: queue.Queue[Task | None] = queue.Queue(maxsize=count)
        self._threads = [threading.Thread(target=self._work, name=f"document-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def put(self, task: Task, stopping: threading.Event) -> bool:
        """Queue a task; False when ``stopping`` was set before there was room for it."""
        while not stopping.is_set():
            try:
                self._tasks.put(task, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def end(self) -> None:
        """Let the threads end, once the tasks that are queued are done; returns at once."""
        threading.Thread(target=self._dismiss, daemon=True).start()

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
