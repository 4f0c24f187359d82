"""Which country and language a document comes from, by what is printed on it.

Evidence of a country: its name, its cities and regions, company suffixes, currency, phone prefix, postcodes and
registration numbers that look like no other's, internet domains. Evidence of a language: its words. Where several
countries remain, the locale decides only what they all agree on.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from docflow.fields.currencies import currencies
from docflow.fields.locale import ENGLISH, DateOrder, Locale, country_files, language_files, locale_named, neutral
from docflow.fields.text import fold, plain

ENOUGH = 1.5  # evidence below this decides no country
PLENTY = 3.0  # below this one clue more or less could make another country the best
NEAR = 0.8  # above it, countries with this share of the best one's evidence remain possible,
MARGIN = 1.0  # unless they are further behind than one clue
MAX_CHARS = 20_000  # a page or two tell as much as a whole book

_PLACE_WEIGHTS = {"country": 3.0, "region": 2.0, "city": 1.5, "company": 2.0, "registration": 1.0, "tax": 0.7}
_LABEL_ROLES = frozenset(
    {"date", "due_date", "total", "subtotal", "tax", "invoice", "receipt", "invoice_number", "customer", "phone"}
    | {"quantity", "price", "amount", "description", "cash", "change", "thanks", "address", "page"}
)
_TOKEN = re.compile(r"[^\W\d_]+")
_CURRENCY_CODE = re.compile(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])")
_PHONE = re.compile(r"(?<![\d+])(?:\+ ?\(?([1-9]\d{0,2})\)?[ \-.(/]?\d|00 ?([2-9]\d{1,2})[ \-.(/]\(?\d)")
_DOMAIN = re.compile(r"(?:[\w-]\.|@[\w.-]+\.)([a-z]{2})(?![\w.-])")
_IBAN = re.compile(r"\b([A-Z]{2})\d{2} ?(?:[A-Z\d]{4} ?){3}")
_BEFORE_CITY = re.compile(r"(?<![\w.,/:-])(\d{4,5}) [A-ZÀ-Þ][a-zß-ÿ]{2}")
_SLASHED = re.compile(r"(?<![\d/.-])(\d{1,2})([/.-])(\d{1,2})\2(?:19|20)?\d\d(?![\d/.-]\d?)")
_COMMA_CENTS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})*,\d{2}(?![\d.,]|\s?%)")
_POINT_CENTS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})*\.\d{2}(?![\d.,]|\s?%)")
_CJK = re.compile(r"[\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Ranked:
    """The locale that a document's text points to, and the evidence for each country, the strongest first.

    ``score`` is 0 where nothing points anywhere and grows with each piece of evidence; the ``locale`` is neutral then.
    """

    locale: Locale
    score: float
    countries: tuple[tuple[str, float], ...] = ()


def detect(texts: Iterable[str]) -> Locale:
    """The locale of a document, from its lines or words in reading order; neutral where nothing points anywhere."""
    return rank(texts).locale


def rank(texts: Iterable[str]) -> Ranked:
    """The countries that a document's text points to, by evidence, and the locale that follows."""
    text = plain(" ".join(texts)[:MAX_CHARS])
    folded = fold(text)
    languages = _languages(folded)
    scores = _countries(text, folded)
    total = sum(languages.values())
    if total:
        strength = min(total, 6.0) / 2  # a handful of words is as sure as a hundred
        postcodes = _postcodes(text)
        for country, data in country_files().items():
            share = max(languages.get(language, 0.0) for language in data["languages"]) / total
            shape = locale_named(country).shape("postcode")
            fitting = shape is not None and any(shape.fullmatch(postcode) for postcode in postcodes)
            scores[country] += (strength + fitting) * share
    for country, shape in _index().shapes:
        if scores[country] > 0 and shape.search(text):  # a shape alone may be any number
            scores[country] += 2.0
    order, decimal = _date_order(text), _decimal(text)
    for country, data in country_files().items():
        if decimal and data["decimal"] != decimal:
            scores[country] *= 0.5
        if order and data["date_order"] in ("dmy", "mdy") and data["date_order"] != order:
            scores[country] *= 0.6
    ranking = sorted(((country, score) for country, score in scores.items() if score > 0), key=lambda one: -one[1])
    if not ranking or ranking[0][1] < ENOUGH:
        return Ranked(neutral().deciding(order, decimal), 0.0, tuple(ranking))
    best = ranking[0][1]
    behind = MARGIN if best < PLENTY else min(MARGIN, (1 - NEAR) * best)
    near = [country for country, score in ranking if score >= best - behind]
    found = _common(tuple(_spoken(country, languages) for country in near)).deciding(order, decimal)
    return Ranked(found, round(best, 2), tuple(ranking))


@lru_cache(maxsize=256)
def _common(locales: tuple[Locale, ...]) -> Locale:
    """What the locales that remain have in common; the one itself where it is the only one."""
    first = locales[0]
    if len(locales) == 1:
        return first
    agreed = {
        name: getattr(first, name)
        if all(getattr(one, name) == getattr(first, name) for one in locales)
        else getattr(neutral(), name)
        for name in ("date_order", "decimal", "groups", "currency", "signs", "cash_unit", "phone_prefix")
    }
    every = neutral()
    same_language = all(one.language == first.language for one in locales)
    return replace(
        first,
        code=first.language if same_language else every.code,
        language=first.language if same_language else "",
        country="",
        words=every.words,
        shapes=every.shapes,
        months=every.months,
        **agreed,
    )


def _spoken(country: str, languages: Mapping[str, float]) -> Locale:
    """The country's locale in the language that the text is written in."""
    spoken = max(country_files()[country]["languages"], key=lambda language: languages.get(language, 0.0))
    return locale_named(f"{spoken}_{country}")


@dataclass(frozen=True)
class _Index:
    """Words by their first token: the tokens that follow, and who is meant with which weight."""

    countries: Mapping[str, Sequence[tuple[tuple[str, ...], str, float]]]
    languages: Mapping[str, Sequence[tuple[tuple[str, ...], str, float]]]
    cjk_countries: Sequence[tuple[str, str, float]]
    cjk_languages: Sequence[tuple[str, str, float]]
    signs: Sequence[tuple[str, Sequence[str]]]
    prefixes: Mapping[str, Sequence[str]]
    shapes: Sequence[tuple[str, re.Pattern[str]]]


@lru_cache(maxsize=1)
def _index() -> _Index:
    countries, cjk_countries = _word_index(
        (word, country, weight)
        for country, data in country_files().items()
        for role, weight in _PLACE_WEIGHTS.items()
        for word in data["words"].get(role, ())
    )
    languages, cjk_languages = _word_index(
        (word, language, 1.0)
        for language, data in language_files().items()
        for word in [*data["common"], *(word for role in sorted(_LABEL_ROLES) for word in data["words"].get(role, ()))]
    )
    signs: dict[str, list[str]] = defaultdict(list)
    prefixes: dict[str, list[str]] = defaultdict(list)
    for country, data in country_files().items():
        prefixes[data["phone_prefix"]].append(country)
        for sign in data["signs"]:
            if not sign[0].isalpha() and sign[0] not in ":,":
                signs[sign].append(country)
        for sign in currencies()[data["currency"]]["signs"]:
            if len(sign) > 1 and sign in data["signs"] and sign[0].isalpha():
                signs[sign].append(country)
    return _Index(
        countries,
        languages,
        cjk_countries,
        cjk_languages,
        tuple(signs.items()),
        prefixes,
        tuple(
            (country, re.compile("|".join(f"(?:{shape})" for shape in data["shapes"]["distinctive"])))
            for country, data in country_files().items()
            if "distinctive" in data["shapes"]
        ),
    )


_Words = Mapping[str, Sequence[tuple[tuple[str, ...], str, float]]]


def _word_index(entries: Iterable[tuple[str, str, float]]) -> tuple[_Words, Sequence[tuple[str, str, float]]]:
    """Words by first token, each owner's weight divided among all that share the word; CJK words apart."""
    owners: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    cjk: dict[str, dict[str, float]] = defaultdict(dict)
    for word, owner, weight in entries:
        folded = fold(word)
        if _CJK.search(folded):
            if len(folded) > 1:
                cjk[folded][owner] = weight
            continue
        for tokens in {tuple(_TOKEN.findall(folded)), tuple(_TOKEN.findall(folded.replace(".", "")))}:
            if tokens and (len(tokens) > 1 or len(tokens[0]) > 2):
                owners[tokens][owner] = max(weight, owners[tokens].get(owner, 0.0))
    table: dict[str, list[tuple[tuple[str, ...], str, float]]] = defaultdict(list)
    for tokens, weights in owners.items():
        for owner, weight in weights.items():
            table[tokens[0]].append((tokens[1:], owner, weight / len(weights)))
    shared = [(word, owner, weight / len(who)) for word, who in cjk.items() for owner, weight in who.items()]
    return table, shared


def _hits(tokens: Sequence[str], table: _Words) -> dict[tuple[str, ...], dict[str, float]]:
    """For each word of the table that the text has: its owners and their weights."""
    hits: dict[tuple[str, ...], dict[str, float]] = {}
    for position, token in enumerate(tokens):
        for rest, owner, weight in table.get(token, ()):
            if not rest or tuple(tokens[position + 1 : position + 1 + len(rest)]) == rest:
                hits.setdefault((token, *rest), {})[owner] = weight
    return hits


def _languages(folded: str) -> dict[str, float]:
    index = _index()
    scores: dict[str, float] = defaultdict(float)
    for owners in _hits(_TOKEN.findall(folded), index.languages).values():
        for owner, weight in owners.items():
            scores[owner] += weight
    if _CJK.search(folded):
        for word, owner, weight in index.cjk_languages:
            if word in folded:
                scores[owner] += weight
    if len(scores) > 1 and scores.get(ENGLISH):
        scores[ENGLISH] *= 0.5  # English words stand on documents of every language
    return scores


def _countries(text: str, folded: str) -> dict[str, float]:
    index = _index()
    scores: dict[str, float] = defaultdict(float)
    for owners in _hits(_TOKEN.findall(folded), index.countries).values():
        for owner, weight in owners.items():
            scores[owner] += weight
    if _CJK.search(folded):
        for word, owner, weight in index.cjk_countries:
            if word in folded:
                scores[owner] += weight
    for sign, owners_of_sign in index.signs:
        if sign in text and (not sign[0].isalpha() or re.search(rf"(?<![A-Za-z]){re.escape(sign)}\s?:?\s?\d", text)):
            for country in owners_of_sign:
                scores[country] += 2.0 / len(owners_of_sign)
    codes = set(_CURRENCY_CODE.findall(text)) & currencies().keys()
    if codes:
        using = [country for country, data in country_files().items() if data["currency"] in codes]
        for country in using:
            scores[country] += 2.0 / len(using)
    _add_numbers(scores, text, folded)
    return scores


def _add_numbers(scores: dict[str, float], text: str, folded: str) -> None:
    """Evidence from phone prefixes, domains, bank accounts and numbers of a country's own shape."""
    index = _index()
    for figures in {plus or zeros for plus, zeros in _PHONE.findall(text)}:
        for length in (3, 2, 1):
            countries = index.prefixes.get(figures[:length], ())
            if countries:
                for country in countries:
                    scores[country] += 2.5 / len(countries)
                break
    known = country_files()
    for ending in set(_DOMAIN.findall(folded)):
        country = {"uk": "GB"}.get(ending, ending.upper())
        if (country in known and country not in ("IT", "IN", "ME", "IE", "NO", "AT")) or f"www.{ending}" in folded:
            scores[country] += 2.0
    for country in set(_IBAN.findall(text)) & known.keys():
        scores[country] += 1.5


def _postcodes(text: str) -> set[str]:
    """Figures before a name, as postcodes stand on the continent: their number tells neighbours apart."""
    return {figures for figures in _BEFORE_CITY.findall(text) if figures[:2] not in ("19", "20") or len(figures) > 4}


def _date_order(text: str) -> DateOrder | None:
    """The order that the dates of the page show: a first part above 12 is a day, so is a second."""
    votes: Counter[DateOrder] = Counter()
    for first, _, second in _SLASHED.findall(text):
        if 12 < int(first) <= 31 and 0 < int(second) <= 12:
            votes["dmy"] += 1
        elif 12 < int(second) <= 31 and 0 < int(first) <= 12:
            votes["mdy"] += 1
    return next(iter(votes)) if len(votes) == 1 else None


def _decimal(text: str) -> str | None:
    """The decimal mark that the page's amounts show, where they all but agree."""
    commas, points = len(_COMMA_CENTS.findall(text)), len(_POINT_CENTS.findall(text))
    if commas + points < 2 or min(commas, points) * 4 > max(commas, points):
        return None
    return "," if commas > points else "."
