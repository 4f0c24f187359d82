"""Dates as they are printed: where they stand in a text, which day they mean, and whether they could mean another."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from docflow.fields.locale import ENGLISH, DateOrder, Locale, all_months, language_files
from docflow.fields.text import fold, plain

FUTURE_YEARS = 10  # a two-digit year further ahead belongs to the century before: births are printed so, plans are not


@dataclass(frozen=True, slots=True)
class FoundDate:
    """A date at ``text[start:end]``. ``alternatives`` are the other days it could mean when it is ambiguous.

    ``repaired`` says that characters had to be read as others (O for 0); ``bare`` that the figures stand without
    any mark between them (20181225), so that they may be no date at all.
    """

    start: int
    end: int
    value: dt.date
    ambiguous: bool = False
    alternatives: tuple[dt.date, ...] = ()
    repaired: bool = False
    bare: bool = False


# A year of four figures, or of two; a time may be glued on (25/12/201814:03), which a colon two figures on betrays.
_LONG_YEAR = r"(?:19|20)\d\d(?:(?!\d|:\d\d(?!:))|(?=\d{1,2}:\d\d))"
_SHORT_YEAR = r"\d\d(?:(?![\d:]|[.,]\d)|(?=:\D|:$)|(?=\d\d:\d\d))"
_YEAR = rf"(?:{_LONG_YEAR}|{_SHORT_YEAR})"

_DAY_MONTH_YEAR = re.compile(rf"(?<!\d)(\d{{1,2}})( ?[-./,] ?)(\d{{1,2}})( ?[-./,] ?)({_YEAR})")
_YEAR_MONTH_DAY = re.compile(
    r"(?<!\d)((?:1[6-9]|20|21)\d\d) ?([-./]) ?(\d{1,2}) ?\2 ?(\d{1,2})(?:(?!\d)|(?<=\d\d)(?=\d\d:\d\d))"
)
_BARE = re.compile(
    r"(?<![\w.,/-])((?:19|20)\d\d)(0[1-9]|1[0-2])([0-3]\d)"
    r"(?=t\d{4}|[_ -]|/\d{4,6}(?!\d)|[^\w.,/]|[.,](?!\d)|$)"
)
_LINK = r"[\s.,/'\-]{0,3}(?:(?:de|del|di|of|den|the) |d')?"
_DAY_WORD_YEAR = re.compile(
    rf"(?<![\doil|])(\d{{1,2}})(?:(?:st|nd|rd|th|er|e|a|o)(?![a-z])|[.ºª°])?{_LINK}([a-zß]{{3,12}}){_LINK}({_YEAR}|1[6-8]\d\d(?!\d))"
)
_WORD_DAY_YEAR = re.compile(
    rf"(?<![a-zß])([a-zß]{{3,12}})[\s.\-]{{0,2}}(\d{{1,2}})(?:st|nd|rd|th)?(?:\.? ?[,/'\-] ?'?|\. ?| )({_YEAR})"
)
_YEAR_WORD_DAY = re.compile(r"(?<!\d)((?:19|20)\d\d)[\s.,/\-]{0,2}([a-zß]{3,12})[\s.,/\-]{0,2}(\d{1,2})(?!\d)")
_CJK = re.compile(
    r"(?:(令和|平成|昭和|民國|民国)\s*)?(\d{1,4}|元)\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일号號]?"
)
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "民國": 1911, "民国": 1911}  # the year before the first of the era
_ERA_LETTER = re.compile(r"(?<![A-Za-z])([RHS])\.?(\d{1,2})[./](\d{1,2})[./](\d{1,2})(?![\d./])")
_ERA_OF = {"R": "令和", "H": "平成", "S": "昭和"}
_SPACED = re.compile(r"\s*(\d{1,2}) (\d{1,2}) ((?:19|20)\d\d)\s*")
_GLUED_WORD = re.compile(r"[^\W\d_]{4}$")  # a label whose space was lost; fewer letters belong to a code
_VERSION = re.compile(r"(?:\bv|\bver|version|\brev|release|firmware|\bip)[\s.:]*$")
_LOOKALIKES = str.maketrans("OoQDIl|i!SsBZz", "00001111155822")
_MISREAD = re.compile(
    r"(?<![^\W_])(?=[^\s]{0,9}\d)([\dOoQDIl|i!SsBZz]{1,2})([-./])([\dOoQDIl|i!SsBZz]{1,2})\2([\dOoQDIl|i!SsBZz]{4}|[\dOoQDIl|i!SsBZz]{2})(?![^\W_])"
)
_MISREAD_YEAR_FIRST = re.compile(r"(?<![^\W_])([2Zz][\dOo]{3})([-./])([\dOoIl|]{1,2})\2([\dOoIl|]{1,2})(?![^\W_])")
_MISREAD_SLASH = re.compile(r"(?<!\d)([0-3]\d)([/1lI|])([01]\d)([/1lI|])((?:19|20)\d\d)(?!\d)")
_MISREAD_WORD = re.compile(
    rf"(?<![a-z\d])(?=\d|[oil|]\d)([\doil|]{{1,2}})([\s.,/\-]{{1,2}})([a-z015|8]{{3,9}})[\s.,/\-]{{1,2}}({_LONG_YEAR})"
)


def find_dates(text: str, locale: Locale | None = None) -> list[FoundDate]:
    """Every date in a line of text, from left to right, without overlaps.

    The locale decides between 3 April and 4 March; without one, day first is taken and said to be ambiguous.
    """
    if not _could_hold_a_date(text):
        return []
    line = plain(text)
    order = locale.date_order if locale else None
    found: list[FoundDate] = []
    for candidate in _candidates(line, locale, order):
        if not any(candidate.start < other.end and other.start < candidate.end for other in found):
            found.append(candidate)
    if not found:
        found = list(_repaired(line, order))[:1]
    return sorted(found, key=lambda date: date.start)


def _could_hold_a_date(text: str) -> bool:
    digits = 0
    for char in text:
        if char.isdigit():
            digits += 1
            if digits == 3:
                return True
    return False


def _candidates(line: str, locale: Locale | None, order: DateOrder | None) -> Iterator[FoundDate]:
    """Dates by each way of writing them, the surest way first."""
    if "年" in line or "년" in line:
        yield from _with_signs(line)
    if locale is not None and locale.country == "JP":
        yield from _era_letters(line)
    yield from _year_first(line)
    yield from _numeric(line, order)
    folded = fold(line)
    if any(char.isalpha() for char in folded):
        yield from _with_month_names(folded, locale)
    yield from _bare(folded)


def _day(year: int, month: int, day: int) -> dt.date | None:
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None


def _year(figures: str) -> int:
    if len(figures) == 4:
        return int(figures)
    year = 2000 + int(figures)
    return year - 100 if year > dt.date.today().year + FUTURE_YEARS else year


def _with_signs(line: str) -> Iterator[FoundDate]:
    for match in _CJK.finditer(line):
        era, figures, month, day = match.groups()
        if era:
            year = _ERAS[era] + (1 if figures == "元" else int(figures))
        elif figures == "元":
            continue
        else:
            year = int(figures) if len(figures) > 2 else _year(figures.zfill(2))
        value = _day(year, int(month), int(day))
        if value:
            yield FoundDate(match.start(), match.end(), value)


def _era_letters(line: str) -> Iterator[FoundDate]:
    for match in _ERA_LETTER.finditer(line):
        value = _day(_ERAS[_ERA_OF[match[1]]] + int(match[2]), int(match[3]), int(match[4]))
        if value:
            yield FoundDate(match.start(), match.end(), value)


def _year_first(line: str) -> Iterator[FoundDate]:
    for match in _YEAR_MONTH_DAY.finditer(line):
        value = _day(int(match[1]), int(match[3]), int(match[4]))
        glued = match.start() > 0 and line[match.start() - 1] in "./"
        if value and not glued:
            yield FoundDate(match.start(), match.end(), value)


def _numeric(line: str, order: DateOrder | None) -> Iterator[FoundDate]:
    position, last_end = 0, -1
    while match := _DAY_MONTH_YEAR.search(line, position):
        position = match.start() + 1
        first, mark, second, other_mark, figures = match.groups()
        if not _stands_alone(line, match, last_end) or not _marks_fit(mark, other_mark, figures):
            continue
        mended = mark.strip() != other_mark.strip() and (mark, other_mark) != ("/", "-")
        found = _read_numeric(match.span(), int(first), int(second), figures, order, mended)
        if found:
            yield found
            position = last_end = match.end()


def _stands_alone(line: str, match: re.Match[str], last_end: int) -> bool:
    """Whether the figures are no part of a longer number, a version or an address of a machine."""
    start, end = match.span()
    before = line[max(0, start - 12) : start]
    if start > 1 and before[-1] in "-./,:" and before[-2].isdigit() and start - 1 != last_end:
        return False
    if before[-1:].isalpha() and not _GLUED_WORD.search(before):
        return False
    if len(match[5]) == 2 and line[end : end + 1] in ("-", ".", "/") and line[end + 1 : end + 2].isdigit():
        range_goes_on = _DAY_MONTH_YEAR.match(line, end + 1) is not None and line[end] == "-"
        return range_goes_on and match[2].strip() != "-"
    return not _VERSION.search(fold(before))


def _marks_fit(mark: str, other_mark: str, figures: str) -> bool:
    first, second = mark.strip(), other_mark.strip()
    if first == second:
        spaced = mark != first or other_mark != second
        return first != "," and not (spaced and len(figures) == 2 and first != "/")
    return len(figures) == 4 and not {first, second} <= {",", "-"}


def _read_numeric(
    span: tuple[int, int], first: int, second: int, figures: str, order: DateOrder | None, repaired: bool = False
) -> FoundDate | None:
    year = _year(figures)
    day_first, month_first = _day(year, second, first), _day(year, first, second)
    if len(figures) == 2 and first > 9 and (order == "ymd" or first > 31):
        year_first = _day(_year(f"{first:02}"), second, int(figures))
        if year_first:
            return FoundDate(*span, year_first, repaired=repaired)
    if day_first and month_first and day_first != month_first:
        if order not in ("dmy", "mdy"):
            return FoundDate(*span, day_first, ambiguous=True, alternatives=(month_first,), repaired=repaired)
        return FoundDate(*span, month_first if order == "mdy" else day_first, repaired=repaired)
    value = day_first or month_first
    return FoundDate(*span, value, repaired=repaired) if value else None


def _with_month_names(folded: str, locale: Locale | None) -> Iterator[FoundDate]:
    months = all_months()
    for pattern, groups in ((_DAY_WORD_YEAR, (3, 2, 1)), (_WORD_DAY_YEAR, (3, 1, 2)), (_YEAR_WORD_DAY, (1, 2, 3))):
        for match in pattern.finditer(folded):
            figures, name, day = (match[group] for group in groups)
            month = months.get(name)
            if month is None or (len(figures) == 2 and not _sure_name(name, locale)):
                continue
            value = _day(_year(figures), month, int(day))
            if value:
                yield FoundDate(match.start(), match.end(), value)


def _sure_name(name: str, locale: Locale | None) -> bool:
    """Whether a month's name is more than a common short word of another language ("set", "out", "mac")."""
    if len(name) > 3 or (locale is not None and name in locale.month_names):
        return True
    return any(name == fold(short) for names in language_files()[ENGLISH]["months"] for short in names)


def _bare(folded: str) -> Iterator[FoundDate]:
    for match in _BARE.finditer(folded):
        value = _day(int(match[1]), int(match[2]), int(match[3]))
        if value:
            yield FoundDate(match.start(), match.end(), value, bare=True)
    spaced = _SPACED.fullmatch(folded)
    if spaced:
        day, month, year = (int(part) for part in spaced.groups())
        value = _day(year, month, day)
        if value:
            yield FoundDate(spaced.start(1), spaced.end(3), value, bare=True)


_FIGURES = re.compile(r"\s*(\d\d)(\d\d)((?:19|20)\d\d)\s*")


def read_bare_date(text: str, locale: Locale | None = None) -> list[FoundDate]:
    """The date that a text of nothing but eight figures with the year last is (25122018), or an empty list."""
    match = _FIGURES.fullmatch(plain(text))
    if not match:
        return []
    span = match.start(1), match.end(3)
    found = _read_numeric(span, int(match[1]), int(match[2]), match[3], locale.date_order if locale else None)
    return [found] if found else []


def _repaired(line: str, order: DateOrder | None) -> Iterator[FoundDate]:
    """Dates of which a character was misread; only where the figures then make a day that exists."""
    for match in _MISREAD.finditer(line):
        printed = match[1] + match[3] + match[4]
        if printed.isdigit() or sum(char.isdigit() for char in printed) * 2 < len(printed):
            continue
        first, second, figures = (match[group].translate(_LOOKALIKES) for group in (1, 3, 4))
        if len(figures) == 4 and figures[:2] not in ("19", "20"):
            continue
        found = _read_numeric(match.span(), int(first), int(second), figures, order, repaired=True)
        if found:
            yield found
    for match in _MISREAD_SLASH.finditer(line):
        if "/" in match[2] + match[4]:
            found = _read_numeric(match.span(), int(match[1]), int(match[3]), match[5], order, repaired=True)
            if found:
                yield found
    for match in _MISREAD_YEAR_FIRST.finditer(line):
        year, number, day = (int(match[group].translate(_LOOKALIKES)) for group in (1, 3, 4))
        value = _day(year, number, day)
        if value and year < 2100:
            yield FoundDate(match.start(), match.end(), value, repaired=True)
    for match in _MISREAD_WORD.finditer(fold(line)):
        month = _misread_month(match[3])
        value = _day(_year(match[4]), month, int(match[1].translate(_LOOKALIKES))) if month else None
        if value:
            yield FoundDate(match.start(), match.end(), value, repaired=True)


def _misread_month(name: str) -> int | None:
    months = all_months()
    for ones in "il":
        month = months.get(name.translate(str.maketrans("01|58", f"o{ones}{ones}sb")))
        if month:
            return month
    return None
