"""Whose turn it is in a pool, and at which server: by rank, by page, by what is there already, by weight."""

from __future__ import annotations

import hashlib
import itertools
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from docflow.engines.admission import LEAD_SECONDS, Signal, Ticket
from docflow.engines.base import Request
from docflow.engines.members import Server
from docflow.engines.plans import Plan
from docflow.settings import ServerSettings

HOME_SECONDS = 120.0
"""How long after its last call a document's page is taken to be at the server that had it."""
MOST_HOMES = 10_000
LONGEST_WAIT = 2.0
"""Seconds between two looks of a waiting request: for what changes with time alone."""


@dataclass(slots=True)
class _Home:
    """The server that has a document's page, since when it is that one, and when it had the last call."""

    server: Server[Any]
    since: float
    last: float


class Turns:
    """The requests that wait, and where the pages of documents are. Not safe to use from several threads at once.

    ``all_away_since`` is when the last server went away, None while there is one. ``most`` bounds the requests at all
    servers together.
    """

    def __init__(
        self,
        servers: Sequence[Server[Any]],
        settings: ServerSettings,
        clock: Callable[[], float],
        most: int | None = None,
    ) -> None:
        self.most = most
        self.waiting: list[Ticket] = []
        self.all_away_since: float | None = None
        self._servers, self._settings, self._clock = servers, settings, clock
        self._homes: OrderedDict[str, _Home] = OrderedDict()
        self._numbers = itertools.count()

    def ticket(self, request: Request, beginnings: tuple[bytes, ...]) -> Ticket:
        """What a request waits with; ``beginnings`` as ``beginnings_of`` finds them."""
        document = request.pages[0].document_id if request.pages else ""
        lead_seconds = min(LEAD_SECONDS, request.limits.timeout_seconds)
        return Ticket(document, beginnings, next(self._numbers), self.home(document) is not None, lead_seconds)

    def planned(
        self, plan: Plan, turn: Signal, document: str, beginnings: tuple[bytes, ...], lead_seconds: float
    ) -> Ticket:
        """What a request waits with that goes by a plan. ``document`` is what should stay at one server, if anything.

        Nobody goes before those who came earlier: they belong to different people.
        """
        number = next(self._numbers)
        return Ticket(document, beginnings, number, False, min(LEAD_SECONDS, lead_seconds), turn=turn, plan=plan)

    def queue(self, ticket: Ticket) -> None:
        """Let a request wait for its turn."""
        ticket.server = None
        ticket.turn.clear()
        insort(self.waiting, ticket, key=lambda waiting: waiting.rank)

    def dispatch(self) -> None:
        """Send whoever can go."""
        left: list[Ticket] = []
        stuck: set[int] = set()  # plans of which one could not go: others of the same plan cannot either
        for at, ticket in enumerate(self.waiting):
            if not self._has_room():
                left += self.waiting[at:]
                break
            alike = id(ticket.plan) if ticket.plan is not None and not ticket.avoid and not ticket.beginnings else 0
            server = None if alike in stuck else self._choose(ticket)
            if server is None:
                if alike:
                    stuck.add(alike)
                left.append(ticket)
                continue
            if not server.gate.in_flight:
                server.heard_at = self._clock()
            server.gate.enter(ticket)
            ticket.server, ticket.era = server, server.breaker.era
            if server.breaker.state == "half-open":
                server.trial = ticket
            if self.home(ticket.document) is not server:
                server.given += 1 / server.spec.weight
            self.settle(ticket.document, server)
            ticket.turn.set()
        self.waiting = left

    def _has_room(self) -> bool:
        if self.most is not None and sum(server.gate.in_flight for server in self._servers) >= self.most:
            return False
        return any(self._usable(server) and not server.gate.full for server in self._servers)

    def _choose(self, ticket: Ticket) -> Server[Any] | None:
        """The server for a request now; None when it has to wait."""
        if ticket.plan is not None:
            return self._choose_by(ticket.plan, ticket)
        alive = [server for server in self._servers if self.alive(server)]
        untried = [server for server in alive if server not in ticket.avoid]
        usable = [server for server in untried or alive if self._usable(server)]
        if not usable:
            return None
        tier = min(server.tier for server in usable)
        home = self.home(ticket.document)
        if home is not None and home in usable and self._stays(ticket.document, home, tier):
            if not home.gate.full and not home.gate.holds_back(ticket):
                return home
            # Its page is there: worth a wait, unless another that is as good stands half empty.
            usable = [
                server
                for server in usable
                if server.tier == home.tier and home.gate.full and server.gate.in_flight * 2 < server.gate.window
            ]
            tier = home.tier
        free = [
            server
            for server in usable
            if server.tier == tier and not server.gate.full and not server.gate.holds_back(ticket)
        ]
        if not free:
            return None
        least = min(server.gate.in_flight / server.spec.weight for server in free)
        near = [server for server in free if server.gate.in_flight / server.spec.weight <= least + 1]
        return min(near, key=lambda server: (server.given, _rendezvous(ticket.document, server.spec.shown)))

    def _choose_by(self, plan: Plan, ticket: Ticket) -> Server[Any] | None:
        for group in plan.groups(ticket.failed_at):
            there = [server for server in group if self._may_have(ticket, server) and self._usable(server)]
            if there:
                home = self.home(ticket.document)
                if home is not None and home in there and not home.gate.full and not home.gate.holds_back(ticket):
                    return home
                free = [server for server in there if not server.gate.full and not server.gate.holds_back(ticket)]
                return plan.choose(free, ticket) if free else None
        return None

    def has_hope(self, ticket: Ticket) -> bool:
        """Whether a server of its plan is there that has not failed it."""
        assert ticket.plan is not None
        return any(self._may_have(ticket, server) for server in ticket.plan.all)

    def _may_have(self, ticket: Ticket, server: Server[Any]) -> bool:
        return server not in ticket.avoid and self.alive(server)

    def alive(self, server: Server[Any]) -> bool:
        """Whether it is not away, though it may be resting, or be tried out by another request."""
        if server.last_resort and not self._last_resort_is_open():
            return False
        return server.breaker.state != "open"

    def _usable(self, server: Server[Any]) -> bool:
        return server.trial is None and self._clock() >= server.rests_until

    def _last_resort_is_open(self) -> bool:
        away = self.all_away_since
        if away is None:
            return False
        # Nobody was ever there: that is no restart, which would be worth a wait.
        at_once = all(server.gone for server in self._servers if not server.last_resort)
        return at_once or self._clock() - away >= self._settings.last_resort_seconds

    def is_hopeless(self) -> bool:
        """Whether waiting has no more point: every server has been away for as long as a restart may take."""
        away = self.all_away_since
        if away is None or any(server.last_resort for server in self._servers):
            return False
        trying = any(server.breaker.state == "half-open" for server in self._servers)
        return not trying and self._clock() - away >= self._settings.wait_seconds

    def seconds_to_next_change(self) -> float:
        """How many seconds a waiting request may sleep: then time has changed something, or it looks again."""
        now = self._clock()
        times = [server.rests_until for server in self._servers]
        if self.all_away_since is not None:
            times.append(self.all_away_since + self._settings.wait_seconds)
            times.append(self.all_away_since + self._settings.last_resort_seconds)
        return max(0.01, min([LONGEST_WAIT, *(at - now for at in times if at > now)]))

    def home(self, document: str) -> Server[Any] | None:
        """The server that has the page of a document, if it had a call of that document lately."""
        home = self._homes.get(document)
        return home.server if home is not None and self._clock() - home.last < HOME_SECONDS else None

    def _stays(self, document: str, server: Server[Any], tier: int) -> bool:
        """Whether a document stays at its home: at a stand-in not for ever, once one of a better tier is back."""
        return server.tier == tier or self._clock() - self._homes[document].since < HOME_SECONDS

    def settle(self, document: str, server: Server[Any]) -> None:
        if not document:
            return
        now, home = self._clock(), self._homes.get(document)
        since = home.since if home is not None and self.home(document) is server else now
        self._homes[document] = _Home(server, since, now)
        self._homes.move_to_end(document)
        while len(self._homes) > MOST_HOMES:
            self._homes.popitem(last=False)

    def leave_home(self, document: str, server: Server[Any]) -> None:
        """The document's page is not taken to be at this server any more."""
        if self.home(document) is server:
            del self._homes[document]


def _rendezvous(document: str, server: str) -> bytes:
    """A document's order of preference among servers: the same in every run, and for most after one has gone."""
    return hashlib.blake2b(f"{document}\0{server}".encode(), digest_size=8).digest()
