"""Printed text -> typed value, by kind and locale. Never guesses silently: what could be read two ways is said."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from docflow.fields.amounts import FoundAmount, find_amounts, read_number
from docflow.fields.currencies import currencies, find_currency, mark_source
from docflow.fields.dates import find_dates, read_bare_date
from docflow.fields.identifiers import valid_iban
from docflow.fields.kinds import Kind
from docflow.fields.locale import Locale, neutral
from docflow.fields.text import collapse, fold, plain

Value = dt.date | Decimal | str | bool

_CLOSE = 0.8  # how alike two texts must be for one to be taken for the other
_MARGIN = 0.1  # and how much more than the next best


@dataclass(frozen=True, slots=True)
class Normalised:
    """What a printed text means. ``value`` is None when it cannot be read; ``note`` says why, in a few words.

    ``ambiguous`` says that the text could be read another way (``alternatives``) and that nothing decided.
    """

    value: Value | None
    ambiguous: bool = False
    alternatives: tuple[Value, ...] = ()
    note: str = ""


def normalise(raw: str, kind: Kind, locale: Locale | None = None, choices: Sequence[str] = ()) -> Normalised:
    """The typed value of a printed text: date, Decimal, str or bool by ``kind``. Raises nothing.

    The locale decides what 03/04/2018, 1.234 and $ mean; without one such texts come back as ambiguous.
    ``choices`` are the values that a CHOICE may have.
    """
    if kind is Kind.CHOICE:
        return _choice(raw, choices)
    return _READERS[kind](raw, locale)


def _date(raw: str, locale: Locale | None) -> Normalised:
    found = find_dates(raw, locale) or read_bare_date(raw, locale)
    if not found:
        return Normalised(None, note="is no date with day, month and year")
    days = list(dict.fromkeys(date.value for date in found))
    if len(days) > 1:
        return Normalised(days[0], True, tuple(days[1:]), "holds several dates")
    first = found[0]
    if first.ambiguous:
        return Normalised(first.value, True, first.alternatives, "day and month could be the other way round")
    return Normalised(first.value, note="read with a character repaired" if first.repaired else "")


def _money(raw: str, locale: Locale | None) -> Normalised:
    return _number(raw, locale, money=True)


def _quantity(raw: str, locale: Locale | None) -> Normalised:
    return _number(raw, locale, money=False)


_ONLY_NUMBER = re.compile(r"[\d.,' \u00a0\u2009\u202f]*\d[\d.,' \u00a0\u2009\u202f]*")


@lru_cache(maxsize=1)
def _currency_around() -> re.Pattern[str]:
    return re.compile(rf"^\s*(?:{mark_source()})\s*|\s*(?:{mark_source()})\s*$")


def _number(raw: str, locale: Locale | None, *, money: bool) -> Normalised:
    whole = _whole_number(raw, locale)
    found = [whole] if whole else find_amounts(raw, locale)
    if money:
        found = [one for one in found if not one.percent] or found
        found = [one for one in found if one.currency] or [one for one in found if one.decimals == 2] or found
    if not found:
        note = "is no number, or one too long" if any(char.isdigit() for char in raw) else "has no figures"
        return Normalised(None, note=note)
    values = list(dict.fromkeys(one.value for one in found))
    if len(values) > 1:
        return Normalised(values[0], True, tuple(values[1:]), "holds several numbers")
    one = found[0]
    if not one.ambiguous:
        return Normalised(one.value, note="read with a character repaired" if one.repaired else "")
    # Amounts rarely have three decimals, weights and lengths often do.
    first, second = (one.value, one.alternatives[0]) if money else (one.alternatives[0], one.value)
    return Normalised(first, True, (second,), "the mark could part thousands or decimals")


def _whole_number(raw: str, locale: Locale | None) -> FoundAmount | None:
    """The number that the text as a whole is, when nothing but figures, marks and spaces stand in it (1 234)."""
    line = plain(raw)
    bare = fold(line).strip()
    currency = None
    match = _currency_around().search(bare)
    if match:
        marks = find_currency(raw, locale)
        currency = marks[0].value if marks else None
        bare = _currency_around().sub("", bare)
    negative = bare.startswith("-") or bare.endswith("-") or (bare.startswith("(") and bare.endswith(")"))
    figures = bare.strip("-() ")
    if " " not in figures or not _ONLY_NUMBER.fullmatch(figures) or re.search(r"[.,'] | [.,']", figures):
        return None
    reading = read_number(figures, locale, currency)
    if reading is None:
        return None
    value = -reading.value if negative else reading.value
    return FoundAmount(0, len(raw), value, (0, len(raw)), reading.decimals, currency)


def _currency(raw: str, locale: Locale | None) -> Normalised:
    code = raw.strip().upper()
    if code in currencies():
        return Normalised(code)
    found = find_currency(raw, locale)
    if not found:
        return Normalised(None, note="is no currency that is known")
    values = list(dict.fromkeys(one.value for one in found if not one.ambiguous))
    if len(values) == 1:
        return Normalised(values[0])
    if len(values) > 1:
        return Normalised(values[0], True, tuple(values[1:]), "names several currencies")
    return Normalised(found[0].value, True, found[0].alternatives, "the sign is used for several currencies")


_TICKED = re.compile(r"[☑☒✓✔✅✗✘🗹🗸⊠⊗●◉■]|[\[(]\s*[xX✓✔*v]\s*[\])]")
_EMPTY = re.compile(r"[☐□▢○◯❏❑]|\[[\s_]{0,3}\]|\(\s{0,3}\)")


def _boolean(raw: str, locale: Locale | None) -> Normalised:
    ticked, empty = _TICKED.search(raw), _EMPTY.search(raw)
    if ticked:
        # "[x] no [ ] yes": what stands behind the tick says what was ticked.
        label = _EMPTY.split(_TICKED.split(raw, maxsplit=1)[1], maxsplit=1)[0]
        said = _said(label, locale)
        return Normalised(said if said is not None else True)
    if empty:
        return Normalised(False)
    text = raw.strip(" .:;,!\"'").casefold()
    if text in ("1", "x", "√", "t"):
        return Normalised(True)
    if text in ("0", "f"):
        return Normalised(False)
    said = _said(raw, locale)
    return Normalised(said) if said is not None else Normalised(None, note="is neither yes nor no")


def _said(text: str, locale: Locale | None) -> bool | None:
    """What the words for yes and no in a text say; None where there is neither, or both."""
    folded = fold(text).strip()
    for known in (locale, neutral()):
        if known is None:
            continue
        yes, no = (known.pattern(role) for role in ("yes", "no"))
        said = {answer for answer, words in ((True, yes), (False, no)) if words and words.match(folded)}
        if not said:
            said = {answer for answer, words in ((True, yes), (False, no)) if words and words.search(folded)}
        if len(said) == 1:
            both = yes is not None and no is not None and yes.search(folded) and no.search(folded)
            return None if both else said.pop()
    return None


def _choice(raw: str, choices: Sequence[str]) -> Normalised:
    wanted = collapse(fold(raw)).strip(" .:;,\"'")
    if not wanted or not choices:
        return Normalised(None, note="is none of the choices")
    folded = {choice: collapse(fold(choice).replace("_", " ")) for choice in choices}
    same = [choice for choice, text in folded.items() if wanted in (text, fold(choice))]
    if len(same) == 1:
        return Normalised(same[0])
    if raw in same:
        return Normalised(raw)
    inside = [choice for choice, text in folded.items() if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", wanted)]
    if len(inside) == 1:
        return Normalised(inside[0])
    likeness = sorted(
        ((difflib.SequenceMatcher(None, wanted[:200], text).ratio(), choice) for choice, text in folded.items()),
        reverse=True,
    )
    best = likeness[0]
    if best[0] < _CLOSE:
        return Normalised(None, note="is none of the choices")
    rivals = tuple(choice for ratio, choice in likeness[1:] if ratio > best[0] - _MARGIN)
    return Normalised(best[1], bool(rivals), rivals, "lies between several choices" if rivals else "")


def _identifier(raw: str, locale: Locale | None) -> Normalised:
    text = collapse(raw).strip(" :;,|\"'*_~=.-")
    if not any(char.isalnum() for char in text):
        return Normalised(None, note="has neither letters nor figures")
    iban = re.sub(r"^IBAN[ :.]*", "", text, flags=re.IGNORECASE)
    if valid_iban(iban):
        return Normalised(iban.replace(" ", "").upper())
    return Normalised(text)


def _text(raw: str, locale: Locale | None) -> Normalised:
    return _trimmed(collapse(raw))


def _address(raw: str, locale: Locale | None) -> Normalised:
    joined = ", ".join(line.strip(" ,;") for line in raw.splitlines() if line.strip(" ,;"))
    return _trimmed(re.sub(r"(?:\s*,){2,}", ",", collapse(joined)))


def _trimmed(text: str) -> Normalised:
    text = text.lstrip(' ,;:|*_~="-/\\)').rstrip(' ,;:|*_~="-/\\(')
    if not any(char.isalnum() for char in text):
        return Normalised(None, note="has neither letters nor figures")
    return Normalised(text)


_READERS: dict[Kind, Callable[[str, Locale | None], Normalised]] = {
    Kind.DATE: _date,
    Kind.MONEY: _money,
    Kind.QUANTITY: _quantity,
    Kind.CURRENCY: _currency,
    Kind.BOOLEAN: _boolean,
    Kind.IDENTIFIER: _identifier,
    Kind.ADDRESS: _address,
    Kind.PARTY: _text,
    Kind.TEXT: _text,
}
