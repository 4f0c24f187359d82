"""One answer as it is written token by token: its text, the probabilities, where it ends, who is told of it."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Iterable, Mapping

from docflow.engines.base import StopReason, Usage
from docflow.engines.chat import Reply, Step
from docflow.engines.local.grammars import END, Grammars, Held
from docflow.engines.local.model import Sampling
from docflow.errors import BadAnswer


class Writing:
    """An answer on its way. One thread writes it."""

    def __init__(
        self,
        grammars: Grammars,
        sampling: Sampling,
        held: Held | None,
        most: int,
        on_text: Callable[[str], bool] | None,
    ) -> None:
        """``most`` is how many tokens there is room for, if that is fewer than the sampling allows."""
        self.sampling, self.held = sampling, held
        self._grammars, self._on_text = grammars, on_text
        self.most = min(most, sampling.max_tokens)
        self._steps: list[Step] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._told = 0
        self.stop: StopReason | None = None

    @property
    def done(self) -> bool:
        return self.stop is not None

    @property
    def begun(self) -> bool:
        """Whether a token was written."""
        return bool(self._steps)

    def look(self) -> None:
        """Ask whether anybody still waits: an answer that nobody wants need not be begun."""
        if self._on_text is not None and not self._on_text(""):
            self.stop = "abort"

    def take(self, token: int, prob: float, others: Iterable[tuple[int, float]]) -> None:
        """Write a token; ``others`` are the likeliest ones in its place. Raises BadAnswer."""
        if not math.isfinite(prob):
            raise BadAnswer("the model's numbers are no probabilities", hint="Load it with another dtype.")
        said = self._grammars.token_bytes(token)
        self._steps.append(Step(said, self._top(said, prob, token, others)))
        if token in self._grammars.ends:
            self._end("stop")
            return
        before = len(self._text)
        self._text += self._decoder.decode(said)
        if self.held is not None:
            self.held.take(token)
        if self._cut_at_stop(before) or (self.held is not None and self.held.ended):
            self._end("stop")
        elif len(self._steps) >= self.most:
            self._end("length")
        else:
            self._tell(len(self._text) - self._held_back())

    def give_up(self) -> None:
        """End it where it is."""
        self.stop = "abort"

    def reply(self, prompt_tokens: int, cached: int = 0) -> Reply:
        """What was written, once it is done."""
        usage = Usage(prompt=prompt_tokens, cached=cached, output=len(self._steps), calls=1)
        return Reply(self._text, self.stop or "abort", tuple(self._steps), usage)

    def _top(self, said: bytes, prob: float, token: int, others: Iterable[tuple[int, float]]) -> Mapping[bytes, float]:
        """The alternatives, least likely first: several tokens may write the same, and there are several ends."""
        top: dict[bytes, float] = {}
        for other, share in others:
            if other != token:
                written = self._grammars.token_bytes(other)
                top[written] = top.get(written, 0.0) + share
        top[said] = prob + (top.get(said, 0.0) if said == END else 0.0)
        return top

    def _cut_at_stop(self, before: int) -> bool:
        longest = max(map(len, self.sampling.stop), default=0)
        places = (self._text.find(stop, max(0, before - longest)) for stop in self.sampling.stop if stop)
        at = min((place for place in places if place >= 0), default=-1)
        if at < 0:
            return False
        self._text = self._text[:at]
        return True

    def _held_back(self) -> int:
        """Characters at the end that may be the beginning of a stop."""
        for length in range(min(len(self._text), max(map(len, self.sampling.stop), default=0)), 0, -1):
            if any(len(stop) > length and self._text.endswith(stop[:length]) for stop in self.sampling.stop):
                return length
        return 0

    def _end(self, stop: StopReason) -> None:
        self.stop = stop
        if stop == "length" or not self.sampling.stop:
            self._text += self._decoder.decode(b"", final=True)
        self._tell(len(self._text))

    def _tell(self, upto: int) -> None:
        if self._on_text is None or upto <= self._told:
            return
        piece, self._told = self._text[self._told : upto], upto
        if not self._on_text(piece) and self.stop is None:
            self.stop = "abort"
