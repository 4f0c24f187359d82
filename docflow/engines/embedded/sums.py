"""Whether the amounts of a list add up to a sum that the page prints."""

from __future__ import annotations

from collections.abc import Sequence, Set
from decimal import Decimal

from docflow.engines.embedded.cells import Row
from docflow.engines.embedded.context import Context, LeafReading
from docflow.engines.embedded.figures import figures
from docflow.engines.embedded.vocabulary import is_total
from docflow.fields.text import plain

_COIN = Decimal("0.05")
"""What cash is rounded to, where the smallest coins are not used."""


def printed_sums(context: Context) -> set[Decimal]:
    """The amounts that stand on lines of sums, taxes and payments."""
    return {
        abs(figure.value)
        for line in context.lines
        if is_total(line.text)
        for figure in figures(plain(line.text))
        if figure.is_amount
    }


def adds_up(rows: Sequence[Row], amount: str, sums: Set[Decimal]) -> bool:
    """Whether the items' amounts add up to a sum that is printed."""
    values = [_worth(row[amount]) for row in rows]
    total = sum((value for value in values if value is not None), Decimal(0))
    return bool(values) and None not in values and any(abs(total - s) <= _COIN for s in sums)


def _worth(reading: LeafReading) -> Decimal | None:
    """What an amount that was read is worth, as far as its print alone tells."""
    found = figures(reading.printed) if reading.printed else ()
    return found[0].value if found else None
