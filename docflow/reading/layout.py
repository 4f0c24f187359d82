"""Words -> lines, cells and blocks: how a page is put together, whoever read its words. Boxes are on the levelled page.

A line is what stands at one height, from left to right; a wide gap inside a line splits it into cells (a label and
its amount, the columns of a table, two blocks side by side). A block is a pile of cells that stand close under each
other: an address, a paragraph, a column of a table.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from docflow.documents.model import Box, Page, Word


@dataclass(slots=True, eq=False)
class Cell:
    """Words that stand on one line without a wide gap between them. ``box`` is on the levelled page."""

    words: tuple[Word, ...]
    box: Box
    text: str
    page: int
    line: Line = field(repr=False, init=False)
    block: Block = field(repr=False, init=False)
    index: int = 0
    """Position in its line, from the left."""

    @property
    def height(self) -> float:
        return self.box.y1 - self.box.y0

    @property
    def place(self) -> Box:
        """Where the cell stands on the page as it is, not levelled: the box to give as evidence."""
        return Box.around(word.box for word in self.words)

    @property
    def right(self) -> Cell | None:
        """The next cell on the same line."""
        cells = self.line.cells
        return cells[self.index + 1] if self.index + 1 < len(cells) else None

    @property
    def left(self) -> Cell | None:
        """The cell before on the same line."""
        return self.line.cells[self.index - 1] if self.index else None


@dataclass(slots=True, eq=False)
class Line:
    """What stands at one height of a page, from left to right."""

    cells: tuple[Cell, ...]
    box: Box
    text: str
    page: int
    index: int = 0
    """Position on its page, from the top."""

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for cell in self.cells for word in cell.words)

    @property
    def height(self) -> float:
        """Typical height of its words."""
        return statistics.median(cell.height for cell in self.cells)


@dataclass(slots=True, eq=False)
class Block:
    """Cells that stand close under each other, from the top."""

    cells: tuple[Cell, ...]
    box: Box
    page: int

    @property
    def text(self) -> str:
        return "\n".join(cell.text for cell in self.cells)


@dataclass(slots=True, eq=False)
class Layout:
    """One page as lines, cells and blocks. ``height`` is the median height of its words, 0 for an empty page."""

    page: Page
    lines: tuple[Line, ...]
    blocks: tuple[Block, ...]
    height: float

    @property
    def cells(self) -> Iterator[Cell]:
        """Every cell, line by line."""
        return (cell for line in self.lines for cell in line.cells)

    @property
    def text(self) -> str:
        """The page's text, one line of text a line, cells apart by two spaces."""
        return "\n".join(line.text for line in self.lines)

    def reading_order(self) -> str:
        """The page's text with columns kept together: block after block, an empty line between two blocks."""
        return "\n\n".join(block.text for block in self.blocks)

    def below(self, cell: Cell, *, reach: float = 3.0) -> Cell | None:
        """The nearest cell under this one that shares some of its width, at most ``reach`` line heights away."""
        limit = cell.box.y1 + reach * max(cell.height, self.height)
        for line in self.lines[cell.line.index + 1 :]:
            if line.box.y0 > limit:
                return None
            best: Cell | None = None
            shared = 0.0
            for other in line.cells:
                common = min(cell.box.x1, other.box.x1) - max(cell.box.x0, other.box.x0)
                if common > shared and other.box.y0 <= limit:
                    best, shared = other, common
            if best is not None:
                return best
        return None


def arrange(page: Page, words: Sequence[Word]) -> Layout:
    """Group these words of a page; words without text or with an empty box are left out."""
    kept = [word for word in words if word.text.strip()]
    if not kept:
        return Layout(page, (), (), 0.0)
    height = statistics.median(word.level_box.height for word in kept) or 1.0
    segments = _segments(kept, height)
    # The words of a text layer stand level; those of a photo may not, even where the page was turned.
    slope = 0.0 if page.text_layer else _slope(segments, height)
    rows = _rows(segments, slope, height)
    lines = [_line(row, page.number, height, page.text_layer) for row in rows]
    for index, line in enumerate(lines):
        line.index = index
    blocks = _blocks(lines, height)
    return Layout(page, tuple(lines), tuple(blocks), height)


def printed_lines(words: Iterable[Word]) -> list[list[Word]]:
    """Words in their reader's order, those that follow each other on one line together."""
    lines: list[list[Word]] = []
    for word in words:
        if lines and on_one_line(lines[-1][-1], word):
            lines[-1].append(word)
        else:
            lines.append([word])
    return lines


def on_one_line(left: Word, right: Word) -> bool:
    """Whether a word goes on on the line of the one before it."""
    if left.segment == right.segment:
        return True
    overlap = min(left.box.y1, right.box.y1) - max(left.box.y0, right.box.y0)
    return overlap > 0.5 * min(left.box.height, right.box.height) and right.box.x0 >= left.box.x0


# --- rows -----------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Segment:
    """Words that the reader found as one stretch, without a wide gap inside."""

    words: list[Word]
    box: Box
    height: float
    level: float = 0.0
    """Height of the middle on the page once the skew is taken out."""


def _segments(words: Iterable[Word], height: float) -> list[_Segment]:
    """The reader's stretches of text, cut where a gap is wide or the words do not stand at one height."""
    grouped: dict[int, list[Word]] = {}
    for word in words:
        grouped.setdefault(word.segment, []).append(word)
    found: list[_Segment] = []
    for group in grouped.values():
        if len(group) > 1:
            group.sort(key=lambda word: word.level_box.x0)
        run: list[Word] = []
        for word in group:
            if run:
                last, box = run[-1].level_box, word.level_box
                low, high = sorted((last.y1 - last.y0, box.y1 - box.y0))
                # Hyphens and dots have hardly any height of their own.
                apart = box.x0 - last.x1 > 2.0 * max(high, height)
                if apart or abs(box.y0 + box.y1 - last.y0 - last.y1) > 1.4 * max(low, 0.6 * height):
                    found.append(_segment(run))
                    run = []
            run.append(word)
        found.append(_segment(run))
    return found


def _segment(words: list[Word]) -> _Segment:
    if len(words) == 1:
        box = words[0].level_box
        return _Segment(words, box, box.y1 - box.y0)
    boxes = [word.level_box for word in words]
    heights = sorted(box.y1 - box.y0 for box in boxes)
    return _Segment(words, Box.around(boxes), heights[len(heights) // 2])


_SLOPES = (0.0, 0.008, -0.008, 0.016, -0.016, 0.025, -0.025, 0.035, -0.035, 0.05, -0.05)


def _slope(segments: Sequence[_Segment], height: float) -> float:
    """How much the page's rows fall from left to right: the slope at which segments side by side stand most level."""
    middles = [((s.box.x0 + s.box.x1) / 2, (s.box.y0 + s.box.y1) / 2, s.box) for s in segments]
    best, best_score = 0.0, 0.0
    for slope in _SLOPES:
        levels = sorted((y - slope * x, x, box) for x, y, box in middles)
        score = -4.0 * abs(slope) * len(middles)  # evenly spaced rows meet again at steeper slopes
        for (level, _, box), (next_level, _, next_box) in pairwise(levels):
            if box.x0 < next_box.x1 and next_box.x0 < box.x1:
                continue  # one under the other, not side by side
            distance = (next_level - level) / height
            if distance < 0.75:
                score += 1.0 - 2.5 * distance
        if slope == 0.0:
            best_score = score + 0.5
            if score > 0.8 * sum(1 for _ in middles) / 2:
                break
        elif score > best_score:
            best, best_score = slope, score
    return best


_FULL_ROW = 250
"""Stretches of text on one line; no honest page has more, and a hostile one must not cost their square."""


def _rows(segments: list[_Segment], slope: float, height: float) -> list[list[_Segment]]:
    """Segments at one height, top to bottom, each from left to right."""
    for segment in segments:
        x, y = segment.box.center
        segment.level = y - slope * x
    segments.sort(key=lambda segment: (segment.level, segment.box.x0))
    rows: list[list[_Segment]] = []
    for segment in segments:
        best: list[_Segment] | None = None
        best_distance = 0.0
        reach = 0.5 * max(segment.height, 0.7 * height)
        for row in reversed(rows[-8:]):
            if segment.level - row[-1].level > reach:  # segments come by level: all of the row is further up
                continue
            if len(row) >= _FULL_ROW:
                continue
            # A small mark (an asterisk, a hyphen) does not stand where its row stands.
            full = [other for other in row if other.height > 0.6 * height] or row
            near = min(full, key=lambda other: _gap(other.box, segment.box))
            distance = abs(segment.level - near.level)
            # A tall neighbour (a logo, a stamp) must not swallow two rows: the smaller of the two heights decides.
            if distance > 0.5 * min(max(near.height, 0.7 * height), max(segment.height, 0.7 * height)):
                continue
            if any(_shared(other.box, segment.box) > 0.3 * min(other.box.width, segment.box.width) for other in row):
                continue
            if best is None or distance < best_distance:
                best, best_distance = row, distance
        if best is None:
            rows.append([segment])
        else:
            best.append(segment)
    for row in rows:
        row.sort(key=lambda segment: segment.box.x0)
    rows.sort(key=lambda row: statistics.fmean(segment.level for segment in row))
    return rows


def _shared(a: Box, b: Box) -> float:
    return min(a.x1, b.x1) - max(a.x0, b.x0)


def _gap(a: Box, b: Box) -> float:
    return max(a.x0 - b.x1, b.x0 - a.x1)


# --- lines and cells --------------------------------------------------------------------------------------------


def _line(row: Sequence[_Segment], page: int, height: float, text_layer: bool) -> Line:
    cells: list[Cell] = []
    words: list[Word] = []
    end = 0.0
    for segment in row:
        for place, word in enumerate(segment.words):
            box = word.level_box
            # Between two stretches OCR itself saw a gap, so less is enough to part them. The boxes of a text layer are
            # as low as their letters, and fonts of one width leave wide gaps between words.
            wide = (0.75 if place == 0 and not text_layer else 1.2) * max(box.y1 - box.y0, 0.6 * height)
            if text_layer:
                wide = max(wide, 2.2 * (box.x1 - box.x0) / len(word.text))
            if words and box.x0 - end > wide:
                cells.append(_cell(words, page))
                words = []
            end = max(end, box.x1) if words else box.x1
            words.append(word)
    cells.append(_cell(words, page))
    line = Line(tuple(cells), Box.around(cell.box for cell in cells), "  ".join(cell.text for cell in cells), page)
    for index, cell in enumerate(cells):
        cell.line, cell.index = line, index
    return line


def _cell(words: list[Word], page: int) -> Cell:
    box = words[0].level_box if len(words) == 1 else Box.around([word.level_box for word in words])
    return Cell(tuple(words), box, " ".join(word.text for word in words), page)


# --- blocks -----------------------------------------------------------------------------------------------------


def _blocks(lines: Sequence[Line], height: float) -> list[Block]:
    """Pile up cells: each goes onto the open pile whose last cell stands right above it and lines up with it."""
    open_piles: list[list[Cell]] = []
    piles: list[list[Cell]] = []
    for line in lines:
        open_piles = [pile for pile in open_piles if line.box.y0 - pile[-1].box.y1 < 1.2 * height]
        for cell in line.cells:
            fitting = [pile for pile in open_piles if pile[-1].line is not line and _stands_under(cell, pile[-1])]
            if fitting:
                min(fitting, key=lambda pile: abs(pile[-1].box.x0 - cell.box.x0)).append(cell)
            else:
                pile = [cell]
                open_piles.append(pile)
                piles.append(pile)
    blocks = []
    for pile in piles:
        block = Block(tuple(pile), Box.around(cell.box for cell in pile), pile[0].page)
        for cell in pile:
            cell.block = block
        blocks.append(block)
    return blocks


def _stands_under(cell: Cell, above: Cell) -> bool:
    small, large = sorted((cell.height, above.height))
    if small < 0.55 * large or cell.box.y0 - above.box.y1 > 0.9 * large:
        return False
    left = abs(cell.box.x0 - above.box.x0) < 1.0 * large
    middle = abs(cell.box.center[0] - above.box.center[0]) < 1.5 * large
    right = abs(cell.box.x1 - above.box.x1) < 1.0 * large
    return (left or middle or right) and _shared(cell.box, above.box) > 0
