"""Amounts and other numbers as they are printed: where they stand, their value, and what stands beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from docflow.fields.currencies import currencies, mark_source, meaning
from docflow.fields.locale import Locale
from docflow.fields.text import fold, plain

MAX_DECIMALS = 6
MAX_FIGURES = 18  # figures before the decimal mark that decimal128(24, 6) holds


@dataclass(frozen=True, slots=True)
class FoundAmount:
    """A number at ``text[start:end]``, its sign and currency included; the figures alone stand at ``number``.

    ``decimals`` counts the figures printed behind the decimal mark. ``currency`` is an ISO code where a sign or code
    stands beside the number (``currency_ambiguous`` where it could be another). ``code`` is a tax letter printed behind
    ("SR", "Z"), ``unit`` a unit of quantity ("kg", "x"). ``repaired`` says that characters were read as others, or
    spaces left out.
    """

    start: int
    end: int
    value: Decimal
    number: tuple[int, int]
    decimals: int = 0
    currency: str | None = None
    currency_ambiguous: bool = False
    percent: bool = False
    unit: str | None = None
    code: str | None = None
    ambiguous: bool = False
    alternatives: tuple[Decimal, ...] = ()
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class _Reading:
    value: Decimal
    decimals: int
    other: Decimal | None = None  # the other way to read it, where nothing decides


_RUN = re.compile(r"\d+(?:[.,']\d+)*|(?<![\w.,])[.,]\d{2}(?!\d)")
_SPACED = re.compile(r"\d{1,3}(?:([ \u00a0\u2009\u202f])\d{3})(?:\1\d{3})*(?:[.,]\d{1,6})?(?!\d|[.,]\d)")
_SPLIT = re.compile(r"(\d+)(?: ([.,]) ?|([.,]) )(\d{2})(?![\w%]|[.,/:-]\d)")
_NO_CENTS = re.compile(r"[.,]-{1,2}(?![\w-])|:-(?![\w-])")
_AFTER_SIGN = re.compile(r" ?(-)(?![\w-])| ?(cr)\b")
_PERCENT = re.compile(r" ?%")
_TAX_CODE = re.compile(r" {0,2}([A-Z]{1,2}|\*)(?= {0,2}(?:[A-Z]|\*)?\s*$|\*?\)?\s*$)|([A-Z]{1,2}|\*)(?![\w-])")
_UNIT = re.compile(
    r" ?(kgs?|g|gm|gr|mg|lbs?|oz|ml|cl|ltr|l|m2|m²|m3|m³|km|cm|mm|m|kwh|kw|pcs?|pce|stk|st\.|stuck|uds?|un|szt|pz"
    r"|nos?|ea|x|hrs?|h|std|min|days?)(?![^\W_])"
)
_TIMES_BEFORE = re.compile(r"(?<![^\W_])[x×@*] ?$")
_LOOKALIKES = str.maketrans("OoQDIl|iSB", "0000111158")
_MISREAD = re.compile(r"(?<![\w.,'-])(?=[^\s.,]*\d|[^\s]*[.,][^\s]*\d)[\dOoIl|SB]{1,7}[.,][\dOo]{2}(?![\w.,])")
_GROUPED = re.compile(r"\d{1,3}(?:\d{3})+")


@lru_cache(maxsize=1)
def _currency_before() -> re.Pattern[str]:
    return re.compile(rf"(?:{mark_source()})[ \u00a0:]{{0,3}}-?[ \u00a0]?$")


@lru_cache(maxsize=1)
def _currency_after() -> re.Pattern[str]:
    return re.compile(rf"[ \u00a0]{{0,2}}({mark_source()})")


def find_amounts(text: str, locale: Locale | None = None) -> list[FoundAmount]:
    """Every number in a line of text that can be an amount, a count or a percentage, from left to right.

    Dates, times, phone numbers, versions and codes with letters are left out; plain whole numbers are not, their
    ``decimals`` and ``currency`` tell a reader how much like money they look. The locale decides what 1.234 is;
    without one it is said to be ambiguous.
    """
    if not any(char.isdigit() for char in text):
        return []
    line = plain(text)
    found: list[FoundAmount] = []
    position = 0
    for candidate in _misread(line, locale):
        found.extend(_between(line, position, candidate.start, locale))
        found.append(candidate)
        position = candidate.end
    found.extend(_between(line, position, len(line), locale))
    return found


def _between(line: str, start: int, stop: int, locale: Locale | None) -> Iterator[FoundAmount]:
    position = start
    while match := _RUN.search(line, position, stop):
        span, repaired = _whole_number(line, match, locale)
        found = _amount_at(line, span, locale, repaired)
        if found is None:
            position = match.end()
            continue
        if found.start < start:  # a sign that belongs to the number before
            found = replace(found, start=found.number[0])
        yield found
        position = start = max(found.end, span[1])


def _whole_number(line: str, match: re.Match[str], locale: Locale | None) -> tuple[tuple[int, int], bool]:
    """The span of a number whose groups or decimals stand apart, and whether spaces had to be left out for it."""
    spaced = _SPACED.match(line, match.start())
    if spaced and _groups_by_space(line, spaced, locale):
        return spaced.span(), False
    split = _SPLIT.match(line, match.start())
    if split and (split[2] or split[3] == "." or (locale is not None and locale.decimal == ",")):
        lone_mark = split[2] is not None
        if lone_mark or not line[: match.start()].strip().endswith(("NO", "No", "no", "LOT", "Lot")):
            return split.span(), True
    return match.span(), False


def _groups_by_space(line: str, spaced: re.Match[str], locale: Locale | None) -> bool:
    before = line[: spaced.start()]
    if before.rstrip()[-1:].isdigit() or spaced[0][0] == "0":
        return False
    if spaced[1] != " ":
        return True
    if locale is not None and locale.groups:
        return " " in locale.groups
    return spaced[0][-3:-2] == ","


def _amount_at(line: str, span: tuple[int, int], locale: Locale | None, repaired: bool = False) -> FoundAmount | None:
    """The number at ``span`` with what stands around it, or None where it is part of something else."""
    start, end = span
    before, after = line[max(0, start - 24) : start], line[end : end + 24]
    if before[-1:] in ".,:/-'" and before[-2:-1].isdigit() and len(before) > 1:
        return None
    if after[:1] in tuple(":/") and after[1:2].isdigit():
        return None
    currency_match = _currency_before().search(fold(before))
    before_sign = before[: currency_match.start()] if currency_match else before
    whole_start = start - len(before) + currency_match.start() if currency_match else start
    no_cents = _NO_CENTS.match(after) if "." not in line[start:end] or "," not in line[start:end] else None
    whole_end = end + (no_cents.end() if no_cents else 0)
    behind = _currency_after().match(fold(line[whole_end : whole_end + 20])) if not currency_match else None
    if behind and line[whole_end + behind.start(1) : whole_end + behind.end(1)] in ("l", "st"):
        behind = None
    if behind:
        whole_end += behind.end()
    mark = _mark(currency_match, behind)
    currency, others = meaning(mark, locale) if mark else (None, ())
    reading = read_number(line[start:end].replace(" ", "") if repaired else line[start:end], locale, currency)
    if reading is None or (no_cents and reading.decimals):
        return None
    glued = _glued(line, start, whole_end, before_sign if not currency_match else "", reading.decimals, bool(mark))
    if glued is None:
        return None
    unit, code = glued
    percent = not mark and _PERCENT.match(line, whole_end) is not None
    if percent:
        unit = code = None
    negative, whole_start, whole_end = _sign(line, whole_start, start, whole_end, reading.decimals, bool(mark))
    if reading.decimals == 0 and not mark and line[start] == "0" and end - start > 1:
        return None  # a code: amounts have no leading zeros
    return FoundAmount(
        start=whole_start,
        end=whole_end,
        value=-reading.value if negative else reading.value,
        number=span,
        decimals=reading.decimals,
        currency=currency,
        currency_ambiguous=bool(others),
        percent=percent,
        unit=unit,
        code=code,
        ambiguous=reading.other is not None,
        alternatives=() if reading.other is None else (-reading.other if negative else reading.other,),
        repaired=repaired,
    )


def _mark(before: re.Match[str] | None, behind: re.Match[str] | None) -> str | None:
    if before:
        return before[0].rstrip(" \u00a0:-")
    return behind[1] if behind else None


def _glued(
    line: str, start: int, end: int, before: str, decimals: int, marked: bool
) -> tuple[str | None, str | None] | None:
    """The unit and the tax code around a number; None where the letters around it make it part of a code."""
    money_like = marked or decimals == 2
    if before and (before[-1].isalnum() or before[-1] in "#_"):
        lone = len(before) == 1 or not before[-2].isalnum()
        if not money_like and not (lone and before[-1] in "xX×@"):
            return None
        if before[-1] in "#_":
            return None
    rest = line[end : end + 12]
    unit = _UNIT.match(fold(rest))
    code = _TAX_CODE.match(rest) if money_like else None
    if code and code[0].strip() == "CR":
        code = None
    if code and (not unit or unit[1].upper() == code[0].strip()):
        return None, (code[1] or code[2])
    if unit:
        return unit[1], None
    if _TIMES_BEFORE.search(fold(line[max(0, start - 2) : start])) and not marked and decimals == 0:
        return "x", None
    if rest[:1].isalpha() and not money_like:
        return None
    if rest[:1] == "-" and rest[1:2].isalnum() and not money_like:
        return None
    return None, None


def _sign(line: str, start: int, number_start: int, end: int, decimals: int, marked: bool) -> tuple[bool, int, int]:
    """Whether the number is negative, and its span with the sign."""
    before = line[:start]
    money_like = decimals > 0 or marked
    after = _AFTER_SIGN.match(fold(line[end : end + 6])) if money_like else None
    if line[end : end + 1] == ")" and before.endswith("(") and money_like:
        return True, start - 1, end + 1
    if "-" in line[start:number_start]:
        return True, start, end
    stripped = before.rstrip()
    if stripped.endswith("-") and stripped[-2:-1] in ("", " ", "(", ":", "="):
        gap = len(before) - len(stripped)
        if gap == 0 or (money_like and gap == 1):
            return True, len(stripped) - 1, end
    if after:
        return True, start, end + after.end()
    return False, start, end


def read_number(figures: str, locale: Locale | None, currency: str | None = None) -> _Reading | None:
    """The value of figures with marks between them, or None where they are no number.

    A single mark with three figures behind it is read as the locale, then the currency says; where neither does, it
    is taken for a thousand mark and the other reading is given too.
    """
    text = re.sub(r"[ \u00a0\u2009\u202f]", "'", figures)  # spaces group like the apostrophe does
    marks = [char for char in text if not char.isdigit()]
    if not marks:
        return _reading(text, "")
    last = marks[-1]
    head, tail = text.rsplit(last, 1)
    if last == "'":
        return _reading(head + last + tail, "")
    if marks.count(last) > 1:
        return _reading(text, "") if set(marks) <= {last, "'"} else None
    if len(marks) > 1:
        return _reading(head, tail)
    if len(tail) != 3 or not 1 <= len(head) <= 3 or (head[0] == "0"):
        return _reading(head or "0", tail)
    decimal = _decimal_mark(locale, currency)
    grouped, decimals = _reading(text, ""), _reading(head, tail)
    if decimal is not None:
        return decimals if last == decimal else grouped
    return None if grouped is None or decimals is None else replace(grouped, other=decimals.value)


def _decimal_mark(locale: Locale | None, currency: str | None) -> str | None:
    if currency is not None and currencies()[currency]["minor"] == 0:
        return ""  # no decimals: every mark groups
    if locale is not None and locale.decimal:
        return locale.decimal
    mark = currencies()[currency].get("decimal") if currency is not None else None
    return str(mark) if mark else None


def _reading(whole: str, decimals: str) -> _Reading | None:
    parts = re.split(r"[.,']", whole)
    if len(parts) > 1:
        # Groups of three; Indian documents group by two before the last three.
        inner = {len(part) for part in parts[1:-1]}
        if len(parts[-1]) != 3 or not (inner <= {3} or inner <= {2}) or not 1 <= len(parts[0]) <= 3:
            return None
        if len(set(re.sub(r"\d", "", whole))) > 1:
            return None
    figures = "".join(parts)
    if len(figures) > MAX_FIGURES or len(decimals) > MAX_DECIMALS:
        return None
    return _Reading(Decimal(f"{figures}.{decimals}" if decimals else figures), len(decimals))


def _misread(line: str, locale: Locale | None) -> Iterator[FoundAmount]:
    """Amounts in which letters stand for figures (1O.00, l2.50); only where two decimals then stand behind a mark."""
    for match in _MISREAD.finditer(line):
        if not any(char.isalpha() or char == "|" for char in match[0]):
            continue
        figures = match[0].translate(_LOOKALIKES)
        if sum(char.isdigit() for char in match[0]) * 2 < len(figures) - 1:
            continue
        mended = line[: match.start()] + figures + line[match.end() :]
        found = _amount_at(mended, match.span(), locale, repaired=True)
        if found:
            yield found
