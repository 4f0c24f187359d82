"""Amounts and other numbers as they are printed: where they stand, their value, and what stands beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from docflow.fields.currencies import currencies, mark_at_end, mark_at_start, meaning
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
_NO_CENTS = re.compile(r"[.,]-{1,2}(?![\w-])|[:/]-(?![\w-])")  # 12,- and 12.-- and 99:- and 500/-
_AFTER_SIGN = re.compile(r" ?(-)(?![\w-])| ?(cr)\b")
_PERCENT = re.compile(r" ?%")
_TAX_CODE = re.compile(r" {0,2}([A-Z]{1,2}|\*)(?!\w)(?= {0,2}(?:[A-Z]|\*)?\s*$|\*?\)?\s*$)|([A-Z]{1,2}|\*)(?![\w-])")
_UNIT = re.compile(
    r" ?(kgs?|g|gm|gr|mg|lbs?|oz|ml|cl|ltr|l|m2|m²|m3|m³|km|cm|mm|m|kwh|kw|pcs?|pce|stk|st\.|stuck|uds?|un|szt|pz"
    r"|nos?|ea|hrs?|h|std|min|days?)(?![^\W_])"
)
_TIMES = re.compile(r" ?[x×@*](?= ?$| |[^\w\s]|\d+[.,]\d{2}(?!\d))")
_TIMES_BEFORE = re.compile(r"(?<![^\W_])[x×@*] ?$")
_LOOKALIKES = str.maketrans("OoQDIl|iSB", "0000111158")
_MISREAD = re.compile(r"(?<![\w.,'-])(?=[^\s]{0,9}\d)[\dOoIl|SB]{1,7}[.,][\dOo]{2}(?![\w.,])")
_GROUPED = re.compile(r"\d{1,3}(?:\d{3})+")


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
        found = _amount_at(line, span, locale, repaired, floor=start)
        if found is None:
            position = match.end()
            continue
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


def _amount_at(
    line: str, span: tuple[int, int], locale: Locale | None, repaired: bool = False, floor: int = 0
) -> FoundAmount | None:
    """The number at ``span`` with what stands around it, or None where it is part of something else.

    What stands before ``floor`` belongs to another number.
    """
    start, end = span
    if start > 1 and line[start - 1] in ".,:/-'" and line[start - 2].isdigit():
        return None
    if line[end : end + 1] in (":", "/") and line[end + 1 : end + 2].isdigit():
        return None
    before = line[max(floor, start - 24) : start]
    mark_before = mark_at_end(fold(before))
    whole_start = start - len(before) + mark_before[0] if mark_before else start
    no_cents = _NO_CENTS.match(line, end)
    whole_end = no_cents.end() if no_cents else end
    mark_behind = mark_at_start(fold(line[whole_end : whole_end + 8]))
    currency, others = _currency_of([mark[1] for mark in (mark_before, mark_behind) if mark], locale)
    if mark_behind:
        whole_end += mark_behind[0]
    marked = currency is not None
    reading = read_number(line[start:end].replace(" ", "") if repaired else line[start:end], locale, currency)
    if reading is None or (no_cents and reading.decimals and no_cents[0] != "/-"):
        return None
    if reading.decimals == 0 and not marked and line[start] == "0" and end - start > 1:
        return None  # a code: amounts have no leading zeros
    beside = _beside(line, start, whole_end, "" if mark_before else before, reading.decimals, marked)
    if beside is None:
        return None
    unit, code = beside
    percent = not marked and _PERCENT.match(line, whole_end) is not None
    money_like = reading.decimals > 0 or marked
    negative, whole_start, whole_end = _sign(
        line, whole_start, start, whole_end, money_like, _has_cents(currency or (locale.currency if locale else None))
    )
    return FoundAmount(
        start=max(whole_start, floor),
        end=whole_end,
        value=-reading.value if negative else reading.value,
        number=span,
        decimals=reading.decimals,
        currency=currency,
        currency_ambiguous=bool(others),
        percent=percent,
        unit=None if percent else unit,
        code=None if percent else code,
        ambiguous=reading.other is not None,
        alternatives=() if reading.other is None else (-reading.other if negative else reading.other,),
        repaired=repaired,
    )


def _has_cents(currency: str | None) -> bool:
    return not currency or bool(currencies()[currency]["minor"])


def _currency_of(marks: list[str], locale: Locale | None) -> tuple[str | None, tuple[str, ...]]:
    """The currency that the signs around a number mean, and what else they could: the clearer of the two counts."""
    meanings = [meaning(mark, locale) for mark in marks]
    return min(meanings, key=lambda one: len(one[1]), default=(None, ()))


def _beside(
    line: str, start: int, end: int, before: str, decimals: int, marked: bool
) -> tuple[str | None, str | None] | None:
    """The unit and the tax code around a number; None where the letters around it make it part of a code."""
    money_like = marked or decimals == 2
    if before and (before[-1].isalnum() or before[-1] in "#_"):
        lone = len(before) == 1 or not before[-2].isalnum()
        if before[-1] in "#_" or not (money_like or (lone and before[-1] in "xX×")):
            return None
    rest = line[end : end + 12]
    if _TIMES.match(fold(rest)):
        return "x", None
    unit = _UNIT.match(fold(rest))
    code = _TAX_CODE.match(rest) if money_like else None
    if code and code[0].strip() != "CR" and (not unit or unit[1].upper() == code[0].strip()):
        return None, (code[1] or code[2])
    if unit:
        return unit[1], None
    if not money_like and (rest[:1].isalpha() or (rest[:1] == "-" and rest[1:2].isalnum())):
        return None
    if decimals == 0 and not marked and _TIMES_BEFORE.search(fold(line[max(0, start - 2) : start])):
        return "x", None
    return None, None


def _sign(line: str, start: int, number_start: int, end: int, money_like: bool, cents: bool) -> tuple[bool, int, int]:
    """Whether the number is negative, and its span with the sign.

    Where a currency has no ``cents`` a dash behind the amount ends it (1,200-) and is no sign.
    """
    between, before = line[start:number_start], line[max(0, start - 8) : start]
    if money_like and line[end : end + 1] == ")" and ("(" in between or before.endswith("(")):
        return True, start - (0 if "(" in between else 1), end + 1
    if "-" in between:
        return True, start, end
    stripped = before.rstrip()
    if stripped.endswith("-") and stripped[-2:-1] in ("", " ", "(", ":", "="):
        gap = len(before) - len(stripped)
        if gap == 0 or (money_like and gap == 1):
            return True, start - gap - 1, end
    after = _AFTER_SIGN.match(fold(line[end : end + 6])) if money_like else None
    if after and (cents or not after[1]):
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
    grouped, decimals = _reading(text, ""), _reading(head, tail)
    if grouped is None or decimals is None:
        return None
    known = currencies()[currency] if currency is not None else {"minor": 2}
    if known["minor"] == 0:
        return grouped
    if locale is not None and locale.decimal:
        return decimals if last == locale.decimal else grouped
    if "decimal" in known and last != known["decimal"]:
        return grouped  # $ 1,234: every country that uses the currency groups so
    return replace(grouped, other=decimals.value)


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
    if len(decimals) > MAX_DECIMALS:
        decimals = decimals[:MAX_DECIMALS] + decimals[MAX_DECIMALS:].rstrip("0")
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
