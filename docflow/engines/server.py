"""An engine that is a server with an OpenAI-compatible API: what SGLang's and vLLM's have in common."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from docflow.engines.base import (
    Answer,
    Health,
    Limits,
    Request,
    ServerOptions,
    TokenProb,
    Usage,
    Want,
    WantChoice,
    WantJson,
    WantText,
)
from docflow.engines.chat import PATH, Reply, answer_of, body_of, reply_of, room_for
from docflow.engines.choosing import Choosing, tokens_to_tell
from docflow.engines.specs import SERVERS
from docflow.engines.transport import Transport
from docflow.engines.wire import wire_regex
from docflow.errors import BadAnswer, EngineError, EngineRefused, EngineTimeout

TOP = 20
"""Alternatives reported for each token of a choice: the most that vLLM gives unless it is told otherwise."""
_HEALTH_SECONDS = 5.0
_FIND_SECONDS = 15.0
"""For the list of models before a first request, of a server that may be busy with others."""
_LEAST_TOKENS = 16
_MOST_BLANKS = 32
"""More white space than this at the end of an answer that was cut off is all that would have come."""


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
        self._blanks_seen = False

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
            if isinstance(request.want, WantChoice):
                return self._choose(request, request.want, served, deadline)
            if isinstance(request.want, WantJson):
                reply = self._ask_for_json(request, request.want, served, deadline)
            else:
                reply = self._ask(request, served, deadline)
        except EngineError as error:
            if not isinstance(error, BadAnswer):
                self._sure = False  # whoever answers here next may have another model
            raise
        return answer_of(reply, request, engine=self.name, model=served.name, shown=self.url)

    def health(self) -> Health:
        # Not /health: SGLang's makes the model write a token, which takes a second and more under load.
        try:
            served = self._find(_HEALTH_SECONDS)
        except EngineError as error:
            return Health(ok=False, model=self._options.model, detail=error.message)
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

    def _ask(self, request: Request, served: Served, deadline: float, *, top: int = 0) -> Reply:
        body = body_of(request, served.name, self.constraint(request.want), top=top)
        left = deadline - time.monotonic()
        if left <= 0:
            raise EngineTimeout(f"{self.url} did not answer within {request.limits.timeout_seconds:g} s")
        return reply_of(self._transport.post(PATH, body, left), self.url)

    def _ask_for_json(self, request: Request, want: WantJson, served: Served, deadline: float) -> Reply:
        """JSON, by its schema until the model was seen to fill an answer with the white space that a schema allows."""
        spent = Usage()
        if not self._blanks_seen:
            reply = self._ask(request, served, deadline)
            if reply.stop != "length" or len(reply.text) - len(reply.text.rstrip()) < _MOST_BLANKS:
                return reply
            self._blanks_seen = True
            spent = reply.usage
        reply = self._ask(replace(request, want=WantText(wire_regex(want.schema))), served, deadline)
        return replace(reply, usage=spent + reply.usage)

    def _choose(self, request: Request, want: WantChoice, served: Served, deadline: float) -> Answer:
        choosing = Choosing(tuple(dict.fromkeys(want.choices)))
        usage = Usage()
        while (asked := choosing.question()) is not None:
            beginning, endings = asked
            limits = replace(request.limits, temperature=0.0, stop=(), max_tokens=tokens_to_tell(endings))
            question = replace(request, want=WantChoice(endings), begun=request.begun + beginning, limits=limits)
            reply = self._ask(question, served, deadline, top=TOP)
            usage += reply.usage
            if not reply.steps:
                raise BadAnswer(f"{self.url} gave no probabilities for its choice")
            choosing.learn(beginning, reply.steps)
        probs = choosing.probs()
        text = max(probs, key=probs.__getitem__)
        return Answer(
            text,
            tokens=(TokenProb(text, probs[text]),),
            choice_probs=probs,
            usage=usage,
            engine=self.name,
            model=served.name,
        )


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
