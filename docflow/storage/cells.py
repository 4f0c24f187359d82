"""Typed values as other programs take them: JSON, CSV cells that no spreadsheet runs as a formula."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from typing import Any

_NO_FORMULA = re.compile(r"[+-][\d\s().,'/-]*")


def json_value(value: object) -> Any:
    """A typed value as JSON has it: days as ISO 8601, amounts as numbers.

    An amount with more digits than a JSON reader's floating point keeps is given as text, so that it stays exact.
    """
    if isinstance(value, Decimal):
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)
    if isinstance(value, dt.date | dt.datetime | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def could_be_formula(text: str) -> bool:
    """Whether a spreadsheet might run a text; +41 44 123 45 67 and -12.50 are left alone."""
    return text[:1] in tuple("=+-@\t\r") and not _NO_FORMULA.fullmatch(text)


def csv_value(value: Any) -> Any:
    """A typed value as a cell of a CSV file; text that could be a formula gets an apostrophe in front."""
    if isinstance(value, list | dict):
        return json.dumps(value, default=json_value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, str) and could_be_formula(value):
        return f"'{value}"
    return value
