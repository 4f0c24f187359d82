"""What payslips, laboratory reports and leases share: rows of label and value, beside or above each other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Decimal

from maker.draft import Draft, new_draft
from maker.locales import Locale
from maker.sheet import Span

Row = tuple[str, list[Span]]
"""A label and what stands beside it."""

Layouts = dict[str, Callable[[random.Random, Locale, int], Draft]]


def blank_page(rng: random.Random, locale: Locale, families: Sequence[str]) -> Draft:
    """A page of A4, or Letter where that is usual."""
    width, height = (612, 792) if locale.code == "en_US" else (595, 842)
    return new_draft(rng, locale, width, height, families, (9.5, 10, 10.5))


def rows_beside(
    draft: Draft, rows: list[Row], x: float, y: float, tab: float, colon: str = ":", step: float = 1.6
) -> float:
    """Rows with the label left of the value; the baseline after them comes back."""
    for text, spans in rows:
        draft.sheet.text(x, y, text + colon)
        draft.sheet.text(x + tab, y, *spans)
        y += draft.sheet.size * step
    return y


def rows_above(
    draft: Draft, rows: list[Row], left: float, right: float, y: float, across: int, *, framed: bool
) -> float:
    """Rows as cells, ``across`` to a line, with the label small above the value."""
    sheet = draft.sheet
    width = (right - left) / across
    for number, (text, spans) in enumerate(rows):
        x, top = left + number % across * width, y + number // across * 36
        if framed:
            sheet.area(x, top, x + width, top + 36, edge="#666666")
        sheet.text(x + 5, top + 12, text, size=sheet.size * 0.85, colour="#444444")
        sheet.text(x + 5, top + 28, *spans, bold=not framed)
    return y + (len(rows) + across - 1) // across * 36


def money_of(draft: Draft, value: Decimal, path: str, *, sign: bool = False) -> list[Span]:
    """An amount in a field of its own; its currency sign belongs to no field."""
    return [span if span.path == path else Span(span.text) for span in draft.money(value, path, sign=sign)]
