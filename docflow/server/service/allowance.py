"""How much each key may ask for in a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from docflow.server.service.keys import Caller
from docflow.server.service.refusals import Refusal

MINUTE = 60.0


@dataclass(slots=True)
class _Bucket:
    """What is left of a minute's worth; it fills evenly."""

    left: float
    at: float


class Allowances:
    """Requests and tokens a minute for each key; None for as many as it likes. Belongs to one event loop.

    Tokens are known only afterwards: a key that used more than its share waits until that has come in again.
    """

    def __init__(
        self, requests: int | None = None, tokens: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._requests, self._tokens, self._clock = requests, tokens, clock
        self._asked: dict[str, _Bucket] = {}
        self._used: dict[str, _Bucket] = {}

    def take(self, caller: Caller) -> None:
        """Count one more request of a key. Raises Refusal (429) where it may not ask now."""
        if self._tokens is not None:
            bucket = self._filled(self._used, caller.name, self._tokens)
            if bucket.left <= 0:
                raise _later("tokens", self._tokens, (1 - bucket.left) * MINUTE / self._tokens)
        if self._requests is not None:
            bucket = self._filled(self._asked, caller.name, self._requests)
            if bucket.left < 1:
                raise _later("requests", self._requests, (1 - bucket.left) * MINUTE / self._requests)
            bucket.left -= 1

    def used(self, caller: Caller, tokens: int) -> None:
        """Count the tokens of an answer."""
        if self._tokens is not None:
            self._filled(self._used, caller.name, self._tokens).left -= tokens

    def _filled(self, buckets: dict[str, _Bucket], name: str, most: int) -> _Bucket:
        now = self._clock()
        bucket = buckets.get(name)
        if bucket is None:
            bucket = buckets[name] = _Bucket(most, now)
        bucket.left = min(most, bucket.left + (now - bucket.at) * most / MINUTE)
        bucket.at = now
        return bucket


def _later(what: str, most: int, seconds: float) -> Refusal:
    return Refusal(
        429, f"this key may use {most:,} {what} a minute", code=f"{what}_a_minute", retry_after=max(1.0, seconds)
    )
