"""What a pool is made of: a server, how it is doing, and what may be said of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from docflow.engines.admission import Gate, Ticket
from docflow.engines.base import Health
from docflow.engines.breaker import Breaker, State
from docflow.errors import EngineError
from docflow.settings import without_credentials


class Spec(Protocol):
    """How a server is named, and what may be said of it; ``EngineSpec`` says what each means."""

    @property
    def name(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def model(self) -> str: ...
    @property
    def is_server(self) -> bool: ...
    @property
    def credentials(self) -> str: ...
    @property
    def shown(self) -> str: ...
    @property
    def label(self) -> str: ...


class Member(Protocol):
    """What a server of a pool must be able to do: say how it is, and end. Both from any thread."""

    def health(self) -> Health: ...
    def close(self) -> None: ...


M = TypeVar("M", bound=Member)


@runtime_checkable
class Droppable(Protocol):
    """An engine that can give up what is under way, as those over connections can."""

    def drop(self) -> None:
        """Whoever waits for an answer fails now; the engine stays usable."""
        ...


class Places(Protocol):
    """Places at servers that several processes share, so that together they send no more than a server takes."""

    def at(self, server: Spec) -> AbstractContextManager[None]:
        """Holds a place at a server; entering waits until there is one."""
        ...


@dataclass(eq=False)
class Server(Generic[M]):
    """One engine of a pool and how it is doing. The pool's lock guards what changes.

    ``tier`` is its rank: 0 shares the work. ``given`` counts the documents it got, over its weight; ``trial`` is the
    one request that tries it out; ``looks`` counts the looks at it in vain since it was ``heard_at``. One that is well
    is looked at every ``look_seconds`` all the same, where that is set; ``unwell`` counts those in a row that found it
    unwell. ``no_room`` counts the times in a row that it had none and did not say for how long, ``outdone`` the bad
    answers in a row to what another then answered well. ``gone`` says of one that never answered that nobody is there.
    """

    spec: Spec
    engine: M
    tier: int
    fallback: bool
    breaker: Breaker
    gate: Gate
    model: str = ""
    rests_until: float = 0.0
    given: float = 0.0
    trial: Ticket | None = None
    heard_at: float = 0.0
    looks: int = 0
    answered: int = 0
    away_seconds: float = 0.0
    look_seconds: float | None = None
    looked_at: float = 0.0
    unwell: int = 0
    no_room: int = 0
    outdone: int = 0
    gone: bool = False

    @property
    def last_resort(self) -> bool:
        """A stand-in in this process: no server, so it gets work only when all servers stay away."""
        return self.fallback and not self.spec.is_server


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How a server of a pool is doing, for people and metrics. ``away_seconds`` is how long it was away in all."""

    label: str
    kind: str
    model: str
    fallback: bool
    state: State
    reason: str
    in_flight: int
    answered: int
    away_seconds: float


# --- what may be said of it -----------------------------------------------------------------------------------------


def shown(text: str, spec: Spec) -> str:
    """What an engine said, without the credentials of its URL."""
    text = without_credentials(text)
    for secret in {spec.credentials, spec.credentials.partition(":")[2]} - {""}:
        text = text.replace(secret, "...")
    return text


def reason_of(text: str, spec: Spec, hint: str = "") -> str:
    """Why a server is away, and what to do, to stand after its name."""
    reason = shown(text, spec).removeprefix(without_credentials(spec.target)).strip() or "it gave no reason"
    hint = shown(hint, spec).rstrip(".")
    return f"{reason}: {hint[:1].lower()}{hint[1:]}" if hint else reason


def without_secrets(error: EngineError, spec: Spec) -> EngineError:
    """The error, saying nothing of the credentials of its server's URL."""
    if spec.credentials:
        error.args = (shown(error.message, spec),)
        error.hint = shown(error.hint, spec)
    return error
