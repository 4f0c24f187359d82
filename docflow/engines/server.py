"""An engine that is a server with an OpenAI-compatible API: what SGLang's and vLLM's have in common."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from docflow.engines.asking import Asking
from docflow.engines.base import Answer, Health, Limits, Request, ServerOptions, Want
from docflow.engines.chat import PATH, Reply, body_of, reply_of, room_for
from docflow.engines.specs import SERVERS
from docflow.engines.transport import Transport, nobody_is_there
from docflow.errors import BadAnswer, EngineError, EngineRefused, EngineTimeout

_HEALTH_SECONDS = 5.0
_FIND_SECONDS = 15.0
"""For the list of models before a first request, of a server that may be busy with others."""
_LEAST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Served:
    """A model that a server offers. ``context`` is its length in tokens, 0 where the server does not say."""

    name: str
    context: int = 0


class ServerEngine:
    """An engine behind a URL. Safe to share among threads. A subclass says what is wanted in its server's words."""

    name: ClassVar[str]

    def __init__(self, url: str, options: ServerOptions = ServerOptions()) -> None:  # noqa: B008 (it is frozen)
        """Nothing is sent yet. Raises ConfigError for a URL that is none."""
        self._transport = Transport(url, options)
        self._options = options
        self._served: Served | None = None
        self._sure = False
        self._asking = Asking(self.name)

    @property
    def url(self) -> str:
        """Where the server is, without credentials."""
        return self._transport.address.shown

    @property
    def model(self) -> str:
        return self._served.name if self._served else self._options.model

    def constraint(self, want: Want) -> Mapping[str, Any]:
        """What is wanted, as fields of the server's chat request."""
        raise NotImplementedError

    def answer(self, request: Request) -> Answer:
        deadline = time.monotonic() + request.limits.timeout_seconds
        try:
            served = self._served
            if served is None or not self._sure:
                served = self._find(min(_FIND_SECONDS, request.limits.timeout_seconds))
            request = replace(request, limits=_fitted(request, served))

            def ask(question: Request, top: int) -> Reply:
                return self._ask(question, served, deadline, top=top)

            return self._asking.answer(request, ask, model=served.name, shown=self.url)
        except EngineError as error:
            if not isinstance(error, BadAnswer):
                self._sure = False  # whoever answers here next may have another model
            raise

    def health(self) -> Health:
        # Not /health: SGLang's makes the model write a token, which takes a second and more under load.
        try:
            served = self._find(_HEALTH_SECONDS)
        except EngineError as error:
            return Health(
                ok=False,
                model=self._options.model,
                detail=error.message,
                hint=error.hint if isinstance(error, EngineRefused) or not error.retryable else "",
                gone=not error.retryable or nobody_is_there(error),
            )
        return Health(ok=True, model=served.name, detail=f"context {served.context}" if served.context else "")

    def close(self) -> None:
        self._transport.close()

    def drop(self) -> None:
        """Give up what is under way: the server hangs, and whoever waits for it can be told now."""
        self._transport.drop()

    def _find(self, seconds: float) -> Served:
        """The model to ask for. SGLang answers to any name with whatever it has: so the name is looked up here."""
        data = self._transport.get("/v1/models", seconds)
        try:
            found = [Served(str(one["id"]), int(one.get("max_model_len") or 0)) for one in data["data"]]
            owners = {str(one.get("owned_by")) for one in data["data"]}
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswer(f"{self.url} answered something that is no list of models") from error
        other = next(iter((owners & SERVERS.keys()) - {self.name}), None)
        if other and self.name not in owners:
            # It would take most requests, and leave out what each kind of server is told in words of its own.
            raise _elsewhere(f"{self.url} says that it is {other}", f"Name it with {other}=URL.")
        wanted = self._options.model
        for served in found:
            if not wanted or served.name == wanted:
                self._served, self._sure = served, True
                return served
        names = ", ".join(served.name for served in found[:8])
        raise _elsewhere(
            f"{self.url} has no model {wanted!r}, but {names}" if names else f"{self.url} has no model",
            "Name one that it has with ?model=NAME." if names else "Start the server with a model.",
        )

    def _ask(self, request: Request, served: Served, deadline: float, *, top: int) -> Reply:
        body = body_of(request, served.name, self.constraint(request.want), top=top)
        left = deadline - time.monotonic()
        if left <= 0:
            raise EngineTimeout(f"{self.url} did not answer within {request.limits.timeout_seconds:g} s")
        return reply_of(self._transport.post(PATH, body, left), self.url)


def _elsewhere(message: str, hint: str) -> EngineRefused:
    """A refusal that says nothing of the request: another server may well answer it."""
    refused = EngineRefused(message, hint=hint)
    refused.elsewhere = True
    return refused


def _fitted(request: Request, served: Served) -> Limits:
    """The limits, with no more tokens than the context has room for: SGLang refuses a request that might not fit."""
    limits = request.limits
    if not served.context:
        return limits
    room = max(_LEAST_TOKENS, room_for(request, served.context))
    return limits if room >= limits.max_tokens else replace(limits, max_tokens=room)
