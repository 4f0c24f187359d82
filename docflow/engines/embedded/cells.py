"""What stands in one cell of a list: its words as text, the number in it, and the reading of a leaf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docflow.documents.model import Box, Word
from docflow.engines.base import Piece
from docflow.engines.embedded.context import ABSENT, LeafReading
from docflow.engines.embedded.figures import Figure, figures
from docflow.engines.embedded.vocabulary import Leaf
from docflow.fields.kinds import Kind
from docflow.fields.text import plain

Row = dict[str, LeafReading]
"""A reading for each leaf of an item, by its name."""
NUMERIC = frozenset({Kind.MONEY, Kind.QUANTITY})


def leaf_reading(leaf: Leaf, words: Sequence[Word], page: int, confidence: float) -> LeafReading:
    """What these words, the content of one cell of a table, say for this leaf."""
    text = " ".join(word.text for word in words)
    if not any(ch.isalnum() for ch in text):
        return ABSENT
    if leaf.kind in NUMERIC:
        figure = pick_figure(plain(text), leaf.kind)
        if figure is None:
            return ABSENT
        taken = words_within(words, figure.start, figure.end, tight=True)
        return LeafReading(figure.text.strip(), pieces_of(taken, page), confidence)
    kept = list(words)
    while not any(ch.isalnum() or ch in ")]" for ch in kept[-1].text):
        kept.pop()  # a mark between this column and the next
    return LeafReading(" ".join(word.text for word in kept), pieces_of(kept, page), confidence)


def pick_figure(text: str, kind: Kind) -> Figure | None:
    """The number of a cell that holds one, the likeliest for the kind where it holds several."""
    found = figures(text)
    if not found:
        return None
    if kind == Kind.MONEY:
        return next((f for f in reversed(found) if f.is_amount), None) or next(
            (f for f in reversed(found) if not f.percent), None
        )
    return found[0]


def words_within(words: Sequence[Word], start: int, end: int, *, tight: bool = False) -> list[Word]:
    """The words that some characters of their text belong to: of the ``spaced`` text, or with single spaces (tight)."""
    return [word for word, (a, b) in zip(words, word_spans(words, tight=tight), strict=True) if a < end and b > start]


def word_spans(words: Sequence[Word], *, tight: bool = False) -> list[tuple[int, int]]:
    """Where each word stands in the text that ``spaced`` makes of them, or in one with single spaces (tight)."""
    spans: list[tuple[int, int]] = []
    at = 0
    for index, word in enumerate(words):
        if index:
            at += 1 if tight else len(_space(words[index - 1], word))
        spans.append((at, at + len(word.text)))
        at += len(word.text)
    return spans


def spaced(words: Sequence[Word]) -> str:
    """Words as one text, with two spaces where a gap is too wide to stand inside a number ("12 500,00")."""
    text = ""
    for index, word in enumerate(words):
        text += (_space(words[index - 1], word) if index else "") + word.text
    return text


def _space(left: Word, right: Word) -> str:
    gap = right.level_box.x0 - left.level_box.x1
    return "  " if gap < 0 or gap > 0.5 * min(left.level_box.height, right.level_box.height) else " "


def pieces_of(words: Iterable[Word], page: int) -> tuple[Piece, ...]:
    """A piece for each line that the words stand on."""
    runs: list[list[Word]] = []
    for word in words:
        last = runs[-1][-1].level_box if runs else None
        here = word.level_box
        if last and abs(here.center[1] - last.center[1]) < 0.6 * max(last.height, here.height) and here.x0 > last.x0:
            runs[-1].append(word)
        else:
            runs.append([word])
    return tuple(Piece(page, Box.around(word.box for word in run)) for run in runs)
