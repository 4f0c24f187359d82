"""Several engines as one: each request goes to a server that is well, has its page, and has room for it.

Servers share the work by their weights; stand-ins get it only while all before them are away. A request that fails on
one server is sent to the next, in the middle of a program too, because it holds the whole conversation. What failed is
looked at in the background and used again once it answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from threading import Event

from docflow.engines.admission import Gate, Ticket, beginnings_of
from docflow.engines.base import Answer, Engine, Health, Request, WantJson
from docflow.engines.breaker import Breaker
from docflow.engines.crew import MOST_BUSY_SECONDS, Crew
from docflow.engines.images import page_image
from docflow.engines.members import Places, Server, reason_of, without_secrets
from docflow.engines.shape import is_record
from docflow.engines.specs import EngineSpec
from docflow.errors import BadAnswer, EngineError, EngineRefused, EngineTimeout, EngineUnavailable, NoEngine
from docflow.settings import ServerSettings

MOST_SENT = 5
"""How often one request is sent, to whatever server, before it fails."""
MOST_TIMEOUTS = 2
"""A request that was not answered in time twice is the request's own trouble, and each time took long."""
PAUSES = (0.2, 1.0, 2.0, 4.0)
"""Seconds before a request goes to a server again that has just failed it, where there is no other."""
EACH = 32
"""Documents in work for each server: while some are at the server, others are decoded and checked."""
MOST_DOCUMENTS = 128
_POOR = "gives answers of another shape than it is asked for"


@dataclass(slots=True)
class _Asking:
    """What has become of one request so far: how often it was sent, and why it is not answered yet.

    ``poor`` is an answer that is not the JSON that was asked for, kept for want of a better one. ``bad_at`` are the
    servers whose answers were none, each with the era of its breaker and what was wrong.
    """

    sent: int = 0
    failures: int = 0
    timeouts: int = 0
    asked_elsewhere: bool = False
    poor: Answer | None = None
    busy_since: float | None = None
    refusal: EngineError | None = None
    bad_at: list[tuple[Server[Engine], int, str]] = field(default_factory=list)


class Pool(Crew[Engine]):
    """An Engine made of engines: ``tiers`` are those that share the work, then each group of stand-ins in turn.

    Where other processes use the same servers, ``places`` bounds the requests of them all.
    """

    def __init__(
        self,
        tiers: Sequence[Sequence[tuple[EngineSpec, Engine]]],
        settings: ServerSettings | None = None,
        *,
        places: Places | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or ServerSettings()
        servers = [
            Server(
                spec,
                engine,
                tier,
                tier > 0,
                Breaker(settings.failures, settings.rest_seconds, clock),
                Gate(settings.requests, clock),
                model=spec.model,
            )
            for tier, group in enumerate(tiers)
            for spec, engine in group
        ]
        super().__init__(servers, settings, clock=clock)
        self._places = places
        self._model = self._servers[0].spec.model
        self._was_looked_at = False

    # --- an engine ----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The kind of the first engine: what was asked for, whoever answers."""
        return self._servers[0].spec.name

    @property
    def model(self) -> str:
        """The model that was asked for: the first engine's; while that is away and says none, another server's.

        It stays what it was found to be the first time.
        """
        if not self._model and not self._was_looked_at:
            self.health()
        return self._model

    @property
    def concurrency(self) -> int:
        """How many documents in work keep the servers busy that share the work."""
        return min(MOST_DOCUMENTS, EACH * sum(1 for server in self._servers if not server.fallback))

    def health(self) -> Health:
        """Ask every engine; usable when one is. Those that are not are left alone until they are."""
        self.look_at_all()
        with self._lock:
            self._was_looked_at = True
            if not self._model:
                named = (server.model for server in self._servers if server.model and not server.last_resort)
                self._model = next(named, "")
            if any(server.breaker.state == "closed" for server in self._servers):
                return Health(True, self._model, self._what_is_wrong() or self.note)
            return Health(False, detail=self._what_is_wrong())

    def answer(self, request: Request) -> Answer:
        """Answer one request, on whichever server can. Raises EngineError.

        One request is sent at most five times, and at most twice where it is not answered in time. While no server is
        usable at all it waits, until they have been away for ``settings.wait_seconds``: then it fails with NoEngine.
        An answer that is not the JSON that was asked for is asked of another server once, where there is one: the
        first may have lost its grammar.
        """
        if any(server.spec.is_server for server in self._servers):
            for page in request.pages:  # made here, not while a place at the server is held
                page_image(page, request.limits.page_tokens)
        beginnings = beginnings_of(request)
        with self._lock:
            ticket = self._turns.ticket(request, beginnings)
        asking = _Asking()
        while True:
            try:
                server = self._admit(ticket)
            except EngineError as error:
                error.attempts = max(1, asking.sent)
                raise
            try:
                with self._places.at(server.spec) if self._places else nullcontext():
                    answer = server.engine.answer(request)
            except EngineError as error:
                failure = without_secrets(error, server.spec)
                if isinstance(failure, BadAnswer):
                    asking.bad_at.append((server, ticket.era, reason_of(failure.message, server.spec)))
                self._failed(server, ticket, failure)
                if not self._goes_on(asking, ticket, server, failure):
                    if asking.poor is not None:
                        return asking.poor
                    final = asking.refusal or failure  # the first refusal tells more than what came of asking elsewhere
                    final.attempts = asking.sent
                    raise final from failure.__cause__
            except BaseException:  # the page itself, or a fault: nothing is known of the server
                self._leave(server, ticket)
                raise
            else:
                poor = _is_poor(answer, request)
                if poor:
                    asking.bad_at.append((server, ticket.era, _POOR))
                self._answered(server, ticket, answer.model, poor=poor)
                if not poor:
                    for other, era, reason in asking.bad_at:
                        self._was_outdone(other, era, reason)
                answer = replace(
                    answer,
                    engine=answer.engine or server.spec.name,
                    model=answer.model or server.model,
                    attempts=asking.sent + answer.attempts,
                    fallback=server.fallback,
                    usage=asking.poor.usage + answer.usage if asking.poor is not None else answer.usage,
                )
                if poor and self._can_ask_elsewhere(asking, ticket, server):
                    asking.sent, asking.poor = answer.attempts, answer
                    continue
                return answer

    def _can_ask_elsewhere(self, asking: _Asking, ticket: Ticket, server: Server[Engine]) -> bool:
        """Whether to ask another server the same, which is done once."""
        ticket.avoid.add(server)
        first, asking.asked_elsewhere = not asking.asked_elsewhere, True
        with self._lock:
            return first and any(self._turns.alive(other) for other in self._servers if other not in ticket.avoid)

    def _goes_on(self, asking: _Asking, ticket: Ticket, server: Server[Engine], failure: EngineError) -> bool:
        """Whether to send the request once more; pauses where that is to the same server."""
        asking.sent += failure.attempts
        if failure.busy:
            now = self._clock()
            asking.busy_since = now if asking.busy_since is None else asking.busy_since
            says_when = failure.retry_after is not None
            return now - asking.busy_since < (MOST_BUSY_SECONDS if says_when else self.settings.wait_seconds)
        ticket.avoid.add(server)
        asking.failures += 1
        asking.timeouts += isinstance(failure, EngineTimeout)
        if isinstance(failure, EngineRefused):
            asking.refusal = asking.refusal or failure
        if asking.failures >= MOST_SENT or asking.timeouts >= MOST_TIMEOUTS or self._closed.is_set():
            return False
        with self._lock:
            others = any(self._turns.alive(other) for other in self._servers if other not in ticket.avoid)
        if isinstance(failure, EngineRefused):
            return failure.elsewhere and others
        if isinstance(failure, BadAnswer) or not failure.retryable:
            return self._can_ask_elsewhere(asking, ticket, server)
        if not others:
            if asking.refusal is not None:
                return False
            ticket.avoid.clear()
            self._closed.wait(PAUSES[asking.failures - 1])
        return True

    # --- whose turn it is ---------------------------------------------------------------------------------------

    def _admit(self, ticket: Ticket) -> Server[Engine]:
        """Wait for this request's turn; the server it goes to. Raises NoEngine, and EngineUnavailable when closed."""
        turn = ticket.turn
        assert isinstance(turn, Event)
        with self._lock:
            self._turns.queue(ticket)
        while True:
            with self._lock:
                if ticket.server is None and not self._closed.is_set():
                    self._turns.dispatch()
                if ticket.server is not None:
                    server: Server[Engine] = ticket.server
                    self._look_after()
                    return server
                if self._closed.is_set() or self._turns.is_hopeless():
                    self._turns.waiting.remove(ticket)
                    if self._closed.is_set():
                        raise EngineUnavailable("the engines were closed")
                    raise NoEngine(
                        f"no engine answers: {self._what_is_wrong()}",
                        hint="Start a server again, and run the same command with --retry-failed.",
                    )
                seconds = self._turns.seconds_to_next_change()
            turn.wait(seconds)


def _is_poor(answer: Answer, request: Request) -> bool:
    """Whether JSON was asked for, and what came is none, or of another shape."""
    if not isinstance(request.want, WantJson) or request.begun:
        return False
    return not is_record(request.want.schema, answer.text)
