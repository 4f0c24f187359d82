"""Whether two values say the same, by the kind of their field, and how like they are where they do not."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Hashable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from docflow.fields import Kind, Locale, normalise

_NUMBERS = (Kind.MONEY, Kind.QUANTITY)


def squashed(text: object) -> str:
    """Letters and digits of a text, case folded: how it was spaced and punctuated does not count.

    A text without any (a tick, a dash) is itself, white space aside.
    """
    plain = unicodedata.normalize("NFKC", str(text)).casefold()
    return "".join(char for char in plain if char.isalnum()) or re.sub(r"\s+", "", plain)


def meaning(kind: Kind, value: Any) -> Hashable:
    """What a typed value says, as something to compare: two values of one kind are the same when this is equal.

    The same day; the same number; the same letters and digits, case folded. None for null and for blank text.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, dt.datetime):
        return value.date() if kind is Kind.DATE else value
    if isinstance(value, dt.date):
        return value
    if kind in _NUMBERS or isinstance(value, int | float | Decimal):
        number = _number(value)
        if number is not None:
            return number
    return squashed(value) or None


def same(kind: Kind, true: Any, got: Any) -> bool:
    """Whether a value says what the truth says; two nulls are the same."""
    return meaning(kind, true) == meaning(kind, got)


def likeness(true: Any, got: Any) -> float:
    """Edit similarity of two values as text, case folded, 0 to 1. A null is like a null and like nothing else."""
    if true is None or got is None:
        return float(true is got)
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_similarity(as_text(true).casefold(), as_text(got).casefold()))


def as_text(value: Any) -> str:
    """A typed value as text: ISO dates, plain decimals without trailing zeros, text as one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return re.sub(r"\s+", " ", str(value)).strip()


class Unreadable(Exception):
    """A true value that is not of its field's kind."""


def read_true(kind: Kind, value: Any, locale: Locale | None, choices: Sequence[str] = ()) -> Any:
    """A value of a truth file as its field's type; blank text is null.

    JSON's own forms come first (ISO dates, plain numbers, true and false); other text is read as it would be read
    on a page, by ``locale``. Raises Unreadable.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, dict | list):
        raise Unreadable("is no single value")
    if kind is Kind.DATE:
        return _true_date(value, locale)
    if kind in _NUMBERS:
        number = _number(value)
        return number if number is not None else _normalised(kind, value, locale)
    if kind is Kind.BOOLEAN:
        return value if isinstance(value, bool) else _normalised(kind, value, locale)
    if kind is Kind.CURRENCY:
        return _normalised(kind, value, locale)
    if kind is Kind.CHOICE and choices:
        return next((choice for choice in choices if squashed(choice) == squashed(value)), str(value))
    return as_text(value)


def _true_date(value: Any, locale: Locale | None) -> dt.date:
    if isinstance(value, dt.date):
        return value.date() if isinstance(value, dt.datetime) else value
    if isinstance(value, str):
        try:
            return dt.datetime.fromisoformat(value.strip()).date()
        except ValueError:
            pass
    day = _normalised(Kind.DATE, value, locale)
    assert isinstance(day, dt.date)
    return day


def _normalised(kind: Kind, value: Any, locale: Locale | None) -> Any:
    read = normalise(str(value), kind, locale)
    if read.value is None:
        raise Unreadable(read.note or f"is no {kind}")
    return read.value


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
