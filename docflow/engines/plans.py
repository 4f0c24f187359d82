"""Which servers a request may go to, in which order, and how it is shared out among equals: a policy at work."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from docflow.engines.admission import Ticket
from docflow.engines.members import Server

Strategy = Literal["weighted", "priority", "least-busy", "cache-aware"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True, eq=False)
class Plan:
    """The servers of a route: ``targets`` with their weights, and ``substitutes``, who takes over for whom in order.

    ``weighted`` draws a target in proportion to its weight, ``priority`` takes the first that is well, ``least-busy``
    the one with the fewest requests for its weight, and ``cache-aware`` the one that has read a request's beginning
    already, unless it is much busier than another.
    """

    strategy: Strategy
    targets: tuple[tuple[Server[Any], float], ...]
    substitutes: Mapping[Server[Any], tuple[Server[Any], ...]] = field(default_factory=dict)
    draw: random.Random = field(default_factory=random.Random)

    @property
    def all(self) -> tuple[Server[Any], ...]:
        """Every server that a request of this plan may come to."""
        return tuple(dict.fromkeys(server for group in self.groups(None) for server in group))

    def groups(self, failed_at: Server[Any] | None) -> Iterator[Sequence[Server[Any]]]:
        """The servers in the order in which they are asked; those of a group are equals.

        Whoever takes over for the server that has failed comes first, then the targets, then who takes over for them.
        """
        targets = [server for server, _ in self.targets]
        if failed_at is not None:
            yield from self._behind(failed_at)
        if self.strategy == "priority":
            yield from ([server] for server in targets)
        else:
            yield targets
        for server in targets:
            yield from self._behind(server)

    def _behind(self, server: Server[Any]) -> list[list[Server[Any]]]:
        """The substitutes of a server and theirs, nearest first."""
        found: dict[Server[Any], None] = {}
        following = list(self.substitutes.get(server, ()))
        while following:
            one = following.pop(0)
            if one not in found:
                found[one] = None
                following += self.substitutes.get(one, ())
        return [[one] for one in found]

    def choose(self, free: Sequence[Server[Any]], ticket: Ticket) -> Server[Any]:
        """One of several servers that are equals and have room."""
        if len(free) == 1:
            return free[0]
        weights = dict(self.targets)
        if self.strategy == "weighted":
            return self.draw.choices(free, [weights.get(server, 1.0) for server in free])[0]
        busy = {server: server.gate.in_flight / weights.get(server, 1.0) for server in free}
        least = min(busy.values())
        near = [server for server in free if busy[server] <= least + (1 if self.strategy == "cache-aware" else 0)]
        return min(near, key=lambda server: (-server.gate.known(ticket), server.given))
