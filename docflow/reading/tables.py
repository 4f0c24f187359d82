"""The structure of tables, from the lines of a page: lanes that hold the columns, and rows of several lines.

Nothing here knows what a table says, nor whether lines are drawn around its cells: only where words stand. The caller
says which lines are a table's body and which of them hold a row's figures.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from docflow.documents.model import Word

Span = tuple[float, float]
"""From left to right on the levelled page, in its unit."""


def span_of(word: Word) -> Span:
    """The width that a word takes on the levelled page."""
    return word.level_box.x0, word.level_box.x1


def cut_lanes(heads: Sequence[Span], rows: Sequence[Sequence[Span]]) -> list[float]:
    """The borders between neighbouring columns, from the spans of their heads and of the words of the rows.

    Between the middles of two heads the border goes where it cuts the fewest words of the rows, and among such
    places where the free room around it is widest.
    """
    borders: list[float] = []
    for (left0, left1), (right0, right1) in itertools.pairwise(heads):
        low, high = (left0 + left1) / 2, (right0 + right1) / 2
        spans = [(max(x0, low), min(x1, high)) for row in rows for x0, x1 in row if x0 < high and x1 > low]
        edges = sorted({low, high, *(x for span in spans for x in span)})
        best: tuple[float, float, float] | None = None
        border = (left1 + right0) / 2
        for start, end in itertools.pairwise(edges):
            middle = (start + end) / 2
            crossed = sum(1 for x0, x1 in spans if x0 < middle < x1)
            # Better no border inside a head, though heads may reach over the column beside them.
            inside = max(0.0, min(end, left1) - start) + max(0.0, end - max(start, right0))
            room = (end - start) - 0.5 * min(inside, end - start)
            rank = (-float(crossed), room, -abs(middle - (left1 + right0) / 2))
            if best is None or rank > best:
                best = rank
                border = min(max((left1 + right0) / 2, start), end) if room > 0 else middle
                if border in (start, end):
                    border = middle
        borders.append(border)
    return borders


def lane_at(borders: Sequence[float], x: float) -> int:
    """Which column this place belongs to, counted from 0."""
    lane = 0
    while lane < len(borders) and x >= borders[lane]:
        lane += 1
    return lane


@dataclass(frozen=True, slots=True)
class BodyLine:
    """What row grouping needs to know of a line of a table's body.

    ``anchor``: it holds the figures that make a row; ``text``: it holds text of its own that can name a row.
    """

    top: float
    bottom: float
    anchor: bool
    text: bool


def group_rows(lines: Sequence[BodyLine]) -> list[list[int]]:
    """Which lines make up each row, one row an anchor. Lines that belong to no row are left out.

    A text line goes to the anchor above it (a wrapped description) or below it (a description over its figures),
    whichever anchor lacks text; where both lack it, what stands first and last in the body tells which is the habit.
    """
    anchors = [index for index, line in enumerate(lines) if line.anchor]
    rows: dict[int, list[int]] = {anchor: [anchor] for anchor in anchors}
    if not anchors:
        return []
    starts_with_text, ends_with_text = anchors[0] > 0, anchors[-1] < len(lines) - 1
    bare = sum(not lines[anchor].text for anchor in anchors)
    mostly_bare = bare * 2 >= len(anchors)

    first = anchors[0]
    if first and (not lines[first].text or (mostly_bare and not ends_with_text)):
        rows[first] = [*range(first), *rows[first]]
    for above, below in itertools.pairwise(anchors):
        between = list(range(above + 1, below))
        if between:
            cut = _cut(lines, above, below, between, starts_with_text, ends_with_text, mostly_bare)
            rows[above] += [index for index in between if index < cut]
            rows[below] = [*(index for index in between if index >= cut), *rows[below]]
    last = anchors[-1]
    if ends_with_text and not (lines[last].text and mostly_bare and starts_with_text and bare > 1):
        rows[last] += range(last + 1, len(lines))
    return [sorted(rows[anchor]) for anchor in anchors]


def _cut(
    lines: Sequence[BodyLine],
    above: int,
    below: int,
    between: Sequence[int],
    starts_with_text: bool,
    ends_with_text: bool,
    mostly_bare: bool,
) -> int:
    """The first of the lines between two anchors that goes to the lower one (``below`` itself: none does)."""
    upper_text, lower_text = lines[above].text, lines[below].text
    if upper_text and not lower_text:
        return between[0]
    if lower_text and not upper_text:
        return below
    if not upper_text and not lower_text:
        if starts_with_text and ends_with_text and len(between) > 1:
            return _widest(lines, above, below)  # figures in the middle of a text of several lines
        return between[0] if starts_with_text else below
    gap_above = lines[between[0]].top - lines[above].bottom
    gap_below = lines[below].top - lines[between[-1]].bottom
    height = statistics.median(line.bottom - line.top for line in lines)
    if starts_with_text and mostly_bare:
        return between[0]
    return _widest(lines, above, below) if gap_above > gap_below + 0.5 * height else below


def _widest(lines: Sequence[BodyLine], above: int, below: int) -> int:
    """The line under the widest gap between two anchors."""
    return max(range(above + 1, below + 1), key=lambda index: lines[index].top - lines[index - 1].bottom)
