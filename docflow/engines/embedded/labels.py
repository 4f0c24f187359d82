"""Where the labels of a page stand, and where the value of each may be: beside it, right of it, or under it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from docflow.engines.embedded.context import Context, PrintedLine, Span
from docflow.engines.embedded.lexicon import WEAK, Phrases, lexicon

How = Literal["beside", "right", "below"]

_MARK = re.compile(r"\s{0,2}[):.\]]{0,2}\s{0,2}[:：=]")
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
    rest = line.text[end:cell_end].strip(" :：.()[]*-_=#")
    before = line.text[cell_start:start].strip(" .*-_([#")
    return Label(Span(line, start, end), names, last - first + 1, bool(mark) or not rest, not before, exact)


def regions(context: Context, label: Label, labels: Mapping[int, list[Label]]) -> Iterator[Region]:
    """The places where the label's value may stand, the likeliest first."""
    line = label.line
    here = line.cell_at(label.span.end - 1)
    _, cell_end = line.spans[here]
    on_line = labels.get(line.number, [])
    beside = _trimmed(line, label.span.end, _until_next_label(label.span.end, cell_end, on_line))
    if beside is not None:
        yield Region(beside, "beside")
    steps = 0
    for number in range(here + 1, len(line.spans)):
        start, end = line.spans[number]
        if any(_begins_a_pair(context, label, other) for other in on_line if start <= other.span.start < end):
            break
        steps += 1
        right = _trimmed(line, start, _until_next_label(start, end, on_line))
        if right is not None:
            yield Region(right, "right", steps)
    if label.marked and (beside is not None or (steps and _MARK.match(line.text, label.span.end))):
        return
    cell = line.cells[here]
    for down in (1, 2):
        below = context.below(cell, reach=2.2)
        if below is None:
            return
        span = context.span_of(below)
        leading = [
            other
            for other in labels.get(span.line.number, [])
            if span.start <= other.span.start < span.end and other.leads
        ]
        if any(other.marked and max(other.names.values()) > WEAK for other in leading):
            return
        trimmed = _trimmed(span.line, span.start, span.end)
        if trimmed is not None:
            yield Region(trimmed, "below", down)
        cell = below


def _begins_a_pair(context: Context, label: Label, other: Label) -> bool:
    """Whether a label right of another is no value of it, but begins the next pair of its row.

    A word that could be a label is often a value ("Payment method   Cash"): what tells is the colon, or that both
    head a column of values.
    """
    if not other.leads or not other.marked or max(other.names.values()) <= WEAK:
        return False
    if _MARK.match(other.line.text, other.span.end):
        return True
    if _MARK.match(label.line.text, label.span.end):
        return False
    cell = label.line.cells[label.line.cell_at(label.span.start)]
    below = context.below(cell, reach=2.2)
    if below is None:
        return False
    starts = context.labels.get(context.span_of(below).line.number, ())
    begin = context.span_of(below).start
    return not any(one.leads and one.span.start <= begin + 1 for one in starts if one.span.end > begin)


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
