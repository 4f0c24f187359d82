"""Several engines as one: each request goes to a server that is well, has its page, and has room for it.

Servers share the work by their weights; stand-ins get it only while all before them are away. A request that fails on
one server is sent to the next, in the middle of a program too, because it holds the whole conversation. What failed is
looked at in the background and used again once it answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from docflow.engines.admission import Gate, Ticket, beginnings_of
from docflow.engines.base import Answer, Engine, Health, Request, WantJson
from docflow.engines.breaker import Breaker
from docflow.engines.images import page_image
from docflow.engines.members import Droppable, Places, Server, ServerStatus, reason_of, without_secrets
from docflow.engines.shape import is_record
from docflow.engines.specs import EngineSpec
from docflow.engines.turns import Turns
from docflow.errors import BadAnswer, EngineError, EngineRefused, EngineTimeout, EngineUnavailable, NoEngine
from docflow.settings import ServerSettings

log = logging.getLogger("docflow.engines")

MOST_SENT = 5
"""How often one request is sent, to whatever server, before it fails."""
MOST_TIMEOUTS = 2
"""A request that was not answered in time twice is the request's own trouble, and each time took long."""
PAUSES = (0.2, 1.0, 2.0, 4.0)
"""Seconds before a request goes to a server again that has just failed it, where there is no other."""
MOST_BUSY_SECONDS = 600.0
"""How long a request waits in all for servers that have no room and say when to come back."""
EACH = 32
"""Documents in work for each server: while some are at the server, others are decoded and checked."""
MOST_DOCUMENTS = 128
SILENT_SECONDS = 10.0
"""How long a server with requests may say nothing before it is asked for its health."""
HANGS_AFTER = 3
"""Looks in a row at a silent server that find nothing: then it hangs, and what is there is sent elsewhere."""


@dataclass(slots=True)
class _Asking:
    """What has become of one request so far: how often it was sent, and why it is not answered yet.

    ``poor`` is an answer that is not the JSON that was asked for, kept for want of a better one.
    """

    sent: int = 0
    failures: int = 0
    timeouts: int = 0
    asked_elsewhere: bool = False
    poor: Answer | None = None
    busy_since: float | None = None
    refusal: EngineError | None = None


class Pool:
    """An Engine made of engines: ``tiers`` are those that share the work, then each group of stand-ins in turn.

    Safe to call from several threads. It owns its engines, and closes them. Where other processes use the same servers,
    ``places`` bounds the requests of them all.
    """

    def __init__(
        self,
        tiers: Sequence[Sequence[tuple[EngineSpec, Engine]]],
        settings: ServerSettings | None = None,
        *,
        places: Places | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or ServerSettings()
        self._places = places
        self.note = ""
        self._clock = clock
        self._servers = [
            Server(
                spec,
                engine,
                tier,
                tier > 0,
                Breaker(self.settings.failures, self.settings.rest_seconds, clock),
                Gate(self.settings.requests, clock),
                model=spec.model,
            )
            for tier, group in enumerate(tiers)
            for spec, engine in group
        ]
        self._lock = threading.RLock()
        self._turns = Turns(self._servers, self.settings, clock)
        self._model = self._servers[0].spec.model
        self._was_looked_at = False
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()

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
        for server, health in self._ask_health(self._servers):
            with self._lock:
                server.model = server.model or health.model
                if not health.ok and server.breaker.state == "closed":
                    server.breaker.open(reason_of(health.detail, server.spec))
                    self._went_away(server)
        with self._lock:
            self._was_looked_at = True
            if not self._model:
                named = (server.model for server in self._servers if server.model and not server.last_resort)
                self._model = next(named, "")
            if any(server.breaker.state == "closed" for server in self._servers):
                return Health(True, self._model, self.note)
            return Health(False, detail=self._what_is_wrong())

    def status(self) -> tuple[ServerStatus, ...]:
        """How every server is doing, in the order in which they are asked."""
        with self._lock:
            return tuple(
                ServerStatus(
                    label=server.spec.label,
                    kind=server.spec.name,
                    model=server.model,
                    fallback=server.fallback,
                    state=server.breaker.state,
                    reason=server.breaker.reason,
                    in_flight=server.gate.in_flight,
                    answered=server.answered,
                    away_seconds=server.away_seconds + self._away_now(server),
                )
                for server in self._servers
            )

    def close(self) -> None:
        """End all waiting, close the engines, and stop looking after them."""
        with self._lock:
            self._closed.set()
            watcher = self._watcher
            for ticket in self._turns.waiting:
                ticket.turn.set()
        for server in self._servers:
            server.engine.close()
        if watcher is not None:
            watcher.join()

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
                self._answered(server, ticket, answer)
                answer = replace(
                    answer,
                    engine=answer.engine or server.spec.name,
                    model=answer.model or server.model,
                    attempts=asking.sent + answer.attempts,
                    fallback=server.fallback,
                    usage=asking.poor.usage + answer.usage if asking.poor is not None else answer.usage,
                )
                if _is_poor(answer, request) and self._can_ask_elsewhere(asking, ticket, server):
                    asking.sent, asking.poor = answer.attempts, answer
                    continue
                return answer

    def _can_ask_elsewhere(self, asking: _Asking, ticket: Ticket, server: Server) -> bool:
        """Whether to ask another server the same, which is done once."""
        ticket.avoid.add(server)
        first, asking.asked_elsewhere = not asking.asked_elsewhere, True
        with self._lock:
            return first and any(self._turns.alive(other) for other in self._servers if other not in ticket.avoid)

    def _goes_on(self, asking: _Asking, ticket: Ticket, server: Server, failure: EngineError) -> bool:
        """Whether to send the request once more; pauses where that is to the same server."""
        asking.sent += failure.attempts
        if failure.retry_after is not None:
            now = self._clock()
            asking.busy_since = now if asking.busy_since is None else asking.busy_since
            return now - asking.busy_since < MOST_BUSY_SECONDS
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

    def _admit(self, ticket: Ticket) -> Server:
        """Wait for this request's turn; the server it goes to. Raises NoEngine, and EngineUnavailable when closed."""
        with self._lock:
            self._turns.queue(ticket)
        while True:
            with self._lock:
                if ticket.server is None and not self._closed.is_set():
                    self._turns.dispatch()
                if ticket.server is not None:
                    server: Server = ticket.server
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
            ticket.turn.wait(seconds)

    # --- how servers are doing ----------------------------------------------------------------------------------

    def _answered(self, server: Server, ticket: Ticket, answer: Answer) -> None:
        with self._lock:
            server.answered += 1
            server.model = server.model or answer.model
            self._turns.settle(ticket.document, server)
            self._leave(server, ticket, answered=True, well=True)

    def _failed(self, server: Server, ticket: Ticket, error: EngineError) -> None:
        with self._lock:
            if error.retry_after is not None:
                server.gate.narrow()
                server.rests_until = max(server.rests_until, self._clock() + min(error.retry_after, MOST_BUSY_SECONDS))
            else:
                self._turns.leave_home(ticket.document, server)
            # One that refuses, has no room, or gives a bad answer is there, and speaks.
            well = error.retry_after is not None or isinstance(error, EngineRefused | BadAnswer)
            self._leave(server, ticket, well=well, failure=None if well or server.last_resort else error)

    def _leave(
        self,
        server: Server,
        ticket: Ticket,
        *,
        answered: bool = False,
        well: bool = False,
        failure: EngineError | None = None,
    ) -> None:
        """A request has come to its end at a server, which is ``well``, or failed, or nothing is known of it."""
        with self._lock:
            server.gate.leave(ticket, answered=answered and ticket.era == server.breaker.era)
            if server.trial is ticket:
                server.trial = None
            if ticket.era == server.breaker.era:
                server.heard_at, server.looks = self._clock(), 0
            if failure is not None and server.breaker.failed(ticket.era, reason_of(failure.message, server.spec)):
                self._went_away(server)
            elif well and server.breaker.worked(ticket.era):
                self._came_back(server)
            self._turns.dispatch()

    def _went_away(self, server: Server) -> None:
        server.gate.forget()
        server.rests_until = 0.0
        if self._turns.all_away_since is None and not any(
            other.breaker.state == "closed" for other in self._servers if not other.last_resort
        ):
            self._turns.all_away_since = self._clock()
        others = [other for other in self._servers if other.breaker.state == "closed" and not other.last_resort]
        tier = min((other.tier for other in others), default=0)
        answering = " and ".join(other.spec.label for other in others if other.tier == tier)
        what = f"{server.spec.label} is away ({server.breaker.reason})"
        if not answering:
            last = [other.spec.label for other in self._servers if other.last_resort]
            answering = f"{last[0]} takes over if it stays away" if last else "waiting for it"
        else:
            answering += " takes over" if tier else " goes on"
        self._say(f"{what}; {answering}")
        self._look_after()

    def _came_back(self, server: Server) -> None:
        server.away_seconds += self._clock() - server.breaker.opened_at
        server.given = max((other.given for other in self._servers if other.tier == server.tier), default=0.0)
        self._turns.all_away_since = None
        self._say(f"{server.spec.label} is back")

    def _away_now(self, server: Server) -> float:
        return 0.0 if server.breaker.state == "closed" else self._clock() - server.breaker.opened_at

    def _say(self, note: str) -> None:
        self.note = note
        log.info(note)

    def _what_is_wrong(self) -> str:
        """Each server and why it is not used."""
        return "; ".join(
            f"{server.spec.label}: {server.breaker.reason}"
            for server in self._servers
            if server.breaker.state != "closed"
        )

    def _look_after(self) -> None:
        """See to it that somebody looks after the servers, as long as there is something to look after."""
        if self._watcher is None and not self._closed.is_set():
            self._watcher = threading.Thread(target=self._watch, name="pool-health", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        while not self._closed.wait(self.settings.health_seconds):
            with self._lock:
                if not any(server.gate.in_flight or server.breaker.state == "open" for server in self._servers):
                    self._watcher = None
                    return
            self.look()

    def look(self) -> None:
        """Look at the servers whose rest is over, and at those that have requests and say nothing.

        One that is well again is tried with the next request; one that hangs loses what is there to the others.
        """
        with self._lock:
            looked_at = [server for server in self._servers if server.breaker.due or self._is_silent(server)]
        hanging = []
        for server, health in self._ask_health(looked_at):
            reason = reason_of(health.detail, server.spec)
            with self._lock:
                if server.breaker.state == "open":
                    server.breaker.looked_at(health.ok, reason)
                elif health.ok:
                    server.heard_at, server.looks = self._clock(), 0
                elif self._is_silent(server):
                    server.looks += 1
                    if server.looks >= HANGS_AFTER:
                        server.looks = 0
                        server.breaker.open(reason)
                        self._went_away(server)
                        hanging.append(server.engine)
        for engine in hanging:
            if isinstance(engine, Droppable):
                engine.drop()
        with self._lock:
            self._turns.dispatch()

    def _is_silent(self, server: Server) -> bool:
        if not server.spec.is_server or not server.gate.in_flight or server.breaker.state == "open":
            return False
        return self._clock() - server.heard_at >= SILENT_SECONDS

    def _ask_health(self, servers: Sequence[Server]) -> list[tuple[Server, Health]]:
        """The health of each, asked side by side: one that hangs keeps nobody else waiting."""
        found: dict[int, Health] = {}

        def ask(number: int, server: Server) -> None:
            found[number] = server.engine.health()

        # Not an executor's threads: those keep the process from ending while a server hangs.
        threads = [
            threading.Thread(target=ask, args=(number, server), name="pool-look", daemon=True)
            for number, server in enumerate(servers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        unknown = Health(ok=False, detail="it could not be asked")
        return [(server, found.get(number, unknown)) for number, server in enumerate(servers)]


def _is_poor(answer: Answer, request: Request) -> bool:
    """Whether JSON was asked for, and what came is none, or of another shape."""
    if not isinstance(request.want, WantJson) or request.begun:
        return False
    return not is_record(request.want.schema, answer.text)
