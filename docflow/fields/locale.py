"""What is known of a country and its languages, loaded from the data files beside this module.

A country file says how dates and numbers are written, which currency is used, how postcodes and registration
numbers look, which suffixes companies have. A language file holds month names and the words that label things.
A Locale joins one country with its languages; the neutral Locale joins the words of all of them and decides
nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from docflow.errors import ConfigError
from docflow.fields.text import fold

DateOrder = Literal["dmy", "mdy", "ymd"]
ENGLISH = "en"  # printed beside the local language nearly everywhere, so every locale knows its words
NEUTRAL_CODE = "und"  # the code that BCP 47 gives to an undetermined language


@dataclass(frozen=True, eq=False)
class Locale:
    """How a country writes dates and amounts, and the words its documents use.

    ``date_order`` and ``decimal`` are None where nothing is known: readers then say that a text is ambiguous.
    ``groups`` holds every thousand mark in use. ``cash_unit`` is what cash payments are rounded to.
    ``words`` goes by role ("company", "street", "region", "country", "tax", "phone", "total" ...); a dot in a word
    stands for an optional dot, a space for any space or punctuation. ``shapes`` are regular expressions by what they
    describe ("postcode", "registration", "vat"), over the text as printed.
    """

    code: str
    language: str
    country: str
    languages: tuple[str, ...]
    date_order: DateOrder | None = None
    decimal: str | None = None
    groups: str = ""
    currency: str | None = None
    signs: tuple[str, ...] = ()
    cash_unit: Decimal | None = None
    phone_prefix: str = ""
    months: tuple[tuple[str, ...], ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    shapes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @property
    def day_first(self) -> bool | None:
        """Whether the day stands before the month in 03/04/2018; None where that is not known."""
        return None if self.date_order is None else self.date_order == "dmy"

    @cached_property
    def month_names(self) -> frozenset[str]:
        """Every name and short name of a month, folded."""
        return frozenset(fold(name) for names in self.months for name in names)

    @cached_property
    def _patterns(self) -> dict[str, re.Pattern[str] | None]:
        return {}

    def pattern(self, role: str) -> re.Pattern[str] | None:
        """A pattern that finds any word of a role in folded text; None where the role has no words."""
        if role not in self._patterns:
            words = self.words.get(role, ())
            self._patterns[role] = _words_pattern(words) if words else None
        return self._patterns[role]

    def shape(self, name: str) -> re.Pattern[str] | None:
        """A pattern that finds what ``shapes`` describes under this name; None where there is nothing."""
        key = f"shape {name}"
        if key not in self._patterns:
            shapes = self.shapes.get(name, ())
            self._patterns[key] = _shapes_pattern(shapes) if shapes else None
        return self._patterns[key]

    def deciding(self, date_order: DateOrder | None, decimal: str | None) -> Locale:
        """The same locale with what the page itself shows of the order of dates and of the decimal mark."""
        if (date_order or self.date_order, decimal or self.decimal) == (self.date_order, self.decimal):
            return self
        return _decided(self, date_order or self.date_order, decimal or self.decimal)


# Locales are few, so each is made once: what is compiled for it serves every document.
@cache
def _decided(one: Locale, date_order: DateOrder | None, decimal: str | None) -> Locale:
    return replace(one, date_order=date_order, decimal=decimal)


@cache
def _words_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern over folded text for any of these words, the longest first, not inside a longer word."""
    folded = sorted({fold(word) for word in words}, key=lambda word: (-len(word), word))
    return re.compile("|".join(_word_pattern(word) for word in folded))


@cache
def _shapes_pattern(shapes: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{shape})" for shape in shapes))


def _word_pattern(word: str) -> str:
    # Scripts without spaces between words have no word edges to look for.
    edged = word[0] < "\u1100"
    body = "".join({".": r"\.? ?", " ": r"[\s.,\-]{0,3}"}.get(char, re.escape(char)) for char in word)
    body = body.removesuffix(" ?")  # a last dot takes no space with it
    return rf"(?<![^\W_]){body}(?![^\W_])" if edged else body


@lru_cache(maxsize=1)
def neutral() -> Locale:
    """The locale that decides nothing and knows the words of every language and country."""
    every = [locale_named(code) for code in codes()]
    return Locale(
        code=NEUTRAL_CODE,
        language="",
        country="",
        languages=tuple(sorted({language for one in every for language in one.languages})),
        months=tuple(_merge(one.months[month] for one in every) for month in range(12)),
        words=_merge_words(one.words for one in every),
        shapes=_merge_words(one.shapes for one in every),
    )


@lru_cache(maxsize=1)
def codes() -> tuple[str, ...]:
    """Every locale there is data for: a code for each language of each country, as in ``fr_CH``."""
    return tuple(
        f"{language}_{country}" for country, data in sorted(country_files().items()) for language in data["languages"]
    )


@cache
def locale_named(code: str) -> Locale:
    """The locale of a code such as ``de_AT``, ``de-AT``, or ``AT`` (the country's first language).

    Raises ConfigError for a code without data.
    """
    if code.casefold() == NEUTRAL_CODE:
        return neutral()
    *language_part, country = re.split("[_-]", code)
    country = country.upper()
    data = country_files().get(country)
    language = language_part[0].lower() if language_part else data["languages"][0] if data else ""
    if data is None or language not in data["languages"]:
        raise ConfigError(f"there is no locale {code!r}", hint=f"Known are {', '.join(codes())}.")
    others = [other for other in data["languages"] if other != language]
    languages = tuple(dict.fromkeys([language, *others, ENGLISH]))
    spoken = [language_files()[one] for one in languages]
    data = data | data.get("in", {}).get(language, {})
    return Locale(
        code=f"{language}_{country}",
        language=language,
        country=country,
        languages=languages,
        date_order=data["date_order"],
        decimal=data["decimal"],
        groups=data["groups"],
        currency=data["currency"],
        signs=tuple(data["signs"]),
        cash_unit=Decimal(data["cash_unit"]),
        phone_prefix=data["phone_prefix"],
        months=tuple(_merge(one["months"][month] for one in spoken) for month in range(12)),
        words=_merge_words([data["words"], *(one["words"] for one in spoken)]),
        shapes=MappingProxyType({name: tuple(shapes) for name, shapes in data["shapes"].items()}),
    )


def _merge(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for words in lists for word in words))


def _merge_words(tables: Iterable[Mapping[str, Iterable[str]]]) -> Mapping[str, tuple[str, ...]]:
    merged: dict[str, list[Iterable[str]]] = {}
    for table in tables:
        for role, words in table.items():
            merged.setdefault(role, []).append(words)
    return MappingProxyType({role: _merge(lists) for role, lists in merged.items()})


@lru_cache(maxsize=1)
def country_files() -> Mapping[str, dict[str, Any]]:
    """The content of the country files by upper-case country code."""
    return {name.upper(): data for name, data in _files("country_").items()}


@lru_cache(maxsize=1)
def language_files() -> Mapping[str, dict[str, Any]]:
    """The content of the language files by language code."""
    return _files("language_")


def _files(prefix: str) -> dict[str, dict[str, Any]]:
    folder = resources.files("docflow.fields.locales")
    return {
        entry.name.removeprefix(prefix).removesuffix(".toml"): tomllib.loads(entry.read_text(encoding="utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.startswith(prefix) and entry.name.endswith(".toml")
    }


@lru_cache(maxsize=1)
def all_months() -> Mapping[str, int]:
    """The number (1 to 12) of each folded month name of every language; no name means two months."""
    return {
        fold(name): number
        for data in language_files().values()
        for number, names in enumerate(data["months"], start=1)
        for name in names
    }
