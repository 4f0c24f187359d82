"""Whether evidence points at the place where a value is printed: regions of pages, their overlap, true lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from docflow.documents.model import Box
from docflow.evaluation.values import meaning, squashed
from docflow.fields import Kind, find_amounts

Piece = tuple[int, Box]
"""A page, counted from 1, and a box on it, in the unit of that page."""

IOU = 0.5
"""A box points at the right place when it shares at least this much of the area that either covers."""
COVER = 0.5
_SHORT = (Kind.DATE, Kind.MONEY, Kind.QUANTITY)


@dataclass(frozen=True, slots=True)
class TrueLine:
    """A line of text that is known to stand on a page."""

    page: int
    box: Box
    text: str


def area_of(pieces: Iterable[Piece]) -> float:
    """The area that boxes cover together, what they share counted once."""
    return _area([(page, box) for page, box in pieces if box.area > 0])


def _area(pieces: Sequence[Piece]) -> float:
    total = 0.0
    for page in {page for page, _ in pieces}:
        boxes = [box for number, box in pieces if number == page]
        edges = sorted({edge for box in boxes for edge in (box.x0, box.x1)})
        for left, right in pairwise(edges):
            spans = sorted((box.y0, box.y1) for box in boxes if box.x0 <= left and box.x1 >= right)
            end = float("-inf")
            for y0, y1 in spans:
                total += (right - left) * max(0.0, y1 - max(y0, end))
                end = max(end, y1)
    return total


def shared_area(one: Sequence[Piece], other: Sequence[Piece]) -> float:
    """The area that lies in both regions."""
    return _area(
        [
            (page, Box(max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1)))
            for page, a in one
            for number, b in other
            if page == number and a.intersection(b) > 0
        ]
    )


def iou(one: Sequence[Piece], other: Sequence[Piece]) -> float:
    """Intersection over union of two regions, each of one or several boxes; 0 where both are empty."""
    shared = shared_area(one, other)
    union = area_of(one) + area_of(other) - shared
    return shared / union if union > 0 else 0.0


def covered(place: Sequence[Piece], by: Sequence[Piece]) -> float:
    """The share of a place that lies in a region; 0 of an empty place."""
    area = area_of(place)
    return shared_area(place, by) / area if area > 0 else 0.0


def on_lines(kind: Kind, true: Any, evidence: Sequence[Piece], lines: Sequence[TrueLine]) -> bool | None:
    """Whether evidence lies on true lines that carry the value; None where no line carries it.

    At least half of the evidence lies on such lines, and covers at least half of the value's part of one of them.
    (A box around an amount alone, within a longer line, is as good as the line.)
    """
    carrying = [line for line in lines if _carries(kind, true, line.text)]
    if not carrying:
        return None
    if covered(evidence, [(line.page, line.box) for line in carrying]) < COVER:
        return False
    for line in carrying:
        share = 1.0
        if kind in _SHORT:
            share = min(1.0, len(squashed(true)) / max(1, len(squashed(line.text))))
        if covered([(line.page, line.box)], evidence) >= COVER * share:
            return True
    return False


def _carries(kind: Kind, true: Any, text: str) -> bool:
    """Whether a line holds the value, or for text at least half of the line's words belong to it."""
    if kind in (Kind.MONEY, Kind.QUANTITY):
        wanted = meaning(kind, true)
        return any(wanted in (amount.value, *amount.alternatives) for amount in find_amounts(text))
    if kind is Kind.DATE:
        from docflow.fields import find_dates

        return any(true in (date.value, *date.alternatives) for date in find_dates(text))
    words, wanted_words = _words(text), _words(str(true))
    return bool(words) and 2 * len(words & wanted_words) >= len(words)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 1}


def read_pieces(value: Any) -> list[Piece]:
    """Boxes of a truth file: ``[page, x0, y0, x1, y1]``, or four numbers for page 1; one, or a list of several.

    Raises ValueError.
    """
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    return [_piece(row) for row in rows]


def _piece(row: Any) -> Piece:
    if not isinstance(row, list) or len(row) not in (4, 5) or not all(_is_number(edge) for edge in row):
        raise ValueError("a box is [page, x0, y0, x1, y1], or [x0, y0, x1, y1] on page 1")
    page, *edges = row if len(row) == 5 else [1, *row]
    return int(page), Box(*(float(edge) for edge in edges))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_lines(value: Any) -> list[TrueLine]:
    """Lines of a truth file: boxes as above with the line's text behind them. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError("lines are a list of [page, x0, y0, x1, y1, text]")
    lines = []
    for row in value:
        if not isinstance(row, list) or not row or not isinstance(row[-1], str):
            raise ValueError("a line is [page, x0, y0, x1, y1, text]")
        page, box = _piece(row[:-1])
        lines.append(TrueLine(page, box, row[-1]))
    return lines


def read_boxes(value: Any) -> dict[str, list[Piece]]:
    """Boxes of a truth file by path. Raises ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError('boxes go by path: {"total": [[page, x0, y0, x1, y1]]}')
    return {str(path): read_pieces(pieces) for path, pieces in value.items() if pieces}
