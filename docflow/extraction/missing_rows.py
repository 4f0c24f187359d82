"""Rows of a list that stand on the pages and not in the record, whoever answered.

The rows that were answered are found again on the page, in order, by their figures and words; what they have in
common shows the columns that hold a row's figures. A line between them, or going on before the first or behind the
last, that has a figure in such a column and belongs to no row is suspected to be a row that is missing, unless the rows
that are there add up to a sum that the page prints.
"""

from __future__ import annotations

import itertools
import re
import statistics
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from docflow.documents.model import Box, Word
from docflow.engines.embedded.cells import spaced, words_within
from docflow.engines.embedded.figures import Figure, figures
from docflow.engines.embedded.headings import headings_of
from docflow.engines.embedded.rows import is_sum_line
from docflow.engines.embedded.vocabulary import opens_with, total_words
from docflow.extraction.grounding import squash
from docflow.extraction.leaves import Keys, path_of
from docflow.extraction.result import MissingRow
from docflow.fields import Kind
from docflow.fields.text import plain
from docflow.reading.layout import Line, arrange
from docflow.rules import TOLERANCE

if TYPE_CHECKING:
    from docflow.extraction.record import Reading, Record

_WORD = re.compile(r"[^\W\d_]{3,}|[\u3040-\u9fff\uac00-\ud7af]{2,}")
_WAYS = 4_096
"""Sums of suspects that are tried, at most."""
_LABELLED = re.compile(r"[^\W\d_]\s*:\s")


@dataclass(eq=False, slots=True)
class _Printed:
    """A line of a page with its figures, and where each stands on the levelled page."""

    line: Line
    order: int
    figures: list[tuple[Figure, float, float]]
    words: frozenset[str]

    @property
    def is_sum(self) -> bool:
        return is_sum_line(self.line)

    @property
    def is_carried(self) -> bool:
        return opens_with(self.line.text, total_words().carried)


@dataclass(eq=False, slots=True)
class _Answered:
    """A row of the record: its figures by leaf, the words of its texts, and the line it was found on."""

    number: int
    amounts: dict[str, Decimal] = field(default_factory=dict)
    counts: dict[str, Decimal] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    line: _Printed | None = None


def missing_rows(record: Record) -> tuple[MissingRow, ...] | None:
    """The lines that look like rows of a list of the record and are none of them, in reading order.

    None where the pages' words were not looked at, or the record has no list that can be checked.
    """
    lists = {name: rows for name, rows in _lists(record.readings.values()).items() if _anchors(rows)}
    texts = [text for grounder in record.grounders for text in grounder.texts]
    if not lists or not texts:
        return None
    lines = [line for text in texts for line in arrange(text.page, text.words).lines]
    printed = [_printed(line, order) for order, line in enumerate(lines)]
    covered = _covered(record, printed)
    return tuple(
        MissingRow(path_of(name), one.line.page, Box.around(word.box for word in one.line.words), one.line.text)
        for name, rows in lists.items()
        for one in _missing(record, rows, printed, covered)
    )


def _lists(readings: Iterable[Reading]) -> dict[Keys, list[_Answered]]:
    """The rows of each list of objects of the record, by the list's place."""
    found: dict[Keys, dict[int, _Answered]] = {}
    texts: dict[tuple[Keys, int], list[str]] = defaultdict(list)
    for reading in readings:
        keys = reading.leaf.keys
        at = next((at for at, key in enumerate(keys) if isinstance(key, int)), None)
        if at is None or len(keys) == at + 1 or any(isinstance(key, int) for key in keys[at + 1 :]):
            continue
        number = keys[at]
        assert isinstance(number, int)
        row = found.setdefault(keys[:at], {}).setdefault(number, _Answered(number))
        name = path_of(keys[at + 1 :])
        if isinstance(reading.typed, Decimal):
            (row.amounts if reading.leaf.kind is Kind.MONEY else row.counts)[name] = reading.typed
        elif isinstance(reading.typed, str):
            texts[keys[:at], number].append(reading.typed)
    for place, rows in found.items():
        for number, row in rows.items():
            row.words = _words_of(" ".join(texts[place, number]))
    return {place: [rows[number] for number in sorted(rows)] for place, rows in found.items()}


def _words_of(text: str) -> frozenset[str]:
    return frozenset(squash(word) for word in _WORD.findall(text))


def _printed(line: Line, order: int) -> _Printed:
    found = []
    for figure in figures(plain(spaced(line.words))):
        taken = words_within(line.words, figure.start, figure.end)
        if taken and not figure.percent:
            boxes = [word.level_box for word in taken]
            found.append((figure, min(box.x0 for box in boxes), max(box.x1 for box in boxes)))
    return _Printed(line, order, found, _words_of(line.text))


def _covered(record: Record, printed: Sequence[_Printed]) -> set[int]:
    """The lines on which single values of the record were read: sums, numbers, dates."""
    places: dict[int, list[Box]] = defaultdict(list)
    for keys, reading in record.readings.items():
        if not any(isinstance(key, int) for key in keys) and reading.leaf.kind is Kind.MONEY:
            place = record.look_up(reading)
            for piece in place.pieces if place else ():
                places[piece.page].append(piece.box)
    return {
        one.order
        for one in printed
        if any(_holds(box, word) for box in places.get(one.line.page, ()) for word in one.line.words)
    }


def _holds(box: Box, word: Word) -> bool:
    return word.box.intersection(box) >= 0.5 * word.box.area > 0


# --- the rows of the record on the page ---------------------------------------------------------------------------


def _anchors(rows: Sequence[_Answered]) -> list[str]:
    """The leaves whose figures make a row: the one that nearly every row has, else all of money."""
    for kind in ("amounts", "counts"):
        counts = Counter(name for row in rows for name in getattr(row, kind))
        full = [name for name, count in counts.items() if count >= 0.9 * len(rows)]
        if full:
            return full[-1:]
        if sum(bool(getattr(row, kind)) for row in rows) >= 0.9 * len(rows):
            return list(counts)
    return []


def _find(rows: Sequence[_Answered], printed: Sequence[_Printed]) -> None:
    """Find each row's line: the choice in reading order that agrees best with the rows' figures and words."""
    by_value: dict[Decimal, list[_Printed]] = defaultdict(list)
    for one in printed:
        for value in {value for figure, _, _ in one.figures for value in figure.values}:
            by_value[value].append(one)
    pairs: list[tuple[_Answered, _Printed, float]] = []
    for row in rows:
        weights: dict[int, float] = defaultdict(float)
        for value in row.amounts.values():
            for one in by_value.get(value, ()):
                weights[one.order] += 2
        for order in list(weights):
            one = printed[order]
            values = {value for figure, _, _ in one.figures for value in figure.values}
            near = [other for other in printed[max(0, order - 2) : order + 3] if other.line.page == one.line.page]
            said = frozenset().union(*(other.words for other in near))
            weights[order] += sum(value in values for value in row.counts.values())
            weights[order] += 2 * len(row.words & one.words) / max(1, len(row.words))
            weights[order] += len(row.words & said) / max(1, len(row.words))
            weights[order] -= one.is_sum
        if not row.amounts:
            for value in row.counts.values():
                for one in by_value.get(value, ()):
                    if row.words & one.words:
                        weights[one.order] = 1 + 2 * len(row.words & one.words) / len(row.words)
        pairs += [(row, printed[order], weight) for order, weight in weights.items() if weight > 0]
    for row, one in _best_chain(pairs):
        row.line = one


def _best_chain(pairs: Sequence[tuple[_Answered, _Printed, float]]) -> Iterator[tuple[_Answered, _Printed]]:
    """The heaviest pairs in which rows and lines both go forward (a longest increasing subsequence, by weight)."""
    # The frontier holds, by line, the best weight of a chain that ends there or before.
    lines: list[int] = []
    bests: list[tuple[float, int]] = []
    previous: list[int] = []
    for _, group in itertools.groupby(range(len(pairs)), key=lambda at: pairs[at][0].number):
        news = []
        for at in group:
            _, one, weight = pairs[at]
            place = bisect_left(lines, one.order)
            before = bests[place - 1] if place else (0.0, -1)
            news.append((one.order, before[0] + weight, at, before[1]))
        previous += [-1] * (max(at for _, _, at, _ in news) + 1 - len(previous))
        for order, weight, at, came_from in news:
            previous[at] = came_from
            place = bisect_left(lines, order)
            if place and bests[place - 1][0] >= weight:
                continue
            if place < len(lines) and lines[place] == order:
                if bests[place][0] >= weight:
                    continue
                bests[place] = (weight, at)
            else:
                lines.insert(place, order)
                bests.insert(place, (weight, at))
            end = place + 1
            while end < len(lines) and bests[end][0] <= weight:
                end += 1
            del lines[place + 1 : end], bests[place + 1 : end]
    at = bests[-1][1] if bests else -1
    chain = []
    while at >= 0:
        chain.append(pairs[at][:2])
        at = previous[at]
    yield from reversed(chain)


# --- the lines between them -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """A row of the record and the line that holds its figures."""

    row: _Answered
    line: _Printed


@dataclass(slots=True)
class _Column:
    """Where the figures of one leaf stand, and how they are written."""

    left: tuple[float, float]
    right: tuple[float, float]
    amounts: bool
    negative: bool

    def holds(self, figure: Figure, x0: float, x1: float, height: float) -> bool:
        if (self.amounts and not figure.is_amount) or (figure.value < 0 and not self.negative) or figure.value == 0:
            return False
        reach = 0.6 * height
        return (
            self.right[0] - reach <= x1 <= self.right[1] + reach or self.left[0] - reach <= x0 <= self.left[1] + reach
        ) and not figure.letters


def _column(name: str, rows: Sequence[_Found]) -> _Column | None:
    found = []
    for one in rows:
        wanted = one.row.amounts.get(name, one.row.counts.get(name))
        found += [entry for entry in one.line.figures if wanted in entry[0].values][-1:]
    if not found:
        return None
    lefts, rights = [x0 for _, x0, _ in found], [x1 for _, _, x1 in found]
    amounts = sum(figure.is_amount for figure, _, _ in found) > 0.8 * len(found)
    negative = any(figure.value < 0 for figure, _, _ in found)
    height = statistics.median(one.line.line.height for one in rows)
    return _Column(_cluster(lefts, height), _cluster(rights, height), amounts, negative)


def _cluster(edges: Sequence[float], height: float) -> tuple[float, float]:
    """From where to where most of the edges lie; nowhere, where they are no edge of a column."""
    middle = statistics.median(edges)
    near = [edge for edge in edges if abs(edge - middle) < 1.5 * height]
    return (min(near), max(near)) if len(near) >= 0.6 * len(edges) else (1.0, 0.0)


def _missing(
    record: Record, rows: Sequence[_Answered], printed: Sequence[_Printed], covered: set[int]
) -> list[_Printed]:
    """The lines that are suspected to be rows of this list."""
    anchors = _anchors(rows)
    _find(rows, printed)
    found = [_Found(row, row.line) for row in rows if row.line is not None]
    if len(found) < 0.5 * len(rows):
        return []  # not printed row by row, or read from elsewhere
    columns = [column for anchor in anchors if (column := _column(anchor, found)) is not None]
    taken = {one.line.order for one in found}
    prices = {value for row in rows for value in row.amounts.values()}
    worded = sum(bool(one.line.words) for one in found) > 0.8 * len(found)

    def could_be(one: _Printed) -> bool:
        if one.order in taken or one.order in covered or one.is_sum or one.is_carried:
            return False
        if opens_with(one.line.text, total_words().discount):
            return False
        if not one.words and (worded or all(entry[0].value in prices for entry in one.figures)):
            return False  # the figures of a row that stands on several lines
        return _amount_of(one, columns) is not None

    suspects = [*_before(found, printed, could_be, rows), *_between(found, printed, could_be)]
    suspects += _behind(found, printed, could_be, rows)
    if not suspects:
        return []
    by_sums = _by_sums(record, anchors, rows, suspects, printed, columns)
    return suspects if by_sums is None else by_sums


def _amount_of(one: _Printed, columns: Sequence[_Column]) -> Figure | None:
    """The figure of a line that stands in a column of the rows' figures."""
    height = one.line.height
    inside = [entry[0] for entry in one.figures if any(column.holds(*entry, height) for column in columns)]
    return inside[-1] if inside else None


_Test = Callable[[_Printed], bool]


def _between(found: Sequence[_Found], printed: Sequence[_Printed], could_be: _Test) -> list[_Printed]:
    suspects: list[_Printed] = []
    for above, below in itertools.pairwise(found):
        between = [one for one in printed[above.line.order + 1 : below.line.order] if could_be(one)]
        suspects += between[below.row.number - above.row.number - 1 :]  # rows that were not found stand there too
    return suspects


def _before(
    found: Sequence[_Found], printed: Sequence[_Printed], could_be: _Test, rows: Sequence[_Answered]
) -> list[_Printed]:
    """Lines that go on upwards from the first row, up to the head of the list."""
    reach = _reach(found)
    last, suspects = found[0].line, []
    for one in reversed(printed[: last.order]):
        apart = last.line.box.y0 - one.line.box.y0
        if one.line.page != last.line.page or apart > reach or one.is_sum or headings_of([one.line], ()):
            break
        if could_be(one) and not _LABELLED.search(one.line.text):
            suspects.append(one)
            last = one
    suspects.reverse()
    return suspects[: max(0, len(suspects) - (found[0].row.number - rows[0].number))]


def _behind(
    found: Sequence[_Found], printed: Sequence[_Printed], could_be: _Test, rows: Sequence[_Answered]
) -> list[_Printed]:
    """Lines that go on behind the last row, down to the sums, also on the next page."""
    reach = _reach(found)
    last, suspects = found[-1].line, []
    for one in printed[last.order + 1 :]:
        if one.is_carried:
            continue
        turned = one.line.page - last.line.page
        if one.is_sum or turned > 1 or (not turned and one.line.box.y0 - last.line.box.y0 > reach):
            break
        if could_be(one) and not _LABELLED.search(one.line.text):
            suspects.append(one)
            last = one
    return suspects[rows[-1].number - found[-1].row.number :]


def _reach(found: Sequence[_Found]) -> float:
    """How far apart the lines of two rows may stand, from top to top."""
    steps = [
        below.line.line.box.y0 - above.line.line.box.y0
        for above, below in itertools.pairwise(found)
        if above.line.line.page == below.line.line.page
    ]
    least = 3.5 * max(one.line.line.height for one in found)
    return max([least, *(1.3 * step for step in steps)])


def _by_sums(
    record: Record,
    anchors: Sequence[str],
    rows: Sequence[_Answered],
    suspects: Sequence[_Printed],
    printed: Sequence[_Printed],
    columns: Sequence[_Column],
) -> list[_Printed] | None:
    """Which of the suspects the sums of the page bear out: none where the rows add up. None where no sum tells."""
    amounts = [row.amounts.get(anchors[0]) for row in rows] if len(anchors) == 1 else [None]
    known = [amount for amount in amounts if amount is not None]
    if len(known) < len(amounts):
        return None
    total = sum(known, Decimal(0))
    singles = [reading.typed for keys, reading in record.readings.items() if not any(isinstance(k, int) for k in keys)]
    sums = {abs(value) for value in singles if isinstance(value, Decimal)}
    sums |= {
        abs(figure.value)
        for one in printed
        if one.is_sum and not one.is_carried
        for figure, _, _ in one.figures
        if figure.is_amount
    }
    if any(abs(total - value) <= TOLERANCE for value in sums):
        return []
    worth = [(one, figure.value) for one in suspects if (figure := _amount_of(one, columns)) is not None]
    ways: dict[Decimal, tuple[_Printed, ...]] = {Decimal(0): ()}
    for one, value in worth:
        if len(ways) < _WAYS:
            ways |= {before + value: (*those, one) for before, those in ways.items() if before + value not in ways}
    short: list[tuple[_Printed, ...]] = [
        those for value in sums for said, those in ways.items() if those and abs(value - total - said) <= TOLERANCE
    ]
    everything = tuple(one for one, _ in worth)
    if everything in short:
        return list(everything)
    short.sort(key=len)
    return list(short[-1]) if short else None
