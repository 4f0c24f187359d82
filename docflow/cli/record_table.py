"""Records and their evidence as tables that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from docflow.cli.columns import Column, decimals_of, fitted_table, spoken
from docflow.cli.terminal import plain_table, printable
from docflow.storage.rows import name_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

Row = Mapping[str, Any]

UNSURE_BELOW = 0.5
"""Values with a lower confidence are marked."""
_STATUS_STYLES = {"valid": "green", "invalid": "yellow", "failed": "red"}
_MARK = " ?"
_MISSING = " +?"
"""Behind a list from which rows seem to be missing."""


def record_table(rows: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """The records of one program as a table of at most ``width`` characters, and what it leaves out."""
    from rich.text import Text

    leading = [
        Column("source", [Text(printable(name_of(row))) for row in rows], keep_end=True),
        Column("status", [Text(row["status"], style=_STATUS_STYLES.get(row["status"], "")) for row in rows]),
    ]
    columns = [*leading, *_record_columns(rows)]
    yield from fitted_table([column for column in columns if not column.empty], width, always=len(leading) + 1)
    empty = [column.name for column in columns if column.empty]
    if empty:
        yield Text(f"null in each of these rows: {printable(', '.join(empty))}", style="dim")


def _record_columns(rows: Sequence[Row]) -> Iterator[Column]:
    records = [row["record"] or {} for row in rows]
    evidence = [list(row["evidence"] or ()) for row in rows]
    missing = [{one["path"] for one in row.get("missing_rows") or ()} for row in rows]
    paths = _paths(records)
    amounts = {path: sum(value for value in _all(records, path) if isinstance(value, Decimal)) for path in paths}
    greatest = max(paths, key=lambda path: amounts[path], default="")
    for path in paths:
        values = _all(records, path)
        decimals = max((decimals_of(value) for value in values if isinstance(value, Decimal)), default=0)
        cells = [_cell(value, path, leaves, decimals) for value, leaves in zip(values, evidence, strict=True)]
        for cell, lacking in zip(cells, missing, strict=True):
            if path in lacking:
                cell.append(_MISSING, style="yellow")
        known = [value for value in values if value is not None]
        numeric = any(isinstance(value, Decimal | int | float) for value in known)
        if numeric and any(cell.plain.endswith(_MARK) for cell in cells):
            for cell in cells:  # so that the digits stay below each other
                cell.append("" if cell.plain.endswith(_MARK) else " " * len(_MARK))
        yield Column(
            path,
            cells,
            numeric=numeric,
            typed=not any(isinstance(value, str | list) for value in known),
            many=any(isinstance(value, list) for value in known),
            greatest=path == greatest and amounts[path] > 0,
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


def _all(records: Iterable[Mapping[str, Any]], path: str) -> list[Any]:
    return [_at(record, path) for record in records]


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


def evidence_table(row: Row) -> Iterator[RenderableType]:
    """For one document: each leaf with its value, the text as printed, the place, how sure, and how it was found."""
    from rich.text import Text

    answered = "/".join(filter(None, (row["engine"], row["model"])))
    yield Text.assemble(
        (printable(name_of(row)), "bold"),
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
    before: Row = {}
    for leaf in row["evidence"]:
        again = leaf["path"] == before.get("path")  # a further piece of the same value
        unsure = leaf["value"] is not None and leaf["confidence"] is not None and leaf["confidence"] < UNSURE_BELOW
        sure = "" if again or leaf["confidence"] is None else f"{leaf['confidence']:.2f}"
        table.add_row(
            "" if again else printable(leaf["path"]),
            _value_and_print(leaf, before if again else {}),
            "" if leaf["page"] is None else str(leaf["page"]),
            "" if leaf["x0"] is None else "{x0:.0f},{y0:.0f} {x1:.0f},{y1:.0f}".format_map(leaf),
            Text(sure, style="yellow" if unsure else ""),
            Text(leaf["found"] or leaf["reason"] or "", style="" if leaf["found"] else "dim italic"),
        )
        before = leaf
    yield table
    for one in row.get("missing_rows") or ():
        place = f"page {one['page']}: {printable(one['text'])}"
        yield Text.assemble((f"row suspected missing from {printable(one['path'])}", "yellow"), f", {place}")
    yield Text("box: left,top right,bottom; below a value: the page's text, where it differs", style="dim")


def _value_and_print(leaf: Row, piece_before: Row) -> Text:
    """The value, once, and below it the printed text where that differs."""
    from rich.text import Text

    cell = Text("" if piece_before or leaf["value"] is None else printable(leaf["value"]))
    tick = leaf["value"] in ("true", "false") and str(leaf["raw"]).lower() == leaf["value"]  # True is no print
    if not tick and leaf["raw"] not in (None, leaf["value"], piece_before.get("raw")):
        cell.append("\n" if cell.plain else "")
        cell.append(printable(leaf["raw"]), style="dim")
    return cell
