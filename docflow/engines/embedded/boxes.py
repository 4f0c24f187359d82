"""Boxes to tick: which options a line offers, and which of them are ticked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from docflow.documents.model import Word

_TICKED = frozenset("☑☒■✓✔✗✘")
_EMPTY = frozenset("☐□◻")
_BRACKET = re.compile(r"^[\[(]\s*([xX×✓✔✗vV]?)\s*[\])]$")


@dataclass(frozen=True, slots=True)
class Choice:
    """One option: its mark, whether that is ticked, and the words of the option."""

    first: Word
    ticked: bool
    words: tuple[Word, ...]


def choices_in(words: Sequence[Word]) -> list[Choice]:
    """The options of a line, from the left; none where no box stands in front of any text."""
    marks: list[tuple[int, int, bool]] = []
    index = 0
    while index < len(words):
        state, length = _mark(words, index)
        if state is not None:
            marks.append((index, index + length, state))
        index += max(1, length)
    found = []
    for number, (start, end, ticked) in enumerate(marks):
        stop = marks[number + 1][0] if number + 1 < len(marks) else len(words)
        option = tuple(words[end:stop])
        if option and any(ch.isalpha() for word in option for ch in word.text):
            found.append(Choice(words[start], ticked, option))
    return found


def _mark(words: Sequence[Word], index: int) -> tuple[bool | None, int]:
    """Whether a box stands here and is ticked, and how many words it takes."""
    text = words[index].text
    if len(text) == 1 and text in _TICKED:
        return True, 1
    if len(text) == 1 and text in _EMPTY:
        return False, 1
    match = _BRACKET.match(text)
    if match:
        return bool(match[1]), 1
    if text in ("[", "(") and index + 1 < len(words):
        joined = text + words[index + 1].text
        if _BRACKET.match(joined):
            return bool(_BRACKET.match(joined)[1]), 2  # type: ignore[index]
        if index + 2 < len(words) and _BRACKET.match(joined + words[index + 2].text):
            return True, 3
    return None, 1
