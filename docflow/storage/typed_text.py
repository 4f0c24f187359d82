"""Values of a record as text and back: what stands in a correction, and what a reviewer types."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from docflow.errors import UsageError
from docflow.fields import KIND_KEY, Kind, Locale, Normalised, collapse, normalise, valid_iban
from docflow.storage.arrow_types import Misfit, fit

LONGEST = 10_000
"""Characters that a reviewer may type into one value."""

_PLAIN_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TWO_WAYS = re.compile(r"-?[1-9]\d{0,2}\.\d{3}")  # 1.234: thousands for one reader, decimals for another
_FREE_TEXT = (Kind.PARTY, Kind.ADDRESS, Kind.IDENTIFIER, Kind.TEXT)


def as_text(value: Any) -> str | None:
    """A leaf as text that says exactly what it is: ISO dates, decimals without needless zeros, true and false."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


def from_text(text: str | None, to: pa.DataType) -> Any:
    """The leaf that ``as_text`` made this text of. Raises ValueError where the text is none of that type."""
    if text is None:
        return None
    if pa.types.is_boolean(to):
        if text not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text == "true"
    if pa.types.is_decimal(to):
        if not _PLAIN_NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is no plain number")
        return Decimal(text)
    if pa.types.is_integer(to):
        return int(text)
    if pa.types.is_floating(to):
        return float(text)
    if pa.types.is_timestamp(to):
        return dt.datetime.fromisoformat(text)
    if pa.types.is_date(to):
        return dt.date.fromisoformat(text)
    if pa.types.is_time(to):
        return dt.time.fromisoformat(text)
    return text


def read_typed(text: str, schema: Mapping[str, Any], to: pa.DataType, locale: Locale | None = None) -> Any:
    """What a reviewer's text means for a leaf with this schema and Arrow type.

    Nothing is guessed: a text that can be read two ways is refused. Raises UsageError.
    """
    if len(text) > LONGEST:
        raise UsageError(f"the value has {len(text):,} characters, more than {LONGEST:,}")
    if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\t\r\n" for char in text):
        raise UsageError("the value holds control characters")
    text = collapse(text)
    if not text:
        raise UsageError("the value is empty", hint="Mark it absent if nothing stands there.")
    value = _value(text, schema, to, locale)
    misfits: list[Misfit] = []
    fitted = fit(value, to, "", misfits)
    if misfits:
        raise UsageError(misfits[0].why)
    return fitted


def _value(text: str, schema: Mapping[str, Any], to: pa.DataType, locale: Locale | None) -> Any:
    kind = Kind(schema.get(KIND_KEY, Kind.TEXT))
    if pa.types.is_timestamp(to) or pa.types.is_time(to):
        try:
            return from_text(text, to)
        except ValueError as error:
            wanted = "2024-03-12 14:30" if pa.types.is_timestamp(to) else "14:30"
            raise UsageError(f"{_short(text)} is no time", hint=f"Write it as in {wanted}.") from error
    if kind is Kind.IDENTIFIER:
        code = normalise(text, kind).value
        return code if isinstance(code, str) and valid_iban(code) else text
    if kind in _FREE_TEXT:
        return text  # what a person typed stands as it is: only printed text needs its marks trimmed
    if kind in (Kind.MONEY, Kind.QUANTITY) and _PLAIN_NUMBER.fullmatch(text) and not _TWO_WAYS.fullmatch(text):
        return Decimal(text)
    choices = [str(choice) for choice in schema.get("enum", ()) if choice is not None]
    return _decided(text, kind, normalise(text, kind, locale, choices), choices)


def _decided(text: str, kind: Kind, read: Normalised, choices: list[str]) -> Any:
    if read.value is None:
        hint = f"Choices are {', '.join(choices)}." if kind is Kind.CHOICE else _HINTS.get(kind, "")
        raise UsageError(f"{_short(text)} {read.note}", hint=hint)
    if read.ambiguous:
        ways = " or ".join(as_text(value) or "" for value in (read.value, *read.alternatives))
        raise UsageError(f"{_short(text)} can be read as {ways}", hint=_HINTS.get(kind, "Write it in full."))
    return read.value


_HINTS = {
    Kind.DATE: "Write year, month and day: 2024-03-12.",
    Kind.MONEY: "Write 1234 or 1.2340.",
    Kind.QUANTITY: "Write 1234 or 1.2340.",
    Kind.CURRENCY: "Write the three letters of its code: EUR.",
    Kind.BOOLEAN: "Write yes or no.",
}


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
