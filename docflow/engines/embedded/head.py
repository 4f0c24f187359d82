"""Where a document says who it is from and who it is for: the cells at its head and foot, and what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from docflow.engines.base import Piece
from docflow.engines.embedded.context import Context, PrintedLine
from docflow.engines.embedded.labels import Label
from docflow.engines.embedded.lines import HeadLine, LineReader
from docflow.fields.text import fold
from docflow.reading.layout import Block, Cell

_HEAD_LINES = 14
"""How far down a letterhead may reach, in lines."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value made of one or several lines, with its places and how plausible it is."""

    text: str
    pieces: tuple[Piece, ...]
    score: float
    lines: tuple[int, ...] = ()


class Head:
    """The letterhead of the first page, and its foot."""

    def __init__(self, context: Context, labels: Mapping[int, list[Label]]) -> None:
        self.context = context
        self.labels = labels
        self.reader = LineReader(context, dict(labels))

    @cached_property
    def cells(self) -> list[HeadLine]:
        """The cells of the head, in reading order, up to where the body of the document begins."""
        if not self.context.layouts:
            return []
        page = self.context.layouts[0].page.number
        found: list[HeadLine] = []
        for line in self.context.printed[: _HEAD_LINES + 8]:
            if line.line.page != page:
                break
            if len(line.cells) > 3 and found:
                break  # the head of a table
            found += self._of_line(line)
        return _by_block(found)

    @cached_property
    def feet(self) -> list[HeadLine]:
        """The cells at the foot of the first page, where businesses print who they are by law."""
        if not self.context.layouts:
            return []
        layout = self.context.layouts[0]
        seen = {cell.line.number for cell in self.cells}
        low = [
            line
            for line in self.context.printed[: len(layout.lines)]
            if line.number not in seen and line.line.box.y0 > 0.8 * max(layout.page.height, layout.lines[-1].box.y1)
        ]
        return [cell for line in low for cell in self._of_line(line)]

    def _of_line(self, line: PrintedLine) -> list[HeadLine]:
        """A line's cells; cells close to each other count as one (a name set wide, a pair of words)."""
        groups: list[tuple[int, int]] = []
        for number, (start, end) in enumerate(line.spans):
            gap = line.cells[number].box.x0 - line.cells[number - 1].box.x1 if number else 0.0
            if groups and gap < 1.6 * line.cells[number].height:
                groups[-1] = (groups[-1][0], end)
            else:
                groups.append((start, end))
        return [self.reader.span(line, *part) for group in groups for part in self._sender(line, *group)]

    def _sender(self, line: PrintedLine, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a sender's line ("Name - Street 5 - 12345 Town", over an address window); else the whole."""
        marks = list(_APART.finditer(line.text, start, end))
        if not marks or not self.reader.span(line, marks[-1].end(), end).postcode:
            return [(start, end)]
        return [(start, marks[0].start()), (marks[0].end(), end)]

    @cached_property
    def body_start(self) -> int:
        """The number of the first cell behind the letterhead: a title, a labelled line after some lines."""
        for place, cell in enumerate(self.cells):
            if place >= 2 and (cell.title or (cell.labelled and not cell.registration)):
                return place
        return len(self.cells)

    def is_repeated(self, cell: HeadLine) -> bool:
        """Whether the cell's text stands again where a sender's name does: at the foot, or over an address window.

        For a cell at the foot any other place counts.
        """
        name = fold(cell.text).strip(" .,:;-")
        if len(name) < 4:
            return False
        if any(foot.line is cell.line for foot in self.feet):
            return fold(self.context.text).count(name) > 1
        return any(name in line for line in self._sender_texts if line != fold(cell.text))

    @cached_property
    def _sender_texts(self) -> list[str]:
        """The lines, folded, that repeat a sender's name: those of the foot, and lines with a whole address."""
        lines = [fold(foot.text) for foot in self.feet if not foot.labelled]
        return [*lines, *(fold(cell.text) for cell in self.senders_lines)]

    @cached_property
    def senders_lines(self) -> list[HeadLine]:
        """Lines that hold a name and a whole address, as over an address window."""
        return [cell for cell in self.cells if cell.postcode and len(cell.text) > 30 and cell.text.count(",") >= 2]

    def is_announced(self, cell: HeadLine, *concepts: str) -> bool:
        """Whether a label over the cell, or before it on its line, says that this is one of these parties."""
        block = block_of(cell)
        for number in range(max(0, cell.line.number - 6), cell.line.number + 1):
            for label in self.labels.get(number, ()):
                other = max(label.names.get(concept, 0.0) for concept in concepts) >= 0.85
                if not (other and label.leads and (label.marked or number == cell.line.number)):
                    continue
                if number == cell.line.number:
                    return label.span.start <= cell.end
                if number >= cell.line.number - 2 or _block_at(label.line, label.span.start) is block:
                    return label.span.box.x0 <= block.box.x1 and block.box.x0 <= label.span.box.x1
        return False

    def is_bare_address(self, cell: HeadLine) -> bool:
        """Whether the cell's block is a name and an address and no more, while the page's foot says who sends it."""
        says_who = bool(self.senders_lines) or any(foot.suffix or _is_legal(foot) for foot in self.feet)
        return says_who and self.in_bare_block(cell)

    def in_bare_block(self, cell: HeadLine) -> bool:
        """Whether the cell's block is a name and an address without telephone, tax number or label."""
        block = block_of(cell)
        if not 2 <= len(block.cells) <= 7:
            return False
        kept = [one for one in block.cells if not self.is_senders_line(one)]
        parts = [self.reader.cell(self.context.span_of(one).line, one.index) for one in kept]
        if any(part.contact or part.registration or part.title or part.labelled for part in parts):
            return False
        return any(part.address >= 0.7 for part in parts)

    def is_senders_line(self, cell: Cell) -> bool:
        """Whether a cell holds a name and a whole address, as the line over an address window does."""
        line = self.reader.cell(self.context.span_of(cell).line, cell.index)
        return line.postcode and len(line.text) > 30 and line.text.count(",") + len(_APART.findall(line.text)) >= 2


_APART = re.compile(r"\s+[-–·•|]\s+|\s*[·•|]\s*")


def block_of(cell: HeadLine) -> Block:
    """The block of the page that a cell of the head belongs to."""
    return _block_at(cell.line, cell.start)


def _block_at(line: PrintedLine, at: int) -> Block:
    return line.cells[line.cell_at(at)].block


def _is_legal(cell: HeadLine) -> bool:
    """Whether a line says who somebody is by law: a labelled tax or registration number."""
    letters = sum(char.isalpha() for char in cell.text)
    return cell.registration and letters >= 4 and len(cell.text) - letters >= 6


def _by_block(cells: list[HeadLine]) -> list[HeadLine]:
    """Cells with those of one block together, so that columns side by side do not mix."""
    order: dict[int, int] = {}
    keyed = []
    for cell in cells:
        block = id(block_of(cell))
        keyed.append((order.setdefault(block, len(order)), cell))
    return [cell for _, cell in sorted(keyed, key=lambda one: one[0])]
