"""Columns of values as a table that fits the terminal."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from docflow.cli.terminal import plain_table, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_GAP = 2  # between columns
_WIDEST = 120  # longer cells are cut wherever the table goes
_MARKS = re.compile(r"( \+?\?){1,2}$")
"""That a value is unsure and that rows are missing: no cut takes these away."""
_WIDTHS = (48, 36, 28, 22, 18)  # the widest that a cell may be; the first at which all columns fit is taken


@dataclass(frozen=True)
class Column:
    """A column of cells; ``numeric`` ones stand at the right."""

    name: str
    cells: list[Text]
    numeric: bool = False
    keep_end: bool = False
    """Cut at the front: the end of a path tells more than its beginning."""
    typed: bool = False
    """A number, a day or a choice: a few characters that say much."""
    many: bool = False
    """Each cell lists several things."""
    greatest: bool = False
    """The one with the greatest amounts: what the others are part of, such as a total."""

    @property
    def empty(self) -> bool:
        return not any(cell.plain.strip() for cell in self.cells)

    def worth(self) -> tuple[bool, bool, bool, int]:
        """Columns of more worth are shown where there is no room for all."""
        return self.greatest, not self.many, self.typed, sum(bool(cell.plain.strip()) for cell in self.cells)

    def width(self, widest: int) -> int:
        from rich.cells import cell_len

        longest = max((cell.cell_len for cell in self.cells), default=0)
        return max(cell_len(self.name), longest if self.numeric else min(longest, widest))


def fitted_table(columns: list[Column], width: int, *, always: int) -> Iterator[RenderableType]:
    """A table of at most ``width`` characters, and a line that names the columns it has no room for.

    The first ``always`` columns tell one row from another and are never left out.
    """
    from rich.text import Text

    shown, widest = _fitting(columns, width, always)
    table = plain_table()
    for column in shown:
        table.add_column(printable(column.name), justify="right" if column.numeric else "left", no_wrap=True)
    for cells in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*(_cut(cell, column, widest) for cell, column in zip(cells, shown, strict=True)))
    yield table
    left_out = [column.name for column in columns if column not in shown]
    if left_out:
        yield Text(f"no room for: {printable(', '.join(left_out))}", style="dim")


def _fitting(columns: list[Column], width: int, always: int) -> tuple[list[Column], int]:
    """The columns that fit, in order, and the width of the widest cell: all columns if that can be, else the best."""

    def total(chosen: list[Column], widest: int) -> int:
        return sum(column.width(widest) + _GAP for column in chosen) - _GAP

    narrowest = _WIDTHS[-1]
    chosen = columns
    if total(columns, narrowest) > width:
        chosen = columns[:always]
        for column in sorted(columns[always:], key=Column.worth, reverse=True):
            if total([*chosen, column], narrowest) <= width:
                chosen.append(column)
        chosen.sort(key=columns.index)
    widest = next((most for most in (min(width, _WIDEST), *_WIDTHS) if total(chosen, most) <= width), narrowest)
    return chosen, widest


def _cut(cell: Text, column: Column, widest: int) -> Text:
    from rich.text import Text

    if column.numeric or cell.cell_len <= widest:
        return cell
    if column.keep_end:
        end = cell.plain
        while Text(end).cell_len > widest - 1:
            end = end[1:]
        return Text(f"…{end}", style=cell.style)
    marks = _MARKS.search(cell.plain)
    said = marks.start() if marks else len(cell.plain)
    short = cell[:said]
    short.truncate(widest - (len(cell.plain) - said), overflow="ellipsis")
    return short + cell[said:]


def spoken(value: Any, decimals: int = 0) -> str:
    """A value of a record as a person reads it, in one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return f"{value:.{max(decimals, decimals_of(value))}f}"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return " ".join(text for text in map(spoken, value.values()) if text)
    if isinstance(value, list):
        return f"{len(value)}: " + "; ".join(map(spoken, value)) if value else ""
    return printable(value)


def decimals_of(value: Decimal) -> int:
    """Digits after the point that say something: datasets store six."""
    exponent = value.normalize().as_tuple().exponent
    used = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return 2 if used == 1 else used
