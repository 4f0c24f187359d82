"""What goes to an upstream, and what comes back: one request as any kind of upstream can take it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from docflow.engines.base import Health

Kind = Literal["chat", "completion", "embeddings"]
"""What route policies call a route."""


@dataclass(slots=True)
class Call:
    """A request that was read and found to be well formed.

    ``path`` is where an OpenAI server takes it. ``raw`` are the client's own
    bytes, ``body`` what they say. ``uncounted`` marks a stream whose client did not ask for the tokens it costs.
    ``document`` names what it shows (empty where nothing), ``beginnings`` are what others may begin with as well.
    ``named`` are the images in ``body`` that stand there by an address still, each with its place for messages.
    """

    kind: Kind
    path: str
    raw: bytes = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    model: str
    stream: bool
    uncounted: bool
    request_id: str
    trace: str = ""
    document: str = ""
    beginnings: tuple[bytes, ...] = ()
    named: list[tuple[str, dict[str, Any]]] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class Opened:
    """An answer that has begun. ``first`` is its first piece, and the whole of it where ``rest`` is None.

    ``end`` gives back what it holds, and has to be called however it ends. ``rest`` raises EngineError where the
    upstream breaks off.
    """

    status: int
    content_type: str
    first: bytes = field(repr=False)
    rest: AsyncIterator[bytes] | None = None
    end: Callable[[], object] | None = None
    retry_after: float | None = None


class Asked(Protocol):
    """An upstream that can be asked: over HTTP, or through another package."""

    @property
    def models(self) -> tuple[dict[str, Any], ...]:
        """The models it is known to offer, as OpenAI's list has them; empty while nothing is known."""
        ...

    def health(self) -> Health: ...

    def close(self) -> None: ...

    async def open(self) -> None:
        """Ready it, in the event loop of the service."""
        ...

    async def end(self) -> None:
        """Give back what ``open`` took."""
        ...

    async def send(self, call: Call, model: str) -> Opened:
        """Ask it, for ``model`` in place of the one that the request names where they differ.

        Returns once the answer has begun. Raises EngineError where it did not, and others may be asked.
        """
        ...
