"""Numbers as they stand in tables and item lines: where they are in a text and what they may be worth.

Only for plausibility (does quantity x price give the amount?) and for telling numbers from text: what a value is
worth in the end is decided where printed text is normalised, by locale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache

_MARKS = (
    r"(?:RM|R\$|US\$|[A-Z]?\$|€|£|¥|￥|₩|₹|฿|₫|zł|kr|Kč|Ft|Rs\.?|Rp\.?|EUR|USD|GBP|CHF|PLN|SEK|NOK|DKK|MYR|KRW|JPY|CNY"
    r"|INR|CZK|HUF|SGD|AUD|CAD|BRL|원|円|元)"
)
_DIGITS = r"\d{1,3}(?:[.,'’ \u00a0\u202f]\d{3})+(?:[.,]\d{1,4})?|\d+(?:[.,]\d{1,4})?|[.,]\d{2}"
_FIGURE = re.compile(
    rf"(?<![^\W\d_])(?<![\d.,/:#])(?<!\w[-/])(?P<sign>[-+−–(]\s?)?(?P<before>{_MARKS}\s{{0,2}})?(?P<inner>[-−]\s?)?(?P<digits>{_DIGITS})"
    rf"(?P<after>\s{{0,2}}(?:{_MARKS})(?![^\W\d_]))?(?P<behind>-(?![\d\w])|\))?(?P<percent>\s?%)?(?!\d)(?![.,:/-]\d)",
)
_DATE_LIKE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}:\d{2}|\d{4}年|\d{1,2}월")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number in a text: the span it takes there, with sign and currency, and the values it may have."""

    start: int
    end: int
    values: tuple[Decimal, ...]
    decimals: int
    marked: bool
    """A currency stands at it."""
    percent: bool
    text: str
    letters: bool = False
    """Letters follow without a space (a unit, a tax letter, or part of a code)."""

    @property
    def value(self) -> Decimal:
        return self.values[0]

    @property
    def is_amount(self) -> bool:
        """Written like an amount: two decimals, thousands groups or a currency."""
        return not self.percent and (self.decimals == 2 or self.marked or (self.decimals == 3 and len(self.values) > 1))

    @property
    def is_count(self) -> bool:
        """Written like a count: no decimals and no currency."""
        return not self.percent and not self.marked and self.decimals == 0 and abs(self.value) < 100_000


@cache
def figures(text: str) -> tuple[Figure, ...]:
    """The numbers of a text, from the left. Dates and times are none, nor are digits inside a code."""
    dates = [match.span() for match in _DATE_LIKE.finditer(text)]
    found = []
    for match in _FIGURE.finditer(text):
        if any(start < match.end("digits") and match.start("digits") < end for start, end in dates):
            continue
        values, decimals = _values(match["digits"])
        if not values:
            continue
        start, end = match.span()
        sign, behind = (match["sign"] or "").strip(), match["behind"] or ""
        if sign and sign != "(" and start and not text[start - 1].isspace():
            continue  # a hyphen right behind a word joins, it does not subtract
        bracketed = sign == "(" and behind == ")"
        negative = bracketed or (sign != "" and sign in "-−–") or bool(match["inner"]) or behind == "-"
        if sign == "(" and not bracketed:
            start = match.end("sign")
        if behind == ")" and not bracketed:
            end = match.start("behind")
        signed = tuple(-value if negative else value for value in values)
        marked = bool(match["before"] or match["after"])
        letters = end < len(text) and text[end].isalpha()
        found.append(Figure(start, end, signed, decimals, marked, bool(match["percent"]), text[start:end], letters))
    return tuple(found)


def _values(digits: str) -> tuple[tuple[Decimal, ...], int]:
    """What digits with separators may be worth, the likelier first, and the number of decimals of the first."""
    plain = re.sub(r"[\s'’\u00a0\u202f]", "", digits)
    separators = [(at, ch) for at, ch in enumerate(plain) if ch in ".,"]
    try:
        if not separators:
            return (Decimal(plain),), 0
        at, last = separators[-1]
        tail = len(plain) - at - 1
        whole = re.sub(r"[.,]", "", plain[:at]) or "0"
        as_decimal = Decimal(f"{whole}.{plain[at + 1 :]}")
        grouped = Decimal(re.sub(r"[.,]", "", plain))
        same = [ch for _, ch in separators if ch == last]
        if len(same) > 1:  # 1.234.567: the same mark twice can only group
            return (grouped,), 3
        if tail != 3:
            return (as_decimal,), tail
        if len(separators) == 1 and 0 < len(plain[:at]) <= 3:
            # 1.234: grouped or three decimals, nothing in the number itself tells which.
            return ((as_decimal, grouped), 3) if whole == "0" else ((grouped, as_decimal), 3)
        return (as_decimal,), 3
    except InvalidOperation:
        return (), 0


def only_figure(text: str) -> Figure | None:
    """The number that a text consists of, apart from a currency, a percent sign, brackets, a tax letter or a unit."""
    found = figures(text)
    if len(found) != 1:
        return None
    rest = text[: found[0].start] + " " + text[found[0].end :]
    letters = sum(ch.isalnum() for ch in rest)
    return found[0] if letters <= 4 and letters <= max(3, found[0].end - found[0].start) else None


def product_fits(quantity: Figure, price: Figure, amount: Figure) -> bool:
    """Whether quantity x price gives the amount, within the rounding of printed prices."""
    for q in quantity.values:
        for p in price.values:
            slack = Decimal("0.011") + abs(q) * Decimal(5).scaleb(-(min(price.decimals, 4) + 1)) * Decimal("0.02")
            for a in amount.values:
                if abs(abs(q * p) - abs(a)) <= slack and a != 0:
                    return True
    return False
