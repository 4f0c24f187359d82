"""A circuit breaker: a server that fails is left alone, then tried with one request, then used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]

LONGEST_REST = 60.0
"""A server that dies again and again rests twice as long each time, up to this many seconds."""
STEADY_SECONDS = 60.0
"""A server that was well for so long starts afresh: its next rest is the shortest again."""


class Breaker:
    """Closed while a server is well, open while it is left alone, half-open while one request tries it.

    ``failures`` in a row open it; after ``rest_seconds`` it is due for a look, and one that finds the server well lets
    a trial through. Each opening has its number (``era``), so that what was sent before it and fails later does not
    count again. Not safe to use from several threads at once.
    """

    def __init__(self, failures: int, rest_seconds: float, clock: Callable[[], float]) -> None:
        self.state: State = "closed"
        self.reason = ""
        self.era = 0
        self.opened_at = 0.0
        self._most, self._rest, self._clock = failures, rest_seconds, clock
        self._failures = 0
        self._openings = 0
        self._due_at = 0.0
        self._well_since = clock()

    def failed(self, era: int, reason: str) -> bool:
        """A request of this era failed; whether that opened the breaker."""
        if era != self.era or self.state == "open":
            return False
        self.reason = reason
        self._failures += 1
        if self.state == "closed" and self._failures < self._most:
            return False
        self.open(reason)
        return True

    def worked(self, era: int) -> bool:
        """A request of this era was answered; whether that closed the breaker."""
        if era != self.era or self.state == "open":
            return False
        self._failures = 0
        if self.state == "closed":
            return False
        self.state = "closed"
        self.era += 1
        self._well_since = self._clock()
        return True

    def open(self, reason: str) -> None:
        """Leave the server alone from now on."""
        now = self._clock()
        if self.state == "closed":
            self.opened_at = now
            if now - self._well_since >= STEADY_SECONDS:
                self._openings = 0
        self.state, self.reason = "open", reason
        self.era += 1
        self._failures = 0
        self._due_at = now + min(LONGEST_REST, self._rest * 2**self._openings)
        self._openings = min(self._openings + 1, 16)

    @property
    def due(self) -> bool:
        """Whether the rest is over: the server can be looked at."""
        return self.state == "open" and self._clock() >= self._due_at

    def looked_at(self, well: bool, reason: str = "") -> None:
        """What a look at a server that was due found: a trial may go, or the rest goes on as long as the last one."""
        if self.state != "open":
            return
        if well:
            self.state = "half-open"
            self.era += 1
        else:
            self.reason = reason or self.reason
