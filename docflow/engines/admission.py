"""Who goes to a server when: a bounded number at once, and what many requests begin with goes ahead of the crowd.

A server computes the beginning of a request once and keeps it. When many requests with the same beginning arrive at the
same moment, each would be computed: so the first goes alone, and the others follow when it has been answered.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from docflow.documents.model import Page
from docflow.engines.base import Request

if TYPE_CHECKING:
    from docflow.engines.plans import Plan

SHORTEST_PREFIX = 200
"""A text before the first page that is shorter (in characters) is not worth a wait."""
LEAD_SECONDS = 60.0
"""How long the crowd waits for the first at most."""
KEPT_SECONDS = 300.0
"""How long a beginning is taken to be in a server's cache after it was last used there."""
MOST_KEPT = 4096


class Signal(Protocol):
    """What wakes whoever waits with a ticket: an event of a thread, or of an event loop. Set from any thread."""

    def set(self) -> None: ...
    def clear(self) -> None: ...


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that waits for its turn, in the order of ``number``; documents that have ``begun`` go first.

    ``avoid`` holds the servers that have failed it: others are asked as long as there are any. ``server`` is the one to
    go to, once ``turn`` is set, and ``era`` that of its breaker. ``plan`` says which servers it may go to, where it is
    not all of them by their tiers, and ``failed_at`` is the last one of them that failed it.
    """

    document: str
    beginnings: tuple[bytes, ...]
    number: int
    begun: bool
    lead_seconds: float
    avoid: set[Any] = field(default_factory=set)
    server: Any = None
    era: int = 0
    turn: Signal = field(default_factory=Event)
    plan: Plan | None = None
    failed_at: Any = None

    @property
    def rank(self) -> tuple[bool, int]:
        """What tickets are sorted by."""
        return not self.begun, self.number


def beginnings_of(request: Request) -> tuple[bytes, ...]:
    """What other requests may begin with as well, each as a hash: all before the first page, all up to the last one."""
    pages = len(request.pages)
    digest = hashlib.blake2b(digest_size=16)
    found: list[bytes] = []
    length = seen = 0
    for turn in request.turns:
        if not pages and turn.role != "system":
            break
        digest.update(f"\0{turn.role}\0".encode())
        for part in turn.parts:
            if isinstance(part, Page):
                if not seen and length >= SHORTEST_PREFIX:
                    found.append(digest.digest())
                digest.update(f"\0{part.document_id}\0{part.number}\0".encode())
                seen += 1
                if seen == pages:
                    return (*found, digest.digest())
            else:
                digest.update(part.encode("utf-8", "surrogatepass"))
                length += len(part)
    return (digest.digest(),) if length >= SHORTEST_PREFIX else ()


class Gate:
    """What is at one server now, and which beginnings it has. Not safe to use from several threads at once.

    ``most`` bounds the requests there. ``window`` is what the server takes at present: half of it after each refusal
    for want of room, and slowly up again.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.most = most
        self.window = float(most)
        self.in_flight = 0
        self._clock = clock
        self._has: OrderedDict[bytes, float] = OrderedDict()
        self._leads: dict[bytes, tuple[Ticket, float]] = {}

    @property
    def full(self) -> bool:
        return self.in_flight >= int(self.window)

    def holds_back(self, ticket: Ticket) -> bool:
        """Whether what this one begins with is being computed there just now, for another."""
        now = self._clock()
        for beginning in ticket.beginnings:
            leading = self._leads.get(beginning)
            if leading is not None and leading[0] is not ticket and now < leading[1]:
                return True
        return False

    def enter(self, ticket: Ticket) -> None:
        """The request goes to the server."""
        self.in_flight += 1
        now = self._clock()
        for beginning in ticket.beginnings:
            until = self._has.get(beginning)
            if (until is None or now >= until) and beginning not in self._leads:
                self._leads[beginning] = (ticket, now + ticket.lead_seconds)

    def leave(self, ticket: Ticket, *, answered: bool) -> None:
        """The request has come to its end there; one that failed leaves the lead to the next."""
        self.in_flight -= 1
        for beginning in ticket.beginnings:
            leading = self._leads.get(beginning)
            if leading is not None and leading[0] is ticket:
                del self._leads[beginning]
            if answered:
                self._has[beginning] = self._clock() + KEPT_SECONDS
                self._has.move_to_end(beginning)
        while len(self._has) > MOST_KEPT:
            self._has.popitem(last=False)
        if answered and self.window < self.most:
            self.window = min(self.most, self.window + 1 / self.window)

    def begun(self, ticket: Ticket) -> None:
        """The server has begun to answer: it has computed the beginnings, and the crowd may follow."""
        for beginning in ticket.beginnings:
            leading = self._leads.get(beginning)
            if leading is not None and leading[0] is ticket:
                del self._leads[beginning]
            self._has[beginning] = self._clock() + KEPT_SECONDS

    def known(self, ticket: Ticket) -> int:
        """How many of a request's beginnings are taken to be there."""
        now = self._clock()
        return sum(1 for beginning in ticket.beginnings if self._has.get(beginning, 0.0) > now)

    def narrow(self) -> None:
        """The server has no room for as many."""
        self.window = max(1.0, (self.in_flight + 1) // 2)

    def forget(self) -> None:
        """The server was away: what it comes back with has an empty cache."""
        self._has.clear()
        self._leads.clear()
        self.window = float(self.most)
