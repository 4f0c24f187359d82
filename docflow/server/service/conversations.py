"""Conversations: in memory, each its key's own, the oldest dropped first, forgotten when nobody goes on with them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from docflow.documents.model import Page
from docflow.engines.base import Role, Turn
from docflow.server.service.keys import Caller
from docflow.server.service.refusals import Refusal

MOST_BYTES = 256 << 20
"""Of all conversations together, images in them included."""
MOST_MESSAGES = 1_000
"""Of one conversation; the oldest go first. No model's context holds more."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn as it is kept. ``size`` is in bytes."""

    role: Role
    text: str
    pages: tuple[Page, ...] = ()
    size: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def turn(self) -> Turn:
        """The turn for an engine: what is looked at before what is asked about it."""
        return Turn(self.role, (*self.pages, self.text))


@dataclass(slots=True, eq=False)
class Conversation:
    """A conversation. ``owner`` is the name of its key; ``lock`` is held by the turn that is being answered."""

    owner: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    messages: list[Message] = field(default_factory=list)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    size: int = 0
    used: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Conversations:
    """The conversations of a service, in the order in which they were last gone on with. For one event loop.

    Past ``most`` of them, or ``most_bytes`` in all, the key that holds the most loses the one it used longest ago.
    ``seconds`` is how long one is kept after its last turn.
    """

    def __init__(
        self,
        most: int,
        seconds: float,
        *,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._seconds, self._most_bytes, self._clock = most, seconds, most_bytes, clock
        self._kept: dict[str, Conversation] = {}
        self._size = 0

    def __len__(self) -> int:
        self._expire()
        return len(self._kept)

    def of(self, caller: Caller) -> list[Conversation]:
        """Those that a caller may see, the one that was used last first."""
        self._expire()
        return [one for one in reversed(self._kept.values()) if _may_see(caller, one)]

    def get(self, id_: str, caller: Caller) -> Conversation:
        """The conversation of an id. Raises Refusal (404) where there is none, and where it is another key's."""
        self._expire()
        found = self._kept.get(id_)
        if found is None or not _may_see(caller, found):
            raise Refusal(404, "there is no such conversation", code="not_found")
        return found

    def delete(self, id_: str, caller: Caller) -> Conversation:
        """Forget a conversation, and give it back a last time. Raises Refusal (404) as ``get`` does."""
        found = self.get(id_, caller)
        self._drop(found)
        return found

    def add(self, conversation: Conversation, *messages: Message) -> None:
        """Keep a turn. One that was deleted while its turn was answered stays deleted."""
        known = conversation.id in self._kept
        if not known and conversation.messages:
            return
        conversation.messages.extend(messages)
        dropped = conversation.messages[:-MOST_MESSAGES]
        del conversation.messages[:-MOST_MESSAGES]
        grown = sum(message.size for message in messages) - sum(message.size for message in dropped)
        conversation.size += grown
        self._size += grown
        conversation.updated, conversation.used = datetime.now(UTC), self._clock()
        self._kept.pop(conversation.id, None)
        self._kept[conversation.id] = conversation
        while len(self._kept) > self._most or (self._size > self._most_bytes and len(self._kept) > 1):
            self._make_room(conversation)

    def _make_room(self, newest: Conversation) -> None:
        others = [one for one in self._kept.values() if one is not newest]
        if len(self._kept) > self._most:
            held = Counter(one.owner for one in self._kept.values())
        else:
            held = Counter()
            for one in self._kept.values():
                held[one.owner] += one.size
        most = max(held[one.owner] for one in others)
        self._drop(next(one for one in others if held[one.owner] == most))

    def _drop(self, conversation: Conversation) -> None:
        del self._kept[conversation.id]
        self._size -= conversation.size

    def _expire(self) -> None:
        now = self._clock()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if now - oldest.used < self._seconds:
                return
            self._drop(oldest)


def _may_see(caller: Caller, conversation: Conversation) -> bool:
    return caller.admin or caller.name == conversation.owner
