"""Records and their evidence as tables that fit the terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from docflow.cli.terminal import plain_table, printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

Row = Mapping[str, Any]

UNSURE_BELOW = 0.5
"""Values with a lower confidence are marked."""
_STATUS_STYLES = {"valid": "green", "invalid": "yellow", "failed": "red"}
_MARK = " ?"
_GAP = 2  # between columns
_LEADING = 3  # source, status and the first field, which tell one row from another, are always shown
_WIDTHS = (48, 36, 28, 22, 18)  # the widest that a cell may be; the first at which all columns fit is taken


@dataclass(frozen=True)
class _Column:
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

    def worth(self) -> tuple[bool, bool, int]:
        """Columns of more worth are shown where there is no room for all."""
        return not self.many, self.typed, sum(bool(cell.plain.strip()) for cell in self.cells)

    def width(self, widest: int) -> int:
        from rich.cells import cell_len

        longest = max(cell.cell_len for cell in self.cells)
        return max(cell_len(self.name), longest if self.numeric else min(longest, widest))


def record_table(rows: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """The records of one program as a table of at most ``width`` characters, and what it leaves out."""
    from rich.text import Text

    leading = [
        _Column("source", [Text(printable(row["source"])) for row in rows], keep_end=True),
        _Column("status", [Text(row["status"], style=_STATUS_STYLES.get(row["status"], "")) for row in rows]),
    ]
    columns = [*leading, *_record_columns(rows)]
    empty = [column.name for column in columns if not any(cell.plain.strip() for cell in column.cells)]
    columns = [column for column in columns if column.name not in empty]
    shown, widest = _fitting(columns, width)
    table = plain_table()
    for column in shown:
        table.add_column(printable(column.name), justify="right" if column.numeric else "left", no_wrap=True)
    for index in range(len(rows)):
        table.add_row(*(_cut(column.cells[index], column, widest) for column in shown))
    yield table
    left_out = [column.name for column in columns if column not in shown]
    if left_out:
        yield Text(f"no room for: {printable(', '.join(left_out))}", style="dim")
    if empty:
        yield Text(f"null in each of these rows: {printable(', '.join(empty))}", style="dim")


def _fitting(columns: list[_Column], width: int) -> tuple[list[_Column], int]:
    """The columns that fit, in order, and the width of the widest cell: all columns if that can be, else the best."""

    def total(chosen: list[_Column], widest: int) -> int:
        return sum(column.width(widest) + _GAP for column in chosen) - _GAP

    narrowest = _WIDTHS[-1]
    chosen = columns
    if total(columns, narrowest) > width:
        chosen = columns[:_LEADING]
        for column in sorted(columns[_LEADING:], key=_Column.worth, reverse=True):
            if total([*chosen, column], narrowest) <= width:
                chosen.append(column)
        chosen.sort(key=columns.index)
    widest = next((widest for widest in (width, *_WIDTHS) if total(chosen, widest) <= width), narrowest)
    return chosen, widest


def _cut(cell: Text, column: _Column, widest: int) -> Text:
    from rich.text import Text

    if column.numeric or cell.cell_len <= widest:
        return cell
    if column.keep_end:
        end = cell.plain
        while Text(end).cell_len > widest - 1:
            end = end[1:]
        return Text(f"…{end}", style=cell.style)
    short = cell.copy()
    short.truncate(widest, overflow="ellipsis")
    return short


def _record_columns(rows: Sequence[Row]) -> Iterator[_Column]:
    records = [row["record"] or {} for row in rows]
    evidence = [list(row["evidence"] or ()) for row in rows]
    for path in _paths(records):
        values = [_at(record, path) for record in records]
        decimals = max((_decimals(value) for value in values if isinstance(value, Decimal)), default=0)
        cells = [_cell(value, path, leaves, decimals) for value, leaves in zip(values, evidence, strict=True)]
        known = [value for value in values if value is not None]
        numeric = any(isinstance(value, Decimal | int | float) for value in known)
        if numeric and any(cell.plain.endswith(_MARK) for cell in cells):
            for cell in cells:  # so that the digits stay below each other
                cell.append("" if cell.plain.endswith(_MARK) else " " * len(_MARK))
        yield _Column(
            path,
            cells,
            numeric=numeric,
            typed=not any(isinstance(value, str | list) for value in known),
            many=any(isinstance(value, list) for value in known),
        )


def _paths(records: Iterable[Mapping[str, Any]], prefix: str = "") -> list[str]:
    """The fields of all records in order; the fields of a group stand for the group."""
    paths: dict[str, None] = {}
    for record in records:
        for key, value in record.items():
            if isinstance(value, Mapping):
                paths.update(dict.fromkeys(_paths([value], f"{prefix}{key}.")))
            else:
                paths.setdefault(f"{prefix}{key}")
    groups = {path.rpartition(".")[0] for path in paths}
    return [path for path in paths if path not in groups]


def _at(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _cell(value: Any, path: str, evidence: list[Row], decimals: int) -> Text:
    from rich.text import Text

    own = [leaf for leaf in evidence if leaf["path"] == path or leaf["path"].startswith((f"{path}[", f"{path}."))]
    if value is None or value == []:
        reason = next((leaf["reason"] for leaf in own if leaf["reason"] not in (None, "absent")), None)
        return Text(reason or "", style="dim italic")
    cell = Text(spoken(value, decimals))
    if any(
        leaf["confidence"] is not None and leaf["confidence"] < UNSURE_BELOW
        for leaf in own
        if leaf["value"] is not None
    ):
        cell.append(_MARK, style="yellow")
    return cell


def spoken(value: Any, decimals: int = 0) -> str:
    """A value of a record as a person reads it, in one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return f"{value:.{max(decimals, _decimals(value))}f}"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return " ".join(text for text in map(spoken, value.values()) if text)
    if isinstance(value, list):
        return f"{len(value)}: " + "; ".join(map(spoken, value))
    return printable(value)


def _decimals(value: Decimal) -> int:
    """Digits after the point that say something: datasets store six."""
    exponent = value.normalize().as_tuple().exponent
    used = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return 2 if used == 1 else used


def evidence_table(row: Row) -> Iterator[RenderableType]:
    """For one document: each leaf with its value, the text as printed, the place, how sure, and how it was found."""
    from rich.text import Text

    answered = "/".join(filter(None, (row["engine"], row["model"])))
    yield Text.assemble(
        (printable(row["source"]), "bold"),
        f"  {row['program']}, ",
        (row["status"], _STATUS_STYLES.get(row["status"], "")),
        (f", {printable(answered)}" if answered else "", "dim"),
    )
    if row["error"]:
        yield Text(printable(row["error"]["message"]), style="yellow")
    if not row["evidence"]:
        return
    table = plain_table()
    table.add_column("field", overflow="fold")
    table.add_column("value", overflow="fold")
    table.add_column("page", justify="right", no_wrap=True)
    table.add_column("box", no_wrap=True)
    table.add_column("sure", justify="right", no_wrap=True)
    table.add_column("found", no_wrap=True)
    before = None
    for leaf in row["evidence"]:
        again = leaf["path"] == before  # a further piece of the same value
        before = leaf["path"]
        unsure = leaf["value"] is not None and leaf["confidence"] is not None and leaf["confidence"] < UNSURE_BELOW
        sure = "" if again or leaf["confidence"] is None else f"{leaf['confidence']:.2f}"
        table.add_row(
            "" if again else printable(leaf["path"]),
            _value_and_print(leaf, again=again),
            "" if leaf["page"] is None else str(leaf["page"]),
            "" if leaf["x0"] is None else "{x0:.0f},{y0:.0f} {x1:.0f},{y1:.0f}".format_map(leaf),
            Text(sure, style="yellow" if unsure else ""),
            Text(leaf["found"] or leaf["reason"] or "", style="" if leaf["found"] else "dim italic"),
        )
    yield table
    yield Text("box: left,top right,bottom; below a value: its text on the page, where it differs", style="dim")


def _value_and_print(leaf: Row, *, again: bool) -> Text:
    """The value, and below it the printed text where that differs."""
    from rich.text import Text

    cell = Text("" if again or leaf["value"] is None else printable(leaf["value"]))
    if leaf["raw"] is not None and (again or leaf["raw"] != leaf["value"]):
        cell.append("\n" if cell.plain else "")
        cell.append(printable(leaf["raw"]), style="dim")
    return cell
