"""A call to an engine that is given up while it is under way: whoever wanted its answer has left.

    call = Call()
    ... in a thread:   with call: engine.answer(request)
    ... elsewhere:     call.abandon()

What is at a server then is ended there, by closing its connection: both kinds of server stop writing for it.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self


class Abandoned(Exception):
    """The call was given up. No EngineError: nothing is wrong with any engine, and none is to be asked again."""


class Call:
    """What one thread asks of engines, as long as it is entered. ``abandon`` may be called from any thread, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._future: Future[Any] | None = None
        self._abandoned = False
        self._token: Token[Call | None] | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._token is not None
        _current.reset(self._token)

    def abandon(self) -> None:
        """Give up what is under way; what the thread asks later fails at once."""
        with self._lock:
            self._abandoned = True
            future = self._future
        if future is not None:
            future.cancel()

    @property
    def abandoned(self) -> bool:
        return self._abandoned

    def check(self) -> None:
        """Raises Abandoned when it is."""
        if self._abandoned:
            raise Abandoned

    def waits_for(self, future: Future[Any]) -> None:
        """The thread waits for this now. Raises Abandoned when nobody waits for it any more."""
        with self._lock:
            self._future = future
            abandoned = self._abandoned
        if abandoned:
            future.cancel()
            raise Abandoned


_current: ContextVar[Call | None] = ContextVar("docflow_engine_call", default=None)


def current_call() -> Call | None:
    """The call that this thread is in, None where nobody could give it up."""
    return _current.get()
