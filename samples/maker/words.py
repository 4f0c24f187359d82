"""Invented names, addresses and goods: grammars over the languages' word lists, so that no two documents are alike."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from maker.locales import Locale, shaped

_STARTS = (
    *("Bra", "Cor", "Dal", "Fen", "Gal", "Hol", "Jar", "Kel", "Lor", "Mar", "Nor", "Pel", "Quin", "Ros", "Sel", "Tor"),
    *("Ul", "Ver", "Wil", "Yar", "Zan", "Bel", "Cal", "Dor", "Ev", "Fal", "Gris", "Hav", "Il", "Kor"),
)
_MIDDLES = ("a", "i", "o", "e", "an", "or", "en", "il", "am", "ar", "u", "is")


@dataclass(frozen=True)
class Trade:
    """A line of business: what its firms call themselves and what they sell, from the lowest to the highest price."""

    names: tuple[str, ...]
    goods: tuple[str, ...]
    prices: tuple[float, float]
    variants: tuple[str, ...] = ()
    served: bool = False  # guests sit at tables
    by_weight: bool = False  # some goods are weighed at the till


def trade(rng: random.Random, locale: Locale, kind: str, *, served: bool = False) -> Trade:
    """One of the country's ``shops`` or ``services``; ``served`` asks for one with tables."""
    facts = rng.choice([facts for facts in locale.words[kind] if facts.get("served") or not served])
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    return Trade(**values)


def coined(rng: random.Random, locale: Locale) -> str:
    """A made-up name in the sound of a language."""
    middle = rng.choice(_MIDDLES) if rng.random() < 0.7 else ""
    ending: str = rng.choice(locale.words["name_endings"] or ("a", "on", "is"))
    return rng.choice(_STARTS) + middle + ending


def company(rng: random.Random, locale: Locale, business: Trade, capitals: float = 0.3) -> str:
    """An invented firm of a trade; in this share of cases in capitals."""
    word = rng.choice(business.names)
    if locale.language == "ko":
        name = "".join(rng.sample("한빛나래가온누리다솜해솔", 2))
        return rng.choice((f"(주){name}{word}", f"{name}{word}", f"주식회사 {name}{word}"))
    name = coined(rng, locale)
    if rng.random() < 0.25:
        name += rng.choice((" & ", " ")) + coined(rng, locale)
    word_first = {"en": 0.0, "nl": 0.1, "de": 0.3}.get(locale.language, 0.6)
    name = f"{word} {name}" if rng.random() < word_first else f"{name} {word}"
    name = f"{name} {rng.choice(locale.legal_forms)}".strip()
    return name.upper() if rng.random() < capitals else name


def person(rng: random.Random, locale: Locale) -> str:
    """An invented person."""
    first: str = rng.choice(locale.words["first_names"])
    if locale.language == "ko":
        return rng.choice("김이박최정강조윤장임") + first
    middle = f" {rng.choice('ABCDEFGHJKLMPRST')}." if locale.language == "en" and rng.random() < 0.15 else ""
    return f"{first}{middle} {coined(rng, locale)}"


def address(rng: random.Random, locale: Locale) -> list[str]:
    """An invented address in its lines."""
    numbers = {"n": rng.randrange(10, 99), "m": rng.randrange(1, 9), "p": f"{rng.randrange(10000, 99999)}"}
    street = rng.choice(locale.streets or locale.words["streets"])
    if locale.language == "ko":
        return [f"{rng.choice(locale.cities)} {street} {rng.randrange(3, 280)}"]
    lines = [street.format(name=coined(rng, locale), **numbers)]
    if locale.code in ("en_MY", "en_SG", "en_IN", "en_GB") and rng.random() < 0.4:
        district = {"en_MY": "Taman {}", "en_SG": "{} Centre", "en_IN": "{} Layout", "en_GB": "{}"}[locale.code]
        lines.append(district.format(coined(rng, locale)))
    return [*lines, rng.choice(locale.cities).format(**numbers)]


def phone(rng: random.Random, locale: Locale) -> str:
    """An invented telephone number."""
    return shaped(rng, rng.choice(locale.phones))


_ACCOUNTS = {
    "DE": (0, 18),
    "AT": (0, 16),
    "CH": (0, 17),
    "FR": (0, 23),
    "ES": (0, 20),
    "IT": (1, 22),
    "NL": (4, 10),
    "GB": (4, 14),
}
"""Letters and digits of an account number after the check digits of its IBAN."""


def iban(rng: random.Random, locale: Locale) -> str | None:
    """An IBAN with right check digits of no real account, or None where accounts have none."""
    country = locale.code[3:]
    if country not in _ACCOUNTS:
        return None
    letters, digits = _ACCOUNTS[country]
    account = shaped(rng, "?" * letters + "9" * digits)
    number = "".join(str(int(character, 36)) for character in account + country + "00")
    return f"{country}{98 - int(number) % 97:02}{account}"


_PRICE_LEVEL = {"en_IN": 20, "en_MY": 3}
"""What costs one euro elsewhere costs about this here."""


def price(rng: random.Random, business: Trade, locale: Locale) -> Decimal:
    """A unit price, more often a low one, in the country's coins."""
    lowest, highest = business.prices
    value = Decimal(lowest + (highest - lowest) * rng.random() ** 2) * _PRICE_LEVEL.get(locale.code, 1)
    coin = Decimal(100) if locale.places == 0 else Decimal(rng.choice(("0.10", "0.05", "0.01", "0.50", "0.10")))
    if locale.code == "de_CH":
        coin = Decimal("0.05")
    value = max((value / coin).quantize(Decimal(1)) * coin, Decimal("0.30"))
    return value.quantize(Decimal(1) if locale.places == 0 else Decimal("0.01"))
