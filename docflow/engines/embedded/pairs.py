"""Labels and their values, wherever a page pairs them.

"Label: value", two aligned columns, a small label over its value, boxes to tick.

What is read here knows no vocabulary: a label is what stands where labels stand. Section titles, paragraphs and the
rows of tables are no pairs.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from docflow.documents.model import Word
from docflow.engines.embedded.boxes import choices_in
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.labelling import (
    is_filling,
    label_like,
    label_text,
    numbering,
    split_at_colons,
    value_text,
)
from docflow.reading.layout import Cell, Layout
from docflow.reading.sizes import is_tight, size_of


@dataclass(frozen=True, slots=True)
class Pair:
    """A label and what is filled in for it (``value`` None: left blank), with their words."""

    label: str
    value: str | None
    label_words: tuple[Word, ...]
    value_words: tuple[Word, ...]
    page: int
    confidence: float


def pairs(context: Context) -> list[Pair]:
    """The label/value pairs of all pages, from the top. Raises ReadingError or DocumentError."""
    return [pair for layout in context.layouts for pair in page_pairs(layout)]


def page_pairs(layout: Layout) -> list[Pair]:
    """The label/value pairs of one page, from the top."""
    reader = _PageReader(layout)
    reader.ticked()
    reader.with_colon()
    reader.numbered()
    reader.above()
    reader.blanks()
    reader.side_by_side()
    return sorted(reader.found, key=lambda pair: _place(pair, layout.height))


def _place(pair: Pair, height: float) -> tuple[float, float]:
    box = pair.label_words[0].level_box
    return round(box.center[1] / max(height, 1e-6)), box.x0


@dataclass(slots=True)
class _Part:
    """A piece of a cell: words up to and after a colon."""

    words: list[Word]
    colon: bool


class _PageReader:
    """Finds pairs on one page, method by method; what one method took, the next leaves alone."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.found: list[Pair] = []
        self.taken: set[int] = set()
        self.cells = [cell for cell in layout.cells if not is_filling(cell.text)]
        self.small: list[float] = []
        """Heights of labels that stand over larger values."""

        self.tight = is_tight(layout)

    def size(self, cell: Cell) -> float:
        """The size of type of a cell."""
        return size_of(cell.words, tight=self.tight)

    def free(self, cell: Cell | None) -> bool:
        return cell is not None and id(cell) not in self.taken

    def take(self, cells: Iterable[Cell]) -> None:
        self.taken.update(id(cell) for cell in cells)

    def add(self, label: Sequence[Word], value: Sequence[Word], confidence: float) -> None:
        text = label_text(label)
        if not text:
            return
        filled = value_text(value)
        self.found.append(
            Pair(
                text, filled or None, tuple(label), tuple(value) if filled else (), self.layout.page.number, confidence
            )
        )

    # --- boxes to tick ------------------------------------------------------------------------------------------

    def ticked(self) -> None:
        """Groups of boxes to tick: the ticked ones are the value of the label in front of them or above."""
        for line in self.layout.lines:
            options = choices_in(line.words)
            if not options:
                continue
            lead = list(line.words[: line.words.index(options[0].first)])
            label: Sequence[Word] = lead
            if not lead and line.index:
                above = self.layout.lines[line.index - 1]
                near = line.box.y0 - above.box.y1 < 1.2 * line.height
                if near and len(above.cells) == 1 and above.text.rstrip().endswith((":", "?", ":")):
                    label = above.words
                    self.take(above.cells)
            self.take(line.cells)
            if label and label_text(label):
                chosen = [option for option in options if option.ticked]
                words = [word for option in chosen for word in option.words]
                self.add(label, words, 0.8)
            else:
                for option in options:
                    self.add(option.words, [option.first] if option.ticked else [], 0.7)

    # --- label: value -------------------------------------------------------------------------------------------

    def with_colon(self) -> None:
        """Labels that end in a colon (or dotted leaders), with the value behind, in the next cell, or below."""
        for cell in self.cells:
            if not self.free(cell):
                continue
            parts = split_at_colons(cell.words)
            if not parts:
                continue
            self.take([cell])
            for index, (label, value) in enumerate(parts):
                rest = list(value)
                last = index == len(parts) - 1
                if last and not rest:
                    rest = self._value_beside(cell)
                if last and rest:
                    rest = self._with_lines_below(rest)
                elif last:
                    rest = self._value_below(cell)
                self.add(label, rest, 0.85 if rest else 0.6)

    def _value_beside(self, cell: Cell) -> list[Word]:
        """The cell to the right of a label, unless it is a label itself or belongs to one further right."""
        right = cell.right
        if right is None or not self.free(right) or split_at_colons(right.words) or is_filling(right.text):
            return []
        if right.box.x0 - cell.box.x1 > 0.5 * self.layout.page.width:
            return [] if not any(ch.isdigit() for ch in right.text) else self._take_words(right)
        return self._take_words(right)

    def _take_words(self, cell: Cell) -> list[Word]:
        self.take([cell])
        return list(cell.words)

    def _value_below(self, cell: Cell) -> list[Word]:
        """What stands right under a label with a colon and nothing behind it, and lines up with it."""
        below = self.layout.below(cell, reach=1.0)
        if below is None or not self.free(below) or split_at_colons(below.words):
            return []
        if abs(_left(below.words[0]) - _left(cell.words[0])) > 1.5 * cell.height or len(below.text) > 60:
            return []
        if below.right is not None and len(below.line.cells) > max(2, len(cell.line.cells)):
            return []
        self.take([below])
        return self._with_lines_below(list(below.words))

    def _with_lines_below(self, value: list[Word]) -> list[Word]:
        """A value goes on in the lines right under it that begin where it begins."""
        words = list(value)
        start, height = _left(value[0]), statistics.median(word.level_box.height for word in value)
        size = size_of(value, tight=self.tight)
        for _ in range(4):
            bottom = max(word.level_box.y1 for word in words[-3:])
            following = next(
                (
                    cell
                    for cell in self.cells
                    if self.free(cell)
                    and abs(_left(cell.words[0]) - start) < 0.5 * height
                    and -0.4 * height < cell.words[0].level_box.y0 - bottom < 0.55 * height
                    and not split_at_colons(cell.words)
                    and (cell.left is None or not self.free(cell.left))
                    and 0.8 < self.size(cell) / size < 1.25
                ),
                None,
            )
            if following is None:
                break
            self.take([following])
            words += following.words
        return words

    # --- numbered entries ---------------------------------------------------------------------------------------

    def numbered(self) -> None:
        """Entries with numbers in front ("2. Mailing address") and what was filled in beside or below them."""
        entries = [cell for cell in self.cells if cell.index == 0 and numbering(cell.text) is not None]
        numbers = [numbering(cell.text) for cell in entries]
        if len(entries) < 3 or numbers != sorted(set(numbers), key=lambda number: number or 0):
            return
        for cell in entries:
            if not self.free(cell) or not label_like(cell.text):
                continue
            self.take([cell])
            value = self._value_beside(cell)
            below = self.layout.below(cell, reach=1.2)
            if not value and below is not None and self.free(below) and numbering(below.text) is None:
                indented = -0.5 * cell.height < _left(below.words[0]) - _left(cell.words[0]) < 4 * cell.height
                value = self._take_words(below) if indented and len(below.line.cells) == 1 else []
            self.add(cell.words, self._with_lines_below(value) if value else [], 0.65)

    # --- two columns --------------------------------------------------------------------------------------------

    def side_by_side(self) -> None:
        """Labels that begin at one place and values that begin (or end) at another, on three lines or more."""
        candidates: list[tuple[Cell, Cell]] = []
        for line in self.layout.lines:
            cells = [cell for cell in line.cells if self.free(cell) and not is_filling(cell.text)]
            if len(cells) in (2, 4) and len(cells) == len([c for c in line.cells if not is_filling(c.text)]):
                candidates += [(cells[i], cells[i + 1]) for i in range(0, len(cells), 2)]
        used: set[int] = set()
        for label, value in candidates:
            if id(label) in used:
                continue
            group = [pair for pair in candidates if id(pair[0]) not in used and self._lined_up((label, value), pair)]
            named = [pair for pair in group if label_like(pair[0].text)]
            if len(group) < 3 or len(named) < 0.75 * len(group) or not self._is_form(group):
                continue
            for one, other in group:
                used.add(id(one))
                if not label_like(one.text):
                    continue
                self.take([one, other])
                self.add(one.words, self._with_lines_below(list(other.words)), 0.75)
            self._blank_rows(group)

    def _lined_up(self, one: tuple[Cell, Cell], other: tuple[Cell, Cell]) -> bool:
        reach = 0.8 * self.layout.height
        labels = abs(_left(one[0].words[0]) - _left(other[0].words[0])) < reach
        starts = abs(_left(one[1].words[0]) - _left(other[1].words[0])) < reach
        ends = abs(one[1].words[-1].level_box.x1 - other[1].words[-1].level_box.x1) < reach
        return labels and (starts or ends)

    def _is_form(self, group: Sequence[tuple[Cell, Cell]]) -> bool:
        """Whether two aligned columns are labels and values: the labels are words, and differ from each other."""
        texts = {label.text.casefold() for label, _ in group}
        return len(texts) > 0.8 * len(group)

    def _blank_rows(self, group: Sequence[tuple[Cell, Cell]]) -> None:
        """Lines among (or right around) those of two columns that hold a label and nothing else are blank entries."""
        left = statistics.median(_left(label.words[0]) for label, _ in group)
        rows = sorted(label.words[0].level_box.center[1] for label, _ in group)
        steps = [b - a for a, b in itertools.pairwise(rows)]
        step = statistics.median(steps) if steps else 2 * self.layout.height
        first, last = rows[0] - 1.3 * step, rows[-1] + 1.3 * step
        size = statistics.median(self.size(label) for label, _ in group)
        lone = [
            cell
            for cell in self.cells
            if self.free(cell)
            and abs(_left(cell.words[0]) - left) < 0.8 * self.layout.height
            and (cell.right is None or not self.free(cell.right) or is_filling(cell.right.text))
            and 0.75 < self.size(cell) / size < 1.3
            and label_like(cell.text)
        ]
        # Up from the group, then down from it: a blank entry may stand beside a blank entry.
        for cell in [*reversed(lone), *lone]:
            y = cell.words[0].level_box.center[1]
            if self.free(cell) and first < y < last:
                first, last = min(first, y - 1.3 * step), max(last, y + 1.3 * step)
                self.take([cell])
                self.add(cell.words, [], 0.6)

    # --- a label over its value ---------------------------------------------------------------------------------

    def above(self) -> None:
        """Small labels with a larger value right under them, in boxes."""
        candidates = self._stacked()
        grown = [(label, value) for label, value in candidates if self.size(value) > 1.12 * self.size(label)]
        couples: list[tuple[Cell, Cell]] = []
        taken: set[int] = set()

        def couple(label: Cell, value: Cell) -> None:
            if id(label) not in taken and id(value) not in taken:
                couples.append((label, value))
                taken.update((id(label), id(value)))

        usual = 1.8 * statistics.median(map(_distance, grown)) if grown else 0.0
        for label, value in sorted(grown, key=_distance):
            if _distance((label, value)) <= usual:  # the closest first: a value stands near its label
                couple(label, value)
        if len(couples) < max(3, 0.4 * len(candidates)) or not self._fills_page(couples):
            return
        size = statistics.median(self.size(label) for label, _ in couples)
        growth = statistics.median(self.size(value) / self.size(label) for label, value in couples)
        for label, value in sorted(candidates, key=_distance):
            # Heights read by OCR vary: where most are couples, the rest need less.
            small = self.size(label) < max(size * growth**0.6, 0.98 * self.size(value))
            if small and _distance((label, value)) <= usual:
                couple(label, value)
        for label, value in couples:
            alike = 0.75 < self.size(label) / size < 1.3 and 0.7 < self.size(value) / (size * growth) < 1.25
            if alike:
                self.take([label, value])
                self.small.append(self.size(label))
                self.add(label.words, list(value.words), 0.75)

    def _stacked(self) -> list[tuple[Cell, Cell]]:
        """Cells that can be labels, each with the cell right under it that begins where it begins."""
        found = []
        for cell in self.cells:
            if not self.free(cell) or not label_like(cell.text):
                continue
            below = self.layout.below(cell, reach=2.4)
            if below is None or not self.free(below) or is_filling(below.text):
                continue
            if -0.5 * cell.height < _left(below.words[0]) - _left(cell.words[0]) < 1.6 * cell.height:
                found.append((cell, below))
        return found

    def _fills_page(self, couples: Sequence[tuple[Cell, Cell]]) -> bool:
        """Whether lines are all labels or all values: sizes that differ by chance, in a list, do not sort so."""
        labels = {id(label) for label, _ in couples}
        lines = {id(label.line): label.line for label, _ in couples}
        beside = [cell for line in lines.values() for cell in line.cells if not is_filling(cell.text)]
        top = min(label.box.y0 for label, _ in couples)
        bottom = max(value.box.y1 for _, value in couples)
        among = [cell for cell in self.cells if cell.box.y0 >= top and cell.box.y1 <= bottom]
        sorted_lines = sum(id(cell) in labels for cell in beside) > 0.6 * len(beside)
        return sorted_lines and 2 * len(couples) > 0.5 * len(among)

    def blanks(self) -> None:
        """Small labels without a value, in line with others that have one."""
        if len(self.small) < 3:
            return
        size = statistics.median(self.small)
        labels = [pair.label_words for pair in self.found]
        lefts = [_left(words[0]) for words in labels]
        tops = [words[0].level_box.center[1] for words in labels]
        step = _step(tops)
        for cell in self.cells:
            if not self.free(cell) or not label_like(cell.text) or not 0.75 < self.size(cell) / size < 1.25:
                continue
            y = cell.words[0].level_box.center[1]
            beside = any(abs(y - top) < 0.7 * size for top in tops)
            under = any(abs(_left(cell.words[0]) - left) < 0.8 * size for left in lefts)
            if under and (beside or any(0 < abs(y - top) < 1.25 * step for top in tops)):
                self.take([cell])
                self.add(cell.words, [], 0.55)


def _distance(couple: tuple[Cell, Cell]) -> float:
    """From the bottom of a label to the top of its value."""
    return couple[1].box.y0 - couple[0].box.y1


def _step(tops: Sequence[float]) -> float:
    rows = sorted({round(top, 1) for top in tops})
    gaps = [b - a for a, b in itertools.pairwise(rows) if b - a > 1]
    return statistics.median(gaps) if gaps else 0.0


def _left(word: Word) -> float:
    return word.level_box.x0
