"""What a document cost its engine, also where no record came of it."""

from __future__ import annotations

import threading

from docflow.engines.base import Answer, Engine, Health, Request, Usage


class Metered:
    """An engine, and what its answers about one document cost so far. Branches of a program may ask side by side."""

    def __init__(self, engine: Engine) -> None:
        self.usage = Usage(calls=0)
        self._engine = engine
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def model(self) -> str:
        return self._engine.model

    def answer(self, request: Request) -> Answer:
        answer = self._engine.answer(request)
        with self._lock:
            self.usage += answer.usage
        return answer

    def health(self) -> Health:
        return self._engine.health()

    def close(self) -> None:
        """The engine is not this one's to close."""
