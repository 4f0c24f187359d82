"""How a country prints: numbers, dates, money, labels. The facts stand in ``countries.toml`` and ``languages/``."""

from __future__ import annotations

import datetime as dt
import random
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_LANGUAGES = {
    path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("languages/*.toml"))
}


@dataclass(frozen=True)
class Locale:
    """One country in one of its languages."""

    code: str
    currency: str
    signs: tuple[str, ...]  # a sign that begins with a space stands after the amount
    decimal: str
    thousands: str
    dates: tuple[str, ...]
    tax_name: str
    tax_rates: tuple[str, ...]
    tax_id: str  # label of the seller's tax number
    tax_id_shape: str
    phones: tuple[str, ...]
    cities: tuple[str, ...]
    legal_forms: tuple[str, ...]
    streets: tuple[str, ...] = ()  # where they differ from those of the language
    places: int = 2
    net_prices: bool = False  # prices on receipts are without tax

    @property
    def language(self) -> str:
        return self.code[:2]

    @cached_property
    def words(self) -> dict[str, Any]:
        """The language's file."""
        return _LANGUAGES[self.language]

    def number(self, value: Decimal, places: int | None = None) -> str:
        """A number with this country's marks."""
        text = f"{value:,.{self.places if places is None else places}f}"
        return text.translate(str.maketrans(",.", self.thousands + self.decimal))

    def quantity(self, value: Decimal) -> str:
        """A count or a weight, without idle zeros."""
        return format(value.normalize(), "f").replace(".", self.decimal)

    def date(self, day: dt.date, pattern: str) -> str:
        """A date by one of ``dates``, patterns of d, dd, m, mm, yy, yyyy, mon (short) and month (long)."""
        month = self.words["months"][day.month - 1]
        parts = {
            "yyyy": f"{day.year}",
            "yy": f"{day.year % 100:02}",
            "month": month,
            "mon": month[:3],
            "dd": f"{day.day:02}",
            "mm": f"{day.month:02}",
            "d": f"{day.day}",
            "m": f"{day.month}",
        }
        out, rest = "", pattern
        while rest:
            key = next((key for key in parts if rest.startswith(key)), None)
            out += parts[key] if key else rest[0]
            rest = rest[len(key) if key else 1 :]
        return out


def _locale(code: str, facts: dict[str, Any]) -> Locale:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    return Locale(code=code, **values)


_COUNTRIES = tomllib.loads((_FOLDER / "countries.toml").read_text(encoding="utf-8"))
LOCALES = {code: _locale(code, facts) for code, facts in _COUNTRIES.items()}


def label(rng: random.Random, locale: Locale, key: str) -> str:
    """One of the ways this language prints the label; the plainest most often."""
    ways = locale.words["labels"][key]
    way: str = ways[0] if rng.random() < 0.3 else rng.choice(ways)
    return way.replace("{tax}", locale.tax_name)


def plain_label(locale: Locale, key: str) -> str:
    """The plainest way this language prints the label."""
    return str(locale.words["labels"][key][0])


def shaped(rng: random.Random, shape: str) -> str:
    """A number by its shape: 9 is a digit, ? a letter, anything else itself."""
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    return "".join(str(rng.randrange(10)) if c == "9" else rng.choice(letters) if c == "?" else c for c in shape)
