"""What the embedded engine knows of the pages it was asked about: their layout and language, worked out once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from docflow.documents.model import Box, Page, Word
from docflow.engines.base import Piece, Reason
from docflow.reading.layout import Cell, Layout, Line, layout_of


@dataclass(frozen=True, slots=True)
class LeafReading:
    """What was read for one leaf: the text as printed (None when abstaining), where, how sure, and why it is None."""

    printed: str | None
    pieces: tuple[Piece, ...] = ()
    confidence: float = 0.0
    reason: Reason | None = None

    @classmethod
    def of_words(cls, printed: str, page: int, words: Iterable[Word], confidence: float) -> LeafReading:
        """A value that stands on one line of a page: one piece around its words."""
        return cls(printed, (Piece(page, Box.around(word.box for word in words)),), confidence)

    @classmethod
    def of_cells(cls, printed: str, cells: Iterable[Cell], confidence: float) -> LeafReading:
        """A value that takes whole cells: a piece each, in reading order."""
        return cls(printed, tuple(Piece(cell.page, cell.box) for cell in cells), confidence)


ABSENT = LeafReading(None, reason="absent")


class Context:
    """The pages of a request. Reading, layout and language are worked out when first asked for and kept."""

    def __init__(self, pages: tuple[Page, ...]) -> None:
        self.pages = pages

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """One layout a page. Raises ReadingError or DocumentError when a page cannot be read."""
        return tuple(layout_of(page) for page in self.pages)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The lines of all pages, in order."""
        return tuple(line for layout in self.layouts for line in layout.lines)

    @property
    def cells(self) -> Iterator[Cell]:
        """The cells of all pages, line by line."""
        return (cell for line in self.lines for cell in line.cells)

    @cached_property
    def text(self) -> str:
        """All text, a printed line a line, cells apart by two spaces."""
        return "\n".join(layout.text for layout in self.layouts)

    def layout(self, page: int) -> Layout:
        """The layout of the page with this number."""
        return next(layout for layout in self.layouts if layout.page.number == page)

    def below(self, cell: Cell, *, reach: float = 3.0) -> Cell | None:
        """The nearest cell under this one, at most ``reach`` line heights away."""
        return self.layout(cell.page).below(cell, reach=reach)
