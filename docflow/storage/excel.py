"""Tables as the sheets of an Excel file, row after row in flat memory."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xlsxwriter

from docflow.errors import UsageError
from docflow.fields import KIND_KEY, Kind
from docflow.storage.cells import could_be_formula
from docflow.storage.schemas import leaf_fields, stored_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from docflow.storage.dataset import Dataset

SHEET_ROWS = 1_048_576
CELL_CHARACTERS = 32_767
_DIGITS = 15  # what a spreadsheet's numbers hold
_FIRST_DAY = dt.date(1900, 3, 1)  # spreadsheets count a 29 February 1900 that never was: earlier days are text
_WIDE = ("source", "description", "address")


def money_columns(dataset: Dataset, program: str | None) -> set[str]:
    """The leaves that are amounts of money, by sheet and column: ``total``, ``items.amount``."""
    found = set()
    for name in dataset.programs if program is None else [program]:
        if dataset.has_records(name):
            for path, leaf in leaf_fields(stored_schema(dataset.out, name)):
                if leaf.get(KIND_KEY) == Kind.MONEY:
                    found.add(path.replace("[]", ""))
    return found


class Book:
    """An Excel file being written. Text never becomes a formula, a link or a number."""

    def __init__(self, path: Path, sheets: Mapping[str, pa.Schema], money: set[str]) -> None:
        self.rows = dict.fromkeys(sheets, 0)
        self._cut = 0
        self._book = xlsxwriter.Workbook(
            str(path), {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        )
        style = self._book.add_format
        self._head = style({"bold": True, "bottom": 1, "bg_color": "#F2F4F7"})
        self._day, self._time = style({"num_format": "yyyy-mm-dd"}), style({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._amount = style({"num_format": "#,##0.00####"})
        self._quoted = style({"quote_prefix": True})  # stays text also when someone edits the cell
        self._sheets = {}
        self._amounts: dict[str, set[int]] = {}
        taken: set[str] = set()
        for name, schema in sheets.items():
            sheet = self._book.add_worksheet(_sheet_name(name, taken))
            sheet.freeze_panes(1, 1)
            self._amounts[name] = set()
            for column, title in enumerate(schema.names):
                sheet.set_column(column, column, 36 if title in _WIDE else max(12, min(28, len(title) + 4)))
                sheet.write_string(0, column, title, self._head)
                if {title, f"{name}.{title}"} & money:
                    self._amounts[name].add(column)
            self._sheets[name] = sheet

    def write(self, name: str, table: pa.RecordBatch) -> None:
        """More rows of one sheet. Raises UsageError when a sheet cannot hold them."""
        if self.rows[name] + table.num_rows >= SHEET_ROWS:
            raise UsageError(
                f"a sheet holds at most {SHEET_ROWS - 1:,} rows",
                hint="Export to --csv or --parquet-flat, or by --program.",
            )
        sheet = self._sheets[name]
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            self.rows[name] += 1
            for column, value in enumerate(row):
                if value is not None:
                    self._write(sheet, self.rows[name], column, value, column in self._amounts[name])

    def _write(self, sheet: Any, row: int, column: int, value: Any, amount: bool) -> None:
        if isinstance(value, bool):
            sheet.write_boolean(row, column, value)
        elif isinstance(value, int | float | Decimal) and _fits(value):
            sheet.write_number(row, column, float(value), self._amount if amount else None)
        elif isinstance(value, dt.datetime) and value.date() >= _FIRST_DAY:
            sheet.write_datetime(row, column, value.replace(tzinfo=None), self._time)
        elif isinstance(value, dt.date) and not isinstance(value, dt.datetime) and value >= _FIRST_DAY:
            sheet.write_datetime(row, column, value, self._day)
        else:
            text = f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
            if len(text) > CELL_CHARACTERS:
                text = text[: CELL_CHARACTERS - 1] + "…"
                self._cut += 1
            sheet.write_string(row, column, text, self._quoted if could_be_formula(text) else None)

    def close(self) -> None:
        """Put the file together and take its temporary files away; a second call does nothing."""
        if self._book.fileclosed:
            return
        for name, schema_rows in self.rows.items():
            if schema_rows:
                self._sheets[name].autofilter(0, 0, schema_rows, self._sheets[name].dim_colmax)
        self._book.close()

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the file."""
        if not self._cut:
            return []
        return [f"{self._cut:,} texts were cut to the {CELL_CHARACTERS:,} characters that a cell holds"]


def _fits(number: float | Decimal) -> bool:
    """Whether a spreadsheet keeps every digit of a number."""
    if isinstance(number, float):
        return number == number and abs(number) != float("inf")
    return len(Decimal(number).normalize().as_tuple().digits) <= _DIGITS


def _sheet_name(name: str, taken: set[str]) -> str:
    """A name that Excel takes: at most 31 characters, none of []:*?/\\, unlike the others in more than case."""
    base = re.sub(r"[\[\]:*?/\\']", "_", name)[:31] or "sheet"
    unique, count = base, 1
    while unique.lower() in taken or unique.lower() == "history":
        count += 1
        unique = f"{base[: 31 - len(str(count)) - 1]}_{count}"
    taken.add(unique.lower())
    return unique
