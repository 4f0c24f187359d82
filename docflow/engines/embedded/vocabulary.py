"""What columns and the lines of tables are called, in several languages, and what the fields of a schema mean by it."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from docflow.fields.kinds import KIND_KEY, Kind


@cache
def squash(text: str) -> str:
    """Text to compare labels by: no case, accents, spaces or punctuation; ``#`` and ``%`` stay."""
    folded = unicodedata.normalize("NFKD", text.casefold().replace("ł", "l").replace("ø", "o"))
    return "".join(ch for ch in folded if ch.isalnum() or ch in "#%")


def read_data(name: str) -> dict[str, Any]:
    """One of the vocabularies that lie beside this module."""
    return tomllib.loads(files(__package__).joinpath(name).read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Concepts:
    """The column concepts: words in print -> concepts, names of fields -> concepts, concept -> kind."""

    of_word: Mapping[str, tuple[str, ...]]
    of_name: Mapping[str, tuple[str, ...]]
    kind: Mapping[str, Kind]
    longest: int


@cache
def concepts() -> Concepts:
    """The vocabulary of columns, read once."""
    of_word: dict[str, tuple[str, ...]] = {}
    of_name: dict[str, tuple[str, ...]] = {}
    kinds: dict[str, Kind] = {}
    for concept, entry in read_data("columns.toml").items():
        kinds[concept] = Kind(entry["kind"])
        for word in entry["words"]:
            key = squash(word)
            if key and concept not in of_word.get(key, ()):
                of_word[key] = (*of_word.get(key, ()), concept)
        for name in entry["names"]:
            key = squash(name)
            if concept not in of_name.get(key, ()):
                of_name[key] = (*of_name.get(key, ()), concept)
    return Concepts(of_word, of_name, kinds, max(map(len, of_word)))


@dataclass(frozen=True, slots=True)
class TotalWords:
    """How the lines under a list of items begin and go on, sums over a page break, and discounts; all squashed."""

    begin: frozenset[str]
    joining: frozenset[str]
    carried: frozenset[str]
    discount: frozenset[str]
    longest: int


@cache
def total_words() -> TotalWords:
    """The vocabulary of totals, read once."""
    data = read_data("totals.toml")
    begin, carried, discount = (frozenset(map(squash, data[key])) for key in ("begin", "carried", "discount"))
    joining = frozenset(squash(word) for phrase in (*data["begin"], *data["joining"]) for word in phrase.split())
    return TotalWords(begin, joining, carried, discount, max(map(len, begin)))


_WORD = re.compile(r"[^\W\d_]+(?:[-'’.][^\W\d_]+)*")
_DAY = re.compile(r"\d{1,2}\.?\s*[^\W\d_]{3,9}\.?,?\s*\d{4}|[^\W\d_]{3,9}\.?\s*\d{1,2}\s*,?\s*\d{4}")
"""A day with its month's name: "August 3, 2014"."""
_BRACKETS = re.compile(r"[(\[（【][^()\[\]（）【】]*[)\]）】]?")
_COUNTED_ITEMS = re.compile(
    r"(?:no\.? of |number of )?(?:item|qty|quantity)\s?(?:\(s\)|s)?\s*:?\s*\d+\b", re.IGNORECASE
)
_SERVICE = re.compile(
    r"\d\s?%\s*(?:svc|serv)|^(?:svc|serv)[a-z.]*\s*(?:charge|chg)?\.?:?\s*\(?\d+(?:[.,]\d+)?\s?%", re.IGNORECASE
)
_MISREAD = ("total", "subtotal", "totaal", "totale", "summe", "gesamt", "rounding", "change")
_GLUED_CODE = re.compile(r"(?:RM|EUR|USD|GBP|CHF|SGD|MYR|AUD|INR|SEK|NOK|DKK|PLN)$")
_CODE = re.compile(
    r"EUR|USD|GBP|CHF|PLN|SEK|NOK|DKK|MYR|SGD|AUD|CAD|NZD|INR|CZK|HUF|JPY|KRW|CNY|BRL|RM|Rs|Rp|kr|zł|Kč|Ft|원|円|元"
)


def is_total(text: str) -> bool:
    """Whether a line reads like a sum, a tax, a payment or a count of items, and not like an item."""
    known = total_words()
    plain = unicodedata.normalize("NFKC", text).lstrip(" *-–—=:.·•#&+(/")
    plain = _DAY.sub(" ", plain)
    words = _WORD.findall(plain)
    if not words:
        return False
    if _COUNTED_ITEMS.match(plain) or _SERVICE.search(plain):
        return True
    bare = _WORD.findall(_BRACKETS.sub(" ", plain)) or words
    for length in range(min(len(bare), 5), 0, -1):
        opening = squash("".join(bare[:length]))
        if opening in known.begin or (length == 1 and _misread(opening)):
            pieces = [piece for word in bare[length:] for piece in re.split(r"[-'’.]", word)]
            # A short name ("HT", "CB") may be a part of anything: it needs the whole line to speak of sums.
            least = 2 if len(opening) > 3 else 1
            rest = [word for word in pieces if len(word) > least and not _CODE.fullmatch(word)]
            foreign = sum(squash(_GLUED_CODE.sub("", word)) not in known.joining for word in rest)
            return foreign == 0 or (foreign == 1 and length > 1 and len(rest) > 1)
    return False


@cache
def _misread(word: str) -> bool:
    """Whether a word is one of the commonest names of sums with one letter misread."""
    return any(
        len(word) == len(name) and sum(a != b for a, b in zip(word, name, strict=True)) == 1 for name in _MISREAD
    )


@cache
def _titles() -> frozenset[str]:
    return frozenset(squash(name) for entry in read_data("kinds.toml").values() for name in entry["names"])


def is_title(text: str) -> bool:
    """Whether a line is the name of a kind of document and no more: "*** TAX INVOICE ***"."""
    return squash(text).replace("#", "").replace("%", "") in _titles()


def opens_with(text: str, phrases: frozenset[str]) -> bool:
    """Whether a text begins with one of these squashed phrases, as whole words."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text))
    return any(squash("".join(words[:length])) in phrases for length in range(min(len(words), 5), 0, -1))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field of a list's items: its name, kind, the words that may stand over its column, and what it means."""

    name: str
    kind: Kind
    phrases: frozenset[str]
    concepts: tuple[str, ...]
    choices: tuple[str, ...] = ()


def leaves_of(items: Mapping[str, Any]) -> list[Leaf]:
    """The leaves of an item schema, in order; nested objects and lists are no columns and are left out."""
    leaves = []
    for name, schema in items.get("properties", {}).items():
        if schema.get("type") in ("object", "array"):
            continue
        kind = Kind(schema.get(KIND_KEY, Kind.TEXT))
        labels = [*schema.get("x-labels", ()), schema.get("title", ""), spoken(name)]
        phrases = frozenset(filter(None, map(squash, labels)))
        choices = tuple(str(choice) for choice in schema.get("enum", ()) if choice is not None)
        leaves.append(Leaf(name, kind, phrases, _concepts_of(name, labels, kind), choices))
    return leaves


@dataclass(frozen=True, slots=True)
class ListName:
    """What a list may be called in print: the head of the column that names its rows, or the line over its table."""

    phrases: frozenset[str]
    meanings: frozenset[str]

    def fits(self, phrase: str) -> bool:
        """Whether a squashed text names the list."""
        return phrase in self.phrases or bool(self.meanings & set(concepts().of_word.get(phrase, ())))


def list_name(schema: Mapping[str, Any], path: str) -> ListName:
    """The names of the list at ``path``: from its schema, and from the vocabulary where that knows its name."""
    name = re.sub(r"\[\d*\]", "", path).rsplit(".", 1)[-1]
    labels = [*schema.get("x-labels", ()), schema.get("title", ""), spoken(name)]
    phrases = {squash(label) for label in labels if label}
    phrases |= {phrase.removesuffix("s") for phrase in phrases if len(phrase) > 4}
    known = concepts()
    meanings = {meaning for phrase in phrases for meaning in known.of_word.get(phrase, ())}
    return ListName(frozenset(phrases), frozenset(meanings & {"credit", "debit"}))


NO_NAME = ListName(frozenset(), frozenset())


def spoken(name: str) -> str:
    """A field's name as words: ``unit_price`` and ``unitPrice`` become "unit price"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ")


_ALIKE = {
    Kind.MONEY: {Kind.MONEY, Kind.QUANTITY},
    Kind.QUANTITY: {Kind.QUANTITY, Kind.MONEY, Kind.TEXT},
    Kind.DATE: {Kind.DATE},
    Kind.IDENTIFIER: {Kind.IDENTIFIER, Kind.TEXT, Kind.QUANTITY},
}


def _concepts_of(name: str, labels: list[str], kind: Kind) -> tuple[str, ...]:
    """The concepts that a leaf may mean, the surest first: by its name, then its labels, then parts of its name."""
    known = concepts()
    found: list[str] = []

    def add(candidates: tuple[str, ...]) -> None:
        for concept in candidates:
            fits = known.kind[concept] in _ALIKE.get(kind, {known.kind[concept]})
            if fits and concept not in found:
                found.append(concept)

    add(known.of_name.get(squash(name), ()))
    for label in labels:
        add(known.of_word.get(squash(label), ()))
        add(known.of_name.get(squash(label), ()))
    if not found:
        words = spoken(name).split()
        for length in range(len(words) - 1, 0, -1):
            for start in range(len(words) - length, -1, -1):
                add(known.of_name.get(squash(" ".join(words[start : start + length])), ()))
            if found:
                break
    return tuple(found)
