"""The contract of an engine: it answers one Request with one Answer, tells whether it is well, and closes.

A Request is the conversation so far and what is wanted next. No engine knows SGLang's interpreter (the bridge
translates), and nothing above the engines knows which one answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from docflow.documents.model import Box, Page

Role = Literal["system", "user", "assistant"]
Reason = Literal["absent", "unreadable", "conflict"]
StopReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished turn: text and pages in the order in which the program put them."""

    role: Role
    parts: tuple[str | Page, ...]

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def pages(self) -> tuple[Page, ...]:
        return tuple(part for part in self.parts if isinstance(part, Page))


@dataclass(frozen=True, slots=True)
class WantText:
    """Free text, or text that matches a regular expression."""

    regex: str | None = None


@dataclass(frozen=True, slots=True)
class WantJson:
    """JSON of this schema. Leaves are asked for as printed; ``x-kind`` says what kind each one is."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WantChoice:
    """One of these texts."""

    choices: tuple[str, ...]


BEGINS = "new document"
GOES_ON = "same document"
"""The choices when files are split: whether a document begins on the last page shown, or goes on from the one before.
"""

Want = WantText | WantJson | WantChoice


@dataclass(frozen=True, slots=True)
class Limits:
    """How much and how long an engine may write, and how many image tokens a page may cost it."""

    max_tokens: int = 4096
    page_tokens: int = 1280
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    timeout_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Request:
    """The conversation so far, the assistant turn that was begun, and what is wanted next."""

    turns: tuple[Turn, ...]
    want: Want
    begun: str = ""
    limits: Limits = field(default_factory=Limits)

    @property
    def pages(self) -> tuple[Page, ...]:
        """Every page of the conversation, in order."""
        return tuple(page for turn in self.turns for page in turn.pages)


@dataclass(frozen=True, slots=True)
class TokenProb:
    """A piece of the answer's text and the probability with which the model chose it."""

    text: str
    prob: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A place on a page: page number (from 1) and box."""

    page: int
    box: Box


@dataclass(frozen=True, slots=True)
class LeafHint:
    """What an engine itself knows of one leaf of its answer.

    ``pieces`` are the places where it read the value, in reading order; ``confidence`` its own estimate that the
    value is right (0 to 1); ``reason`` why the leaf is null. An engine that knows none of this sends no hints.
    """

    raw: str | None = None
    pieces: tuple[Piece, ...] = ()
    confidence: float | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and calls that an answer cost. ``cached`` counts the prompt tokens that were not computed again."""

    prompt: int = 0
    cached: int = 0
    output: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.output + other.output,
            self.calls + other.calls,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine answered: the text, how sure it was, what it cost, why it stopped, and who it was.

    ``hints`` go by the path of the leaf in the answered JSON, as in ``items[3].price``.
    ``choice_probs`` is filled for WantChoice and sums to 1. ``attempts`` counts how often the request was sent, to
    whatever server, until this answer came; ``fallback`` says that it came from a stand-in for the engine that was
    asked for. ``by_rules`` says that the same question would get the same answer however it is put: asking again is no
    second opinion.
    """

    text: str
    tokens: tuple[TokenProb, ...] = ()
    choice_probs: Mapping[str, float] = field(default_factory=dict)
    hints: Mapping[str, LeafHint] = field(default_factory=dict)
    usage: Usage = field(default_factory=lambda: Usage(calls=1))
    stop: StopReason = "stop"
    engine: str = ""
    model: str = ""
    attempts: int = 1
    fallback: bool = False
    by_rules: bool = False


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server is spoken to.

    ``model`` is the model to ask for (the first one that the server lists, when empty); ``connections`` bounds the
    requests that are at the server at once, waiting ones among them.
    """

    model: str = ""
    api_key: str = field(default="", repr=False)
    connect_seconds: float = 5.0
    connections: int = 64


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an engine is usable now, and what it says of itself. ``slow`` where it did not say so in time.

    ``hint`` is what the user can do where it is not usable; ``gone`` says that waiting a moment will not help: nobody
    is there, or somebody else.
    """

    ok: bool
    model: str = ""
    detail: str = ""
    slow: bool = False
    hint: str = ""
    gone: bool = False


class Engine(Protocol):
    """Something that answers a program's requests. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """The kind of engine: ``embedded``, ``sglang``, ``scripted`` ..."""
        ...

    @property
    def model(self) -> str:
        """The model that answers, as it is recorded in rows."""
        ...

    def answer(self, request: Request) -> Answer:
        """Answer one request. Raises EngineError."""
        ...

    def health(self) -> Health:
        """Ask whether the engine is usable. Never raises."""
        ...

    def close(self) -> None:
        """Give back connections, processes and memory."""
        ...
