"""Where the labels of a page stand, and where the value of each may be: beside it, right of it, or under it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from docflow.engines.embedded.context import Context, PrintedLine, Span
from docflow.engines.embedded.lexicon import WEAK, Phrases, lexicon
from docflow.fields.kinds import Kind
from docflow.reading.layout import Cell

How = Literal["beside", "stacked", "right", "below"]

_MARK = re.compile(r"\s{0,2}[):.\]]{0,2}\s{0,2}[:：=]")
_HEADED = frozenset({Kind.IDENTIFIER, Kind.DATE})
_ASIDE = re.compile(r"\s*\([^()]*\)\s*$")
_LEADING = re.compile(r"[\s:：.;=*_\-–—)\]>|]+")


@dataclass(frozen=True, slots=True)
class Label:
    """A phrase on the page that names something: what it names, with strengths from 0 to 1.

    ``marked`` says that a colon follows or that it takes its cell alone; ``leads`` that it begins its cell.
    """

    span: Span
    names: Mapping[str, float]
    words: int
    marked: bool
    leads: bool
    exact: bool

    @property
    def line(self) -> PrintedLine:
        return self.span.line


@dataclass(frozen=True, slots=True)
class Region:
    """Where the value of a label may stand, and how it lies to the label."""

    span: Span
    how: How
    steps: int = 0
    """How many cells further right, or lines further down."""


def find_labels(context: Context, phrases: Phrases) -> dict[int, list[Label]]:
    """The labels of each line, by the line's number, from left to right."""
    filler = lexicon().filler
    found: dict[int, list[Label]] = {}
    for line in context.printed:
        breaks = _breaks(line)
        matches = phrases.find(line.tokens, breaks, filler)
        if matches:
            found[line.number] = [_label(line, match.first, match.last, match.names, match.exact) for match in matches]
    return found


def _breaks(line: PrintedLine) -> frozenset[int]:
    """The tokens before which so wide a gap stands that no label goes over it."""
    if len(line.cells) == 1:
        return frozenset()
    wide = set()
    for left, right, (start, _) in zip(line.cells, line.cells[1:], line.spans[1:], strict=False):
        gap = right.box.x0 - left.box.x1
        if gap > 1.6 * max(left.height, right.height) or left.text.rstrip().endswith((":", "：")):
            wide.add(next((number for number, token in enumerate(line.tokens) if token.start >= start), -1))
    return frozenset(wide)


def _label(line: PrintedLine, first: int, last: int, names: Mapping[str, float], exact: bool) -> Label:
    start, end = line.tokens[first].start, line.tokens[last].end
    cell_start, cell_end = line.spans[line.cell_at(start)]
    mark = _MARK.match(line.text, end)
    rest = _ASIDE.sub("", line.text[end:cell_end]).strip(" :：.()[]*-_=#")
    before = line.text[cell_start:start].strip(" .*-_([#")
    return Label(Span(line, start, end), names, last - first + 1, bool(mark) or not rest, not before, exact)


def regions(context: Context, label: Label, labels: Mapping[int, list[Label]]) -> Iterator[Region]:
    """The places where the label's value may stand, the likeliest first."""
    line = label.line
    here = line.cell_at(label.span.end - 1)
    on_line = labels.get(line.number, [])
    colon = bool(_MARK.match(line.text, label.span.end))
    beside = _trimmed(line, label.span.end, _until_next_label(label.span.end, line.spans[here][1], on_line))
    if beside is not None and not colon and _ASIDE.match(line.text, label.span.end, line.spans[here][1]):
        beside = None  # "Tenant (Lessee)", "Amount (EUR)": more of the label
    longer = (
        beside is not None
        and not colon
        and here + 1 < len(line.spans)
        and not any(char.isdigit() for char in beside.text)
        and not any(_begins_a_pair(other) for other in on_line if other.span.start >= line.spans[here + 1][0])
    )
    if beside is not None and not longer:
        yield Region(beside, "beside")
    elif beside is None and not colon and label.marked and _is_stacked(context, line, here, labels):
        under = _under(context, line, here)
        if under is not None:
            yield Region(under, "stacked")
    steps = 0
    for number in range(here + 1, len(line.spans)):
        start, end = line.spans[number]
        if any(_begins_a_pair(other) for other in on_line if start <= other.span.start < end):
            break
        steps += 1
        right = _trimmed(line, start, _until_next_label(start, end, on_line))
        if right is not None:
            yield Region(right, "right", steps)
    if longer and beside is not None:  # "Registration mark   AK71 PLM": what follows is more of the label
        yield Region(beside, "beside", 1)
    if label.marked and (beside is not None or (steps and colon)):
        return
    yield from _regions_below(context, line, here, labels)


def _regions_below(
    context: Context, line: PrintedLine, here: int, labels: Mapping[int, list[Label]]
) -> Iterator[Region]:
    """The cells under a label, down to the next label."""
    cell = line.cells[here]
    for down in (1, 2):
        below = context.below(cell, reach=2.2)
        if below is None:
            return
        span = context.span_of(below)
        if any(other.marked and max(other.names.values()) > WEAK for other in _leading(span, labels)):
            return
        under = _under(context, line, here) if down == 1 else _trimmed(span.line, span.start, span.end)
        if under is not None:
            yield Region(under, "below", down)
        cell = below


def _under(context: Context, line: PrintedLine, here: int) -> Span | None:
    """What stands under a cell of a row of labels; of a cell that goes over several columns, the part of this one."""
    cell = line.cells[here]
    below = context.below(cell, reach=2.2)
    if below is None:
        return None
    span = context.span_of(below)
    start, end = span.start, span.end
    slack = 0.6 * cell.height
    left = cell.box.x0 - slack if here and below.box.x0 < cell.box.x0 - 2 * slack else below.box.x0 - 1
    right = line.cells[here + 1].box.x0 - slack if here + 1 < len(line.cells) else below.box.x1 + 1
    if left > below.box.x0 or right < below.box.x1:
        kept = [word for word in below.words if left <= word.level_box.center[0] < right]
        if not kept:
            return None
        before = below.words[: below.words.index(kept[0])]
        start += sum(len(word.text) + 1 for word in before)
        end = start + sum(len(word.text) + 1 for word in kept) - 1
    return _trimmed(span.line, start, end)


def _is_stacked(context: Context, line: PrintedLine, here: int, labels: Mapping[int, list[Label]]) -> bool:
    """Whether a row of labels stands over a row of values: cells under cells, and no label under this one."""
    if len(line.cells) < 2 or any(char.isdigit() for char in line.text):
        return False
    below = context.below(line.cells[here], reach=2.0)
    if below is None or not _lines_up(line.cells[here], below):
        return False
    span = context.span_of(below)
    if any(max(other.names.values()) > WEAK and (other.marked or other.words > 1) for other in _leading(span, labels)):
        return False
    if any(_MARK.search(cell.text) and cell.text.rstrip().endswith((":", "：")) for cell in line.cells):
        return False
    others = [cell for number, cell in enumerate(line.cells) if number != here]
    return (
        any(
            (under := context.below(cell, reach=2.0)) is not None
            and under.line is below.line
            and _lines_up(cell, under)
            for cell in others
        )
        or len(below.line.cells) == 1
    )


def _lines_up(cell: Cell, below: Cell) -> bool:
    slack = 0.7 * cell.height
    return (
        abs(cell.box.x0 - below.box.x0) < slack
        or abs(cell.box.x1 - below.box.x1) < slack
        or abs(cell.box.center[0] - below.box.center[0]) < slack
    )


def _leading(span: Span, labels: Mapping[int, list[Label]]) -> list[Label]:
    """The labels that begin a cell."""
    return [
        label for label in labels.get(span.line.number, ()) if span.start <= label.span.start < span.end and label.leads
    ]


def _begins_a_pair(other: Label) -> bool:
    """Whether a label right of another begins the next pair of its row: a colon follows.

    Without one it may well be a value ("Payment method   Cash"), unless it is a phrase that nobody fills in.
    """
    if not other.leads:
        return False
    if _MARK.match(other.line.text, other.span.end):
        return True
    phrase = other.marked and other.exact and other.words > 1
    kinds = lexicon().kinds
    return phrase and any(s >= 1 and kinds.get(name) in _HEADED for name, s in other.names.items())


def _until_next_label(start: int, end: int, labels: list[Label]) -> int:
    """Where the value ends because a further label with a colon begins in the same cell."""
    for other in labels:
        if start < other.span.start < end and other.marked and _MARK.match(other.line.text, other.span.end):
            return other.span.start
    return end


def _trimmed(line: PrintedLine, start: int, end: int) -> Span | None:
    """The stretch without the punctuation that leads it; None where nothing but punctuation stands."""
    leading = _LEADING.match(line.text, start, end)
    if leading:
        start = leading.end()
        # A sign belongs to the value: "Rounding: -0.01".
        if start < end and leading[0][-1:] in "-–—" and line.text[start].isdigit():
            start -= 1
    while end > start and line.text[end - 1].isspace():
        end -= 1
    return Span(line, start, end) if any(char.isalnum() for char in line.text[start:end]) else None
