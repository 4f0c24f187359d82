"""An engine that gives queued answers and records what it was asked: for users' own tests, and ours."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from docflow.engines.base import Answer, Health, Request, Usage, WantChoice
from docflow.errors import ConfigError, DocflowError, EngineUnavailable

Reply = Answer | DocflowError | str | dict[str, Any] | Callable[[Request], "Answer | str | dict[str, Any]"]


class ScriptedEngine:
    """Answers requests in order from a queue; every request is kept in ``requests``.

    A reply may be an Answer, a text, a dict (answered as JSON), an error (raised), or a function of the request. With
    ``default`` the queue may run dry; without it that raises EngineUnavailable. Safe to share among threads.
    """

    name = "scripted"

    def __init__(self, replies: Iterable[Reply] = (), *, default: Reply | None = None, model: str = "scripted") -> None:
        self.model = model
        self.requests: list[Request] = []
        self._replies = deque(replies)
        self._default = default
        self._cycle = False  # replies from a file repeat, for runs of any length: then no request is kept either
        self._lock = threading.Lock()

    @classmethod
    def from_file(cls, path: str | Path) -> ScriptedEngine:
        """An engine whose replies are the lines of a JSON Lines file, over and over. Raises ConfigError."""
        try:
            lines = [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
            replies = [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise ConfigError(f"the replies in {path} cannot be read: {error}") from error
        if not replies:
            raise ConfigError(
                f"there are no replies in {path}", hint="Give one JSON value a line: an object, or a text."
            )
        engine = cls(replies)
        engine._cycle = True
        return engine

    def answer(self, request: Request) -> Answer:
        with self._lock:
            if not self._cycle:
                self.requests.append(request)
            reply = self._replies.popleft() if self._replies else self._default
            if self._cycle and reply is not None:
                self._replies.append(reply)
        if reply is None:
            raise EngineUnavailable("the scripted engine has no reply left", retryable=False)
        if isinstance(reply, DocflowError):
            raise reply
        if callable(reply):
            reply = reply(request)
        if isinstance(reply, Answer):
            return reply
        text = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
        probs = {text: 1.0} if isinstance(request.want, WantChoice) else {}
        return Answer(text, choice_probs=probs, usage=Usage(calls=1), engine=self.name, model=self.model)

    def health(self) -> Health:
        return Health(ok=True, model=self.model)

    def close(self) -> None:
        """Nothing to give back."""
