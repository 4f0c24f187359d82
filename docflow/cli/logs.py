"""Where docflow's log goes: to a file in the cache, because the terminal is for people."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docflow.errors import debugging


def new_log_path(folder: Path) -> Path:
    """A name for a log of this process, in the cache's folder for logs."""
    return folder / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


class LogFile(logging.FileHandler):
    """Takes warnings and errors of this process, of its libraries too; there is a file only once there was one.

    ``holds_errors`` tells whether anything in it is worse than a warning.
    """

    holds_errors = False

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(new_log_path(cache_dir), encoding="utf-8", errors="backslashreplace", delay=True)
        self.setLevel(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    @property
    def path(self) -> Path:
        return Path(self.baseFilename)

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().emit(record)
        self.holds_errors = self.holds_errors or record.levelno >= logging.ERROR

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name that logging calls)
        """A cache that cannot be written loses the log, not the run, and the terminal stays clear of tracebacks."""


@contextmanager
def logging_to_file(cache_dir: Path) -> Iterator[LogFile]:
    """Meanwhile what is logged or warned of, and what threads die of, goes to a file in the cache.

    With DOCFLOW_DEBUG=1 it goes to stderr as well.
    """
    file = LogFile(cache_dir)
    handlers: list[logging.Handler] = [file, logging.StreamHandler(sys.stderr)] if debugging() else [file]
    root, hook_before = logging.getLogger(), threading.excepthook
    for handler in handlers:
        root.addHandler(handler)
    logging.captureWarnings(True)
    threading.excepthook = _log_death
    try:
        yield file
    finally:
        threading.excepthook = hook_before
        logging.captureWarnings(False)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _log_death(death: threading.ExceptHookArgs) -> None:
    if death.exc_value is not None:
        logging.getLogger("docflow").error("thread %s died", death.thread, exc_info=death.exc_value)
