"""Which of several texts a model chooses, and how probable each one is, from constrained answers. Pure.

An answer that is constrained to the choices shows, token by token, how probability is shared among those ways of going
on that the choices allow. A token with which one choice alone begins settles that choice's share. Choices that begin
alike (``receipt``, ``recibo``) share tokens: along the answer that was written the next token tells them apart; for a
beginning that was not written the model is asked again, with that beginning given and only its choices allowed. One
question is enough in most cases, and two where choices begin alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from docflow.engines.chat import Step

MOST_QUESTIONS = 6
LEAST_SHARE = 0.01
"""A beginning less probable than this is not asked about: its share is divided as its choices stand so far."""
_END = re.compile(rb"<\|.*\|>|</s>", re.DOTALL)
"""A token that ends an answer. Both servers write it out among the tokens."""


@dataclass
class Choosing:
    """The shares of the choices as they become known.

    ``question()`` gives what to ask next: the beginning to give the model, and how each choice may go on from there.
    ``learn()`` takes the steps of the answer to it.
    """

    choices: tuple[str, ...]
    shares: dict[bytes, float] = field(init=False)
    _open: dict[bytes, float] = field(init=False)
    _asked: int = 0

    def __post_init__(self) -> None:
        self.shares = {choice.encode(): 0.0 for choice in self.choices}
        self._open = {b"": 1.0}

    def question(self) -> tuple[str, tuple[str, ...]] | None:
        """The beginning to ask about and the ways to go on; None when enough is known."""
        if self._asked >= MOST_QUESTIONS:
            return None
        for beginning, share in sorted(self._open.items(), key=lambda item: (-item[1], item[0])):
            if share < LEAST_SHARE:
                return None
            try:
                text = beginning.decode()
            except UnicodeDecodeError:
                continue  # half a character cannot be given as text
            return text, tuple(choice.decode()[len(text) :] for choice in self._from(beginning))
        return None

    def learn(self, beginning: str, steps: Sequence[Step]) -> None:
        """Take what the model wrote after a beginning."""
        self._asked += 1
        at = beginning.encode()
        share = self._open.pop(at)
        for step in steps:
            if not step.token:  # part of a character, of which vLLM tells no bytes: what else there was, nobody knows
                self._divide(at, share * (1 - step.top[b""]))
                share *= step.top[b""]
                continue
            ways = self._ways(at, step)
            written = at if _END.fullmatch(step.token) else at + step.token
            if written not in ways:
                break
            total = sum(ways.values())
            for end, prob in ways.items():
                if end != written:
                    self._give(end, share * prob / total, ended=end == at)
            share *= ways[written] / total
            if written == at or len(self._from(written)) == 1:
                self._give(written, share, ended=written == at)
                return
            at = written
        self._divide(at, share)

    def probs(self) -> dict[str, float]:
        """The probability of each choice, in the order of the choices; they sum to 1."""
        shares = dict(self.shares)
        for beginning, share in self._open.items():
            among = self._from(beginning)
            known = sum(self.shares[choice] for choice in among)
            for choice in among:
                shares[choice] += share * (self.shares[choice] / known if known > 0 else 1 / len(among))
        total = sum(shares.values())
        return {choice: shares[choice.encode()] / total for choice in self.choices}

    def _from(self, beginning: bytes) -> list[bytes]:
        return [choice for choice in self.shares if choice.startswith(beginning)]

    def _ways(self, at: bytes, step: Step) -> dict[bytes, float]:
        """Where each possible token leads, those that lead nowhere left out; to end here leads to ``at`` itself."""
        ways: dict[bytes, float] = {}
        for token, prob in step.top.items():
            if _END.fullmatch(token):
                if at in self.shares:
                    ways[at] = ways.get(at, 0.0) + prob
            elif token and self._from(at + token):
                ways[at + token] = ways.get(at + token, 0.0) + prob
        return ways

    def _give(self, end: bytes, share: float, *, ended: bool) -> None:
        among = self._from(end)
        if ended or len(among) == 1:
            self.shares[end if ended else among[0]] += share
        elif share > 0:
            self._open[end] = self._open.get(end, 0.0) + share

    def _divide(self, at: bytes, share: float) -> None:
        among = self._from(at)
        for choice in among:
            self.shares[choice] += share / len(among)


def tokens_to_tell(choices: Sequence[str]) -> int:
    """How many tokens at most it takes to know which of the choices is being written: a token is a byte at least."""
    return max((_bytes_to_tell(a, b) for a, b in pairwise(sorted(choices))), default=1)


def _bytes_to_tell(a: str, b: str) -> int:
    """The bytes of two texts up to the character in which they differ, with it; ``a`` may be a beginning of ``b``."""
    same = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    return max(len(a[: same + 1].encode()), len(b[: same + 1].encode()))
