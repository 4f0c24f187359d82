"""Currencies: their signs and codes in a text, and which one a sign means in a locale."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from docflow.fields.locale import Locale
from docflow.fields.text import fold, plain

_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class FoundCurrency:
    """A currency sign, code or name at ``text[start:end]``; ``value`` is an ISO 4217 code.

    A sign of several currencies ($, kr, ¥) is ambiguous where the locale does not use it; ``alternatives`` are the
    others.
    """

    start: int
    end: int
    value: str
    ambiguous: bool = False
    alternatives: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def currencies() -> Mapping[str, dict[str, Any]]:
    """What is known of each currency, by ISO code: ``signs``, ``names``, ``minor`` figures, ``decimal`` mark."""
    file = resources.files("docflow.fields.locales") / "currencies.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def owners() -> Mapping[str, tuple[str, ...]]:
    """The currencies that each folded sign, code or name may mean, the likeliest first."""
    table: dict[str, list[str]] = {}
    for code, data in currencies().items():
        for mark in (code, *data["signs"], *data.get("names", ())):
            table.setdefault(_key(mark), []).append(code)
    return {mark: tuple(dict.fromkeys(codes)) for mark, codes in table.items()}


def _key(mark: str) -> str:
    return fold(mark).replace("\\", "¥")


def _edged(mark: str) -> str:
    body = r"[\s]{1,2}".join(re.escape(part) for part in mark.split())
    before = r"(?<![^\W\d_])" if mark[0].isalpha() and mark[0] < "\u1100" else ""
    after = r"(?![^\W\d_])" if mark[-1].isalpha() and mark[-1] < "\u1100" else ""
    return before + body + after


@lru_cache(maxsize=1)
def mark_source() -> str:
    """A regular expression, as text, for any sign or code on folded text, the longest first."""
    return "|".join(_edged(mark) for mark in sorted(_signs(), key=lambda mark: (-len(mark), mark)))


def _signs() -> set[str]:
    # Signs made of marks alone (":-") say something only behind an amount, where the amounts' reader looks.
    printed = {mark for data in currencies().values() for mark in data["signs"] if mark[0] not in ":,"}
    return {_key(mark) for mark in printed} | {code.lower() for code in currencies()}


@lru_cache(maxsize=1)
def _marks() -> tuple[frozenset[str], int]:
    """Every folded sign and code, and the length of the longest."""
    signs = frozenset(_signs())
    return signs, max(map(len, signs))


def mark_at_end(folded: str) -> tuple[int, str] | None:
    """The sign or code with which a folded text ends, a little punctuation after it aside: (start, sign)."""
    end = len(folded)
    for dropped in range(4):
        found = _mark_up_to(folded, end - dropped)
        if found:
            return found
        if folded[end - dropped - 1 : end - dropped] not in (" ", "\u00a0", ":", ".", "-", "("):
            return None
    return None


def _mark_up_to(folded: str, end: int) -> tuple[int, str] | None:
    signs, longest = _marks()
    for length in range(min(longest, end), 0, -1):
        mark = folded[end - length : end]
        if mark in signs:
            start = end - length
            inside_word = mark[0].isalpha() and start > 0 and folded[start - 1].isalpha() and mark[0] < "\u1100"
            return None if inside_word else (start, mark)
    return None


def mark_at_start(folded: str) -> tuple[int, str] | None:
    """The sign or code with which a folded text begins, up to two spaces before it aside: (end, sign).

    A sign that figures follow at once belongs to those.
    """
    start = len(folded) - len(folded.lstrip(" \u00a0"))
    if start > 2 or start == len(folded):
        return None
    signs, longest = _marks()
    for end in range(min(start + longest, len(folded)), start, -1):
        mark = folded[start:end]
        if mark in signs:
            behind = folded[end : end + 1]
            inside_word = mark[-1].isalpha() and behind.isalpha() and mark[-1] < "\u1100"
            return None if inside_word or behind.isdigit() else (end, mark)
    return None


@lru_cache(maxsize=1)
def _anywhere() -> re.Pattern[str]:
    names = {_key(name) for data in currencies().values() for name in data.get("names", ())}
    marks = sorted(_signs() | names, key=lambda mark: (-len(mark), mark))
    return re.compile("|".join(_edged(mark) for mark in marks))


@lru_cache(maxsize=1)
def _beginnings() -> tuple[frozenset[str], frozenset[str]]:
    """The signs that are no words, and the first words of all others: a line without any of them has no currency."""
    words = [_WORD.match(mark) for mark in owners()]
    latin = {word[0] for word in words if word and word[0] < "\u1100"}
    return frozenset(mark[0] for mark in owners() if not mark[0].isascii() or not mark[0].isalpha()), frozenset(latin)


def meaning(mark: str, locale: Locale | None) -> tuple[str, tuple[str, ...]]:
    """The currency that a sign or code means, and the others it could mean where the locale does not decide.

    Raises KeyError for a text that is no known sign, code or name.
    """
    codes = owners()[_key(mark)]
    if locale is None or not locale.currency:
        return codes[0], codes[1:]
    if locale.currency in codes or _key(mark) in {_key(sign) for sign in locale.signs}:
        return locale.currency, ()
    return codes[0], codes[1:]


def find_currency(text: str, locale: Locale | None = None) -> list[FoundCurrency]:
    """Every currency sign, code and name in a line of text, from left to right."""
    found: list[FoundCurrency] = []
    folded = fold(plain(text))
    letters, first_words = _beginnings()
    if letters.isdisjoint(folded) and first_words.isdisjoint(_WORD.findall(folded)):
        return found
    for match in _anywhere().finditer(folded):
        printed = text[match.start() : match.end()]
        if printed.isalpha() and len(printed) == 3 and printed.islower() and match[0].upper() in currencies():
            continue  # "try" and "all" are words; a code is printed in capitals
        value, others = meaning(match[0], locale)
        found.append(FoundCurrency(match.start(), match.end(), value, bool(others), others))
    return found
