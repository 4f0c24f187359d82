"""Ctrl-C and SIGTERM end a run in good order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from docflow.buckets import hurry, take_time


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Within it, the first Ctrl-C or SIGTERM calls ``stop``, so that what is done is written.

    A store that does not answer then is waited for some seconds. A second one ends the program.

    Only the main thread can take signals: elsewhere the program's own handling stays as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        hurry()
        stop()

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        take_time()
