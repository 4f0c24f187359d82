"""What the embedded engine knows of the pages it was asked about: their layout and language, worked out once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from docflow.documents.model import Box, Page, Word
from docflow.engines.base import Piece, Reason
from docflow.engines.embedded.lexicon import Token, lexicon, tokens
from docflow.fields.amounts import FoundAmount, find_amounts
from docflow.fields.dates import FoundDate, find_dates
from docflow.fields.detection import detect
from docflow.fields.locale import Locale
from docflow.fields.text import fold
from docflow.reading.layout import Cell, Layout, Line, arrange
from docflow.reading.orders import without_orders

if TYPE_CHECKING:
    from docflow.engines.embedded.boundaries import Signs
    from docflow.engines.embedded.labels import Label


@dataclass(frozen=True, slots=True)
class LeafReading:
    """What was read for one leaf: the text as printed (None when abstaining), where, how sure, and why it is None.

    ``raw`` is the text as its reader gave it, where characters were mended in ``printed``.
    """

    printed: str | None
    pieces: tuple[Piece, ...] = ()
    confidence: float = 0.0
    reason: Reason | None = None
    raw: str | None = None

    @classmethod
    def of_words(cls, printed: str, page: int, words: Iterable[Word], confidence: float) -> LeafReading:
        """A value that stands on one line of a page: one piece around its words."""
        return cls(printed, (Piece(page, Box.around(word.box for word in words)),), confidence)

    @classmethod
    def of_cells(cls, printed: str, cells: Iterable[Cell], confidence: float) -> LeafReading:
        """A value that takes whole cells: a piece each, in reading order."""
        return cls(printed, tuple(Piece(cell.page, cell.place) for cell in cells), confidence)


ABSENT = LeafReading(None, reason="absent")
CONFLICT = LeafReading(None, reason="conflict")
UNREADABLE = LeafReading(None, reason="unreadable")


class PrintedLine:
    """A line as one text, with the way back from a span of the text to the words and cells that carry it."""

    __slots__ = ("_starts", "_words", "cells", "folded", "line", "number", "spans", "text", "tokens")

    def __init__(self, line: Line, number: int) -> None:
        self.line = line
        self.number = number
        """Position among the lines of all pages."""
        self.cells = line.cells
        self.text = line.text
        self.folded = fold(line.text)
        self.tokens: list[Token] = tokens(line.text)
        self.spans: list[tuple[int, int]] = []
        """The span of each cell."""
        self._starts: list[int] = []
        self._words: list[Word] = []
        at = 0
        for cell in line.cells:
            begin = at
            for word in cell.words:
                self._starts.append(at)
                self._words.append(word)
                at += len(word.text) + 1
            self.spans.append((begin, at - 1))
            at += 1

    def cell_at(self, at: int) -> int:
        """The number of the cell that holds the character ``at``."""
        for number, (_, end) in enumerate(self.spans):
            if at < end:
                return number
        return len(self.spans) - 1

    def stretches(self) -> list[tuple[int, int]]:
        """The spans of cells, those with a narrow gap between them taken together."""
        joined: list[tuple[int, int]] = []
        for number, (start, end) in enumerate(self.spans):
            cell = self.cells[number]
            if joined and cell.box.x0 - self.cells[number - 1].box.x1 < 2.0 * cell.height:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
        return joined

    def words(self, start: int, end: int) -> list[Word]:
        """The words that a span touches."""
        first = max(0, bisect_right(self._starts, start) - 1)
        return [
            word
            for at, word in zip(self._starts[first:], self._words[first:], strict=True)
            if at < end and at + len(word.text) > start
        ]

    def box(self, start: int, end: int) -> Box:
        """Where a span stands on the page as it is; a word that it takes a part of counts in proportion."""
        boxes = []
        first = max(0, bisect_right(self._starts, start) - 1)
        for at, word in zip(self._starts[first:], self._words[first:], strict=True):
            if at >= end:
                break
            left, right = max(start, at) - at, min(end, at + len(word.text)) - at
            if right <= left:
                continue
            box = word.box
            length = len(word.text)
            if (left > 0 or right < length) and box.width >= box.height:
                # Glued to its label ("Date:12/05/18"): letters are about equally wide.
                box = Box(box.x0 + box.width * left / length, box.y0, box.x0 + box.width * right / length, box.y1)
            boxes.append(box)
        return Box.around(boxes) if boxes else self.line.cells[0].place

    def level(self, start: int, end: int) -> Box:
        """Where the words of a span stand on the levelled page."""
        return Box.around(word.level_box for word in self.words(start, end) or self.line.words)

    def piece(self, start: int, end: int) -> Piece:
        """The place of a span."""
        return Piece(self.line.page, self.box(start, end))


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a printed line."""

    line: PrintedLine
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.line.text[self.start : self.end]

    @property
    def piece(self) -> Piece:
        return self.line.piece(self.start, self.end)

    @property
    def box(self) -> Box:
        """On the levelled page."""
        return self.line.level(self.start, self.end)

    def overlaps(self, other: Span) -> bool:
        return self.line is other.line and self.start < other.end and other.start < self.end


def _amounts(line: PrintedLine, locale: Locale) -> list[FoundAmount]:
    """The numbers of a line; none goes over a wide gap, where another column begins."""
    if not any(char.isdigit() for char in line.text):
        return []
    found: list[FoundAmount] = []
    for start, end in line.stretches():
        for one in find_amounts(line.text[start:end], locale):
            first, last = one.number
            found.append(
                one
                if start == 0
                else replace(one, start=one.start + start, end=one.end + start, number=(first + start, last + start))
            )
    return found


class Context:
    """The pages of a request. Reading, layout and language are worked out when first asked for and kept."""

    def __init__(self, pages: tuple[Page, ...]) -> None:
        self.pages = pages

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """One layout a page, without the lines that give orders to machines.

        Raises ReadingError or DocumentError when a page cannot be read.
        """
        return tuple(arrange(page, without_orders(page.words)[0]) for page in self.pages)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The lines of all pages, in order."""
        return tuple(line for layout in self.layouts for line in layout.lines)

    @cached_property
    def printed(self) -> tuple[PrintedLine, ...]:
        """The lines of all pages as texts, in order."""
        return tuple(PrintedLine(line, number) for number, line in enumerate(self.lines))

    @property
    def cells(self) -> Iterator[Cell]:
        """The cells of all pages, line by line."""
        return (cell for line in self.lines for cell in line.cells)

    @cached_property
    def text(self) -> str:
        """All text, a printed line a line, cells apart by two spaces."""
        return "\n".join(layout.text for layout in self.layouts)

    def reading_order(self) -> str:
        """All text, columns kept together, pages apart by a form feed."""
        return "\f".join(layout.reading_order() for layout in self.layouts)

    @cached_property
    def locale(self) -> Locale:
        """The country and language that the pages point to."""
        return detect(line.text for line in self.lines)

    @cached_property
    def amounts(self) -> dict[int, list[FoundAmount]]:
        """The numbers of each line, by the line's number; lines without any are left out."""
        return {line.number: found for line in self.printed if (found := _amounts(line, self.locale))}

    @cached_property
    def dates(self) -> dict[int, list[FoundDate]]:
        """The dates of each line, by the line's number; lines without any are left out."""
        return {line.number: found for line in self.printed if (found := find_dates(line.text, self.locale))}

    @cached_property
    def labels(self) -> dict[int, list[Label]]:
        """The labels of each line that the lexicon knows, by the line's number."""
        from docflow.engines.embedded.labels import find_labels

        return find_labels(self, lexicon().phrases)

    @cached_property
    def signs(self) -> Signs:
        """What the last page shows that tells a first page from one that goes on."""
        from docflow.engines.embedded.boundaries import signs_of

        return signs_of(self)

    def layout(self, page: int) -> Layout:
        """The layout of the page with this number."""
        return next(layout for layout in self.layouts if layout.page.number == page)

    def below(self, cell: Cell, *, reach: float = 3.0) -> Cell | None:
        """The nearest cell under this one, at most ``reach`` line heights away."""
        return self.layout(cell.page).below(cell, reach=reach)

    @cached_property
    def _first_lines(self) -> dict[int, int]:
        first: dict[int, int] = {}
        for number, line in enumerate(self.lines):
            first.setdefault(line.page, number)
        return first

    def span_of(self, cell: Cell) -> Span:
        """A cell as a stretch of its printed line."""
        line = self.printed[self._first_lines[cell.page] + cell.line.index]
        start, end = line.spans[cell.index]
        return Span(line, start, end)
