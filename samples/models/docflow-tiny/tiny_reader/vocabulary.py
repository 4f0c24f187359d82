"""The tokens: bytes, Qwen2-VL's special tokens, and the texts that docflow's programs always send as one token each.

Values are read and written byte by byte. What every prompt repeats (the rules, a line for each field) and the keys of
a record's JSON are whole tokens, so that a prompt is some thirty tokens and not two thousand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
BLOCK = 64
"""The embedding has a multiple of this many rows."""


@dataclass(frozen=True)
class Vocabulary:
    """Bytes are tokens 0 to 255, then the special tokens, then the phrases."""

    phrases: tuple[str, ...]

    @property
    def size(self) -> int:
        return -(-(256 + len(SPECIAL) + len(self.phrases)) // BLOCK) * BLOCK

    @cached_property
    def whole(self) -> dict[str, int]:
        """The tokens that are more than a byte."""
        return {text: 256 + number for number, text in enumerate((*SPECIAL, *self.phrases))}

    @cached_property
    def _cut(self) -> re.Pattern[str]:
        longest_first = sorted(self.whole, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def ids(self, text: str) -> list[int]:
        """A text as tokens."""
        out: list[int] = []
        for piece in self._cut.split(text):
            if piece in self.whole:
                out.append(self.whole[piece])
            else:
                out += piece.encode()
        return out

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as text; special tokens are left out."""
        names = {number: text for text, number in self.whole.items()}
        out = b""
        for token in ids:
            if token < 256:
                out += bytes([token])
            elif token in names and names[token] not in SPECIAL:
                out += names[token].encode()
        return out.decode("utf-8", "replace")
