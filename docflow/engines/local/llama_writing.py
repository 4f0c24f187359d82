"""Writing an answer token by token: which token comes next, with which probability, and when it ends.

Probabilities are those among the tokens that may stand there, as SGLang and vLLM tell them: what a grammar rules out
counts for nothing. The whole vocabulary is put before a grammar only where its likely tokens are not enough, as that
takes tens of milliseconds; what is left out is worth less than a hundredth of what is not.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from docflow.engines.chat import Step
from docflow.engines.local.model import Sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from docflow.engines.base import StopReason

_TRIED_FIRST = (64, 1024)
_LEFT_OUT = 0.01
_RANDOM_SEED = 2**32


class Bounds(Protocol):
    """What may come next, as ``llama_library.Grammar`` says it."""

    def allowed(self, tokens: NDArray[np.int32]) -> NDArray[np.bool_]: ...
    def accept(self, token: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Next:
    """The tokens that may come next, the likeliest first, and their probabilities, which sum to 1."""

    tokens: NDArray[np.int32]
    probs: NDArray[np.float64]


def next_tokens(scores: NDArray[np.float32], bounds: Bounds | None, barred: NDArray[np.bool_] | None) -> Next:
    """What may come next. ``barred`` are tokens that a grammar must not take for text. Empty where nothing may."""
    scores = np.where(np.isfinite(scores), scores, np.float32(-1e30))
    if bounds is None:
        return _ordered(np.arange(len(scores), dtype=np.int32), scores)
    if barred is not None:
        scores[barred] = -1e30
    weights = np.exp(scores.astype(np.float64) - float(scores.max()))
    total = float(weights.sum())
    for count in (*_TRIED_FIRST, len(scores)):
        if count >= len(scores):
            tried = np.arange(len(scores), dtype=np.int32)
        else:
            tried = np.argpartition(scores, -count)[-count:].astype(np.int32)
        if barred is not None:
            tried = tried[~barred[tried]]
        legal = tried[bounds.allowed(tried)]
        left_out = total - float(weights[tried].sum())
        if count >= len(scores) or (len(legal) and left_out <= _LEFT_OUT * float(weights[legal].sum())):
            break
    return _ordered(legal, scores)


def _ordered(tokens: NDArray[np.int32], scores: NDArray[np.float32]) -> Next:
    if not len(tokens):
        return Next(tokens, np.zeros(0))
    tokens = tokens[np.lexsort((tokens, -scores[tokens]))]
    weights = np.exp(scores[tokens].astype(np.float64) - float(scores[tokens[0]]))
    return Next(tokens, weights / weights.sum())


@dataclass(slots=True)
class Picker:
    """Picks among what may come next, the same for the same seed."""

    sampling: Sampling
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        seed = self.sampling.seed
        self.random = np.random.default_rng(None if seed is None else seed % _RANDOM_SEED)

    def pick(self, following: Next) -> int:
        """The place in ``following`` of the token that is taken."""
        asked = self.sampling
        if asked.temperature <= 0 or len(following.tokens) == 1:
            return 0
        with np.errstate(divide="ignore"):
            logs = np.log(following.probs) / asked.temperature
        weights = np.exp(logs - logs[0])
        if asked.top_k > 0:
            weights = weights[: asked.top_k]
        weights /= weights.sum()
        if asked.top_p < 1:
            before = np.cumsum(weights) - weights  # the first is always kept
            weights = weights[before < max(asked.top_p, 0.0)] if asked.top_p > 0 else weights[:1]
            weights /= weights.sum()
        return int(self.random.choice(len(weights), p=weights))


def step_of(following: Next, place: int, top: int, named: Callable[[int], bytes]) -> Step:
    """The token that was taken, with as many alternatives as are told."""
    token = named(int(following.tokens[place]))
    others: dict[bytes, float] = {}
    for at in range(min(top, len(following.tokens))):
        others.setdefault(named(int(following.tokens[at])), float(following.probs[at]))
    return Step(token, {**others, token: float(following.probs[place])})


class Written:
    """The text so far. What may be the beginning of a stop text is not told until it is known to be none."""

    def __init__(self, stops: Sequence[str], on_text: Callable[[str], bool] | None) -> None:
        self._stops = [stop for stop in stops if stop]
        self._on_text = on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._told = 0
        self.stopped = False
        self.left = False
        """Nobody waits for more."""

    def add(self, raw: bytes) -> None:
        """Go on by what a token shows as."""
        self._take(self._decoder.decode(raw))

    def end(self, stop: StopReason) -> str:
        """The whole text, once nothing more comes. Half a character at the end of a cut answer is left out."""
        if stop == "stop" and not self.stopped:
            self._take(self._decoder.decode(b"", True))
        self._tell(len(self._text))
        return self._text

    def _take(self, more: str) -> None:
        if not more:
            return
        start = max(0, len(self._text) - max((len(stop) for stop in self._stops), default=0))
        self._text += more
        ends = [at for stop in self._stops if (at := self._text.find(stop, start)) >= 0]
        if ends:
            self._text, self.stopped = self._text[: min(ends)], True
            self._tell(len(self._text))
        else:
            self._tell(len(self._text) - self._held_back())

    def _held_back(self) -> int:
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-length:]) for stop in self._stops):
                return length
        return 0

    def _tell(self, until: int) -> None:
        if self._on_text is None or self.left or until <= self._told:
            return
        piece, self._told = self._text[self._told : until], until
        self.left = not self._on_text(piece)
