"""One request to the service and what became of it: what the guard starts, routes add to, and telemetry reads."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from docflow.server.service.keys import Caller

STATE = "exchange"
"""Under this name an exchange stands in the ASGI scope's state."""


@dataclass(slots=True)
class Exchange:
    """A request and its answer. No document text, no prompt, no key: it goes to logs and metrics as it is.

    ``route`` is the path's template (``/v1/jobs/{job}``), "" for paths that are none of ours. ``kind`` is what the
    route policies call it (``chat``, ``completion``, ``embeddings``), "" elsewhere. ``upstream`` answered, and
    ``fallback_from`` was asked first where that was another; ``fallback_model`` is the model of the one that stood in.
    ``failed_upstreams`` were asked and failed. ``queued_seconds`` passed before an upstream took the request,
    ``first_byte_seconds`` before the answer began. ``prompt_length`` counts characters, ``prompt_tokens`` to
    ``output_tokens`` tokens. ``came`` is Unix time in ns. ``trace`` is the W3C traceparent that upstreams are told;
    ``span`` is telemetry's own.
    """

    method: str
    path: str
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    caller: Caller | None = None
    route: str = ""
    kind: str = ""
    status: int = 0
    started: float = field(default_factory=time.perf_counter)
    came: int = field(default_factory=time.time_ns)
    seconds: float = 0.0
    queued_seconds: float | None = None
    first_byte_seconds: float | None = None
    upstream: str | None = None
    model: str | None = None
    fallback_from: str | None = None
    fallback_model: str | None = None
    failed_upstreams: tuple[str, ...] = ()
    attempts: int = 0
    prompt_length: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    documents: int | None = None
    streamed: bool = False
    client_left: bool = False
    error: str | None = None
    trace: str = ""
    span: Any = None
    observers: Sequence[Observer] = ()

    def tell(self, what: str) -> None:
        """Tell whoever observes: ``begin``, ``request`` once the prompt is known, ``end``."""
        for observer in self.observers:
            observer(what, self)

    def read(self, prompt_length: int) -> None:
        """The request is read: its prompt has so many characters."""
        self.prompt_length = prompt_length
        self.tell("request")


Observer = Callable[[str, Exchange], None]
"""Is told of every exchange: with "begin" when its headers are there, with "request" when its prompt is known (where it
has one), with "end" when its answer is through or broke off. Called in the event loop: it must not block, and must not
raise."""


def exchange_of(scope: Any) -> Exchange:
    """The exchange of a request, by its ASGI scope (``request.scope``)."""
    exchange: Exchange = scope["state"][STATE]
    return exchange
