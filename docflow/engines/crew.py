"""Servers that stand in for each other, looked after: who is well, what is at each, and who takes over.

What a pool of engines and the gateway have in common: neither sends anything here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic

from docflow.engines.admission import Ticket
from docflow.engines.base import Health
from docflow.engines.members import Droppable, M, Server, ServerStatus, reason_of
from docflow.engines.turns import Turns
from docflow.errors import BadAnswer, EngineError, EngineRefused
from docflow.settings import ServerSettings

log = logging.getLogger("docflow.engines")

MOST_BUSY_SECONDS = 600.0
"""How long a request waits in all for servers that have no room and say when to come back."""
SILENT_SECONDS = 10.0
"""How long a server with requests may say nothing before it is asked for its health."""
LEAST_REST, MOST_REST = 1.0, 30.0
"""Seconds that a server rests which has no room and does not say for how long: the first time, and at most."""
HANGS_AFTER = 3
"""Looks in a row at a silent server that find nothing: then it hangs, and what is there is sent elsewhere."""


class Crew(Generic[M]):
    """The servers, whose turn it is at which, and a thread that looks after them while there is something to look at.

    Safe to call from several threads. It owns its servers, and closes them. ``most`` bounds the requests at all of them
    together.
    """

    def __init__(
        self,
        servers: Sequence[Server[M]],
        settings: ServerSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        most: int | None = None,
    ) -> None:
        self.settings = settings
        self.note = ""
        self._clock = clock
        self._servers = list(servers)
        self._lock = threading.RLock()
        self._turns = Turns(self._servers, settings, clock, most)
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()

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

    def look_at_all(self) -> None:
        """Ask every server how it is. Those that are not well are left alone until they are."""
        for server, health in self._ask_health(self._servers):
            with self._lock:
                server.model = server.model or health.model
                server.looked_at = self._clock()
                server.gone = health.gone and not server.answered
                if not health.ok and server.breaker.state == "closed":
                    server.breaker.open(reason_of(health.detail, server.spec, health.hint))
                    self._went_away(server)

    # --- how servers are doing ----------------------------------------------------------------------------------

    def _answered(self, server: Server[M], ticket: Ticket, model: str = "", *, poor: bool = False) -> None:
        """A request was answered; ``poor`` where that is not what was asked for."""
        with self._lock:
            server.answered += 1
            server.no_room, server.gone = 0, False
            server.outdone = server.outdone if poor else 0
            server.model = server.model or model
            self._turns.settle(ticket.document, server)
            if poor and server.outdone >= self.settings.failures:
                self._leave(server, ticket, answered=True, failure=BadAnswer(server.breaker.reason))
            else:
                self._leave(server, ticket, answered=True, well=True)

    def _begun(self, server: Server[M], ticket: Ticket) -> None:
        """A server has begun to answer a request, and goes on: it is well, and the crowd behind it may follow."""
        with self._lock:
            server.gate.begun(ticket)
            self._heard(server, ticket)
            if server.trial is ticket:
                server.trial = None
            if server.breaker.worked(ticket.era):
                self._came_back(server)
                ticket.era = server.breaker.era
            if self._turns.waiting:
                self._turns.dispatch()

    def _failed(self, server: Server[M], ticket: Ticket, error: EngineError) -> None:
        with self._lock:
            if error.busy:
                server.gate.narrow()
                server.rests_until = max(server.rests_until, self._clock() + self._rest_of(server, error))
            else:
                self._turns.leave_home(ticket.document, server)
            # One that refuses, has no room, or gives a bad answer is there, and speaks; one that was left alone for its
            # bad answers has to give a good one.
            bad = isinstance(error, BadAnswer) and server.outdone < self.settings.failures
            well = error.busy or isinstance(error, EngineRefused) or bad
            self._leave(server, ticket, well=well, failure=None if well or server.last_resort else error)

    def _rest_of(self, server: Server[M], error: EngineError) -> float:
        """How many seconds a server without room is left alone: as it asks, or twice as long each time."""
        if error.retry_after is not None:
            return min(error.retry_after, MOST_BUSY_SECONDS)
        if self._clock() >= server.rests_until:  # what was sent before it rested, and comes back now, says nothing new
            server.no_room += 1
        return min(MOST_REST, LEAST_REST * 2.0 ** min(server.no_room - 1, 10))

    def _was_outdone(self, server: Server[M], era: int, reason: str) -> None:
        """A server's answer was bad, and another's to the same was not: after some in a row it is left alone."""
        with self._lock:
            if server.breaker.state != "closed" or server.breaker.era != era:
                return
            server.outdone += 1
            if server.outdone >= self.settings.failures:
                server.breaker.open(reason)
                self._went_away(server)

    def _leave(
        self,
        server: Server[M],
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
            self._heard(server, ticket)
            if failure is not None and server.breaker.failed(ticket.era, reason_of(failure.message, server.spec)):
                self._went_away(server)
            elif well and server.breaker.worked(ticket.era):
                self._came_back(server)
            self._turns.dispatch()

    def _heard(self, server: Server[M], ticket: Ticket) -> None:
        if ticket.era == server.breaker.era:
            server.heard_at, server.looks = self._clock(), 0

    def _went_away(self, server: Server[M]) -> None:
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
            at_once = all(other.gone for other in self._servers if not other.last_resort)
            answering = "waiting for it"
            if last:
                answering = f"{last[0]} takes over" if at_once else f"{last[0]} takes over if it stays away"
        else:
            answering += " takes over" if tier else " goes on"
        self._say(f"{what}; {answering}")
        self._look_after()

    def _came_back(self, server: Server[M]) -> None:
        server.away_seconds += self._clock() - server.breaker.opened_at
        server.given = max((other.given for other in self._servers if other.tier == server.tier), default=0.0)
        self._turns.all_away_since = None
        self._say(f"{server.spec.label} is back")

    def _away_now(self, server: Server[M]) -> float:
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
                if not self._needs_watching():
                    self._watcher = None
                    return
            self.look()

    def _needs_watching(self) -> bool:
        return any(
            server.gate.in_flight or server.breaker.state == "open" or server.look_seconds for server in self._servers
        )

    def look(self, *, at_once: bool = False) -> None:
        """Look at the servers whose rest is over, and at those that have requests and say nothing.

        One that is well again is tried with the next request; one that hangs loses what is there to the others. With
        ``at_once``, no rest is waited for.
        """
        with self._lock:
            looked_at = [server for server in self._servers if self._wants_a_look(server, at_once)]
        hanging = []
        for server, health in self._ask_health(looked_at):
            reason = reason_of(health.detail, server.spec, health.hint)
            with self._lock:
                before, server.looked_at = server.looked_at, self._clock()
                server.gone = health.gone and not server.answered
                if server.breaker.state == "open":
                    server.breaker.looked_at(health.ok, reason)
                elif health.ok:
                    server.heard_at, server.looks, server.unwell = self._clock(), 0, 0
                elif self._is_silent(server):
                    server.looks += 1
                    if server.looks >= HANGS_AFTER:
                        server.looks = 0
                        server.breaker.open(reason)
                        self._went_away(server)
                        hanging.append(server.engine)
                elif server.look_seconds is not None and not (health.slow and server.heard_at > before):
                    server.unwell += 1  # one that is busy may be slow to say that it is well
                    if server.unwell >= self.settings.failures:
                        server.unwell = 0
                        server.breaker.open(reason)
                        self._went_away(server)
        for engine in hanging:
            if isinstance(engine, Droppable):
                engine.drop()
        with self._lock:
            self._turns.dispatch()

    def _wants_a_look(self, server: Server[M], at_once: bool) -> bool:
        if server.breaker.state == "open":
            return at_once or server.breaker.due
        if server.look_seconds is not None and self._clock() - server.looked_at >= server.look_seconds:
            return True
        return self._is_silent(server)

    def _is_silent(self, server: Server[M]) -> bool:
        if not server.spec.is_server or not server.gate.in_flight or server.breaker.state == "open":
            return False
        return self._clock() - server.heard_at >= SILENT_SECONDS

    def _ask_health(self, servers: Sequence[Server[M]]) -> list[tuple[Server[M], Health]]:
        """The health of each, asked side by side: one that hangs keeps nobody else waiting."""
        found: dict[int, Health] = {}

        def ask(number: int, server: Server[M]) -> None:
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
