"""The words that documents print beside their values, in several languages, and how to find them in a line.

A concept ("due_date") is known by phrases ("payment due", "zahlbar bis"). Phrases of all languages are searched at
once: a page may mix them, and a phrase of another language rarely means something else. Matching forgives what OCR
does to words: letters taken for digits, one letter wrong in a long word, words run together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from docflow.fields.kinds import Kind
from docflow.fields.locale import neutral
from docflow.fields.text import fold

WEAK = 0.55
"""How much a phrase counts that names its concept only when nothing better stands on the page."""

# How the words of the locale data are called here; roles not listed mean the same, or are no labels.
_ROLES: Mapping[str, tuple[str, Kind]] = {
    "date": ("date", Kind.DATE),
    "due_date": ("due_date", Kind.DATE),
    "delivery_date": ("delivery_date", Kind.DATE),
    "birth_date": ("birth_date", Kind.DATE),
    "period": ("period", Kind.TEXT),
    "total": ("total", Kind.MONEY),
    "subtotal": ("subtotal", Kind.MONEY),
    "tax": ("tax", Kind.MONEY),
    "tax_rate": ("tax_rate", Kind.TEXT),
    "service_charge": ("service_charge", Kind.MONEY),
    "discount": ("discount", Kind.MONEY),
    "rounding": ("rounding", Kind.MONEY),
    "cash": ("paid", Kind.MONEY),
    "card": ("paid", Kind.MONEY),
    "change": ("change", Kind.MONEY),
    "quantity": ("quantity", Kind.TEXT),
    "price": ("unit_price", Kind.TEXT),
    "amount": ("line_total", Kind.TEXT),
    "description": ("description", Kind.TEXT),
    "currency": ("currency", Kind.TEXT),
    "invoice_number": ("invoice_number", Kind.IDENTIFIER),
    "customer": ("customer", Kind.PARTY),
    "seller": ("issuer", Kind.PARTY),
    "customer_number": ("customer_number", Kind.IDENTIFIER),
    "order_number": ("order_number", Kind.IDENTIFIER),
    "cashier": ("contact", Kind.PARTY),
    "phone": ("phone", Kind.IDENTIFIER),
    "fax": ("fax", Kind.IDENTIFIER),
    "email": ("email", Kind.IDENTIFIER),
    "web": ("website", Kind.IDENTIFIER),
    "iban": ("iban", Kind.IDENTIFIER),
    "bic": ("bic", Kind.IDENTIFIER),
    "bank": ("bank", Kind.IDENTIFIER),
    "vat_number": ("vat", Kind.IDENTIFIER),
    "registration": ("registration_number", Kind.IDENTIFIER),
    "address": ("address", Kind.ADDRESS),
    "page": ("page", Kind.TEXT),
    "time": ("time", Kind.TEXT),
}

# Kinds whose values look so much alike that a field of the one may stand for a concept of the other.
_ALIKE: Mapping[Kind, frozenset[Kind]] = {
    Kind.PARTY: frozenset({Kind.PARTY}),
    Kind.TEXT: frozenset(set(Kind) - {Kind.ADDRESS}),
    Kind.IDENTIFIER: frozenset({Kind.IDENTIFIER, Kind.TEXT}),
    Kind.QUANTITY: frozenset({Kind.TEXT, Kind.MONEY, Kind.QUANTITY}),
    Kind.MONEY: frozenset({Kind.MONEY, Kind.TEXT}),
    Kind.CURRENCY: frozenset({Kind.TEXT}),
    Kind.CHOICE: frozenset({Kind.TEXT, Kind.IDENTIFIER}),
    Kind.BOOLEAN: frozenset({Kind.TEXT}),
}


@dataclass(frozen=True, slots=True)
class Token:
    """A word or number of a text, folded, and the span it takes there."""

    text: str
    start: int
    end: int


_TOKEN = re.compile(r"n[°º]|[#№]|[^\W_]+")
_NUMBER_SIGNS = frozenset({"#", "№", "n°", "nº"})
_PERCENT = re.compile(r"@?\s?\d+(?:[.,]\d+)?\s?%")
_CAMEL = re.compile(r"(?<=[a-z]{3})(?=[A-Z][a-z]{2})|(?<=[A-Z][a-z]{2})(?=[A-Z][a-z]{2})")
_LETTERS_DIGITS = re.compile(r"([^\W\d_]{3,})(\d{2,})$")
_LOOKALIKE = str.maketrans("01589|", "olsbgl")
_ALIKE_LETTERS = str.maketrans("ij", "ll")


def tokens(text: str) -> list[Token]:
    """The words and numbers of a text; percentages are left out, for they change inside a label ("GST 6% incl.")."""
    cuts = [match.start() for match in _CAMEL.finditer(text)]
    folded = fold(text)
    skip = [match.span() for match in _PERCENT.finditer(folded)] if "%" in folded else []
    found: list[Token] = []
    for match in _TOKEN.finditer(folded):
        start, end = match.span()
        word = match[0]
        if skip and any(a <= start < b for a, b in skip):
            continue
        if word in _NUMBER_SIGNS:
            found.append(Token("no", start, end))
            continue
        for cut in cuts:
            if start < cut < end:
                found.append(Token(folded[start:cut], start, cut))
                start, word = cut, folded[cut:end]
        glued = _LETTERS_DIGITS.match(word) if word[-1].isdigit() and not word[0].isdigit() else None
        if glued:
            found.append(Token(glued[1], start, start + len(glued[1])))
            found.append(Token(glued[2], start + len(glued[1]), end))
        else:
            found.append(Token(word, start, end))
    return found


def spoken(name: str) -> str:
    """A field's name as words: ``unit_price`` and ``unitPrice`` become "unit price"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").strip()


@lru_cache(maxsize=4096)
def words_of(phrase: str) -> tuple[str, ...]:
    """The tokens of a phrase."""
    return tuple(token.text for token in tokens(phrase))


# --- a trie of phrases ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """A phrase found in a line's tokens: ``first`` to ``last`` (inclusive), and what it names, with strengths."""

    first: int
    last: int
    names: Mapping[str, float]
    exact: bool = True


class Phrases:
    """Phrases by their words, each naming one or several things."""

    def __init__(self) -> None:
        self._root = _Node()
        self._shortened: dict[str, set[str]] = {}
        self._plain: dict[str, set[str]] = {}
        self._vocabulary: set[str] = set()
        self._known: dict[str, tuple[tuple[str, float], ...]] = {}

    def add(self, phrase: str, name: str, strength: float) -> None:
        """Let ``phrase`` name ``name``."""
        words = words_of(phrase)
        if not words:
            return
        self._put(words, name, strength)
        squashed = "".join(words)
        if len(words) > 1 and len(squashed) >= 6:  # OCR runs words together
            self._put((squashed,), name, strength)

    def _put(self, words: Sequence[str], name: str, strength: float) -> None:
        node = self._root
        for word in words:
            self._learn(word)
            node = node.children.setdefault(word, _Node())
        node.ends[name] = max(strength, node.ends.get(name, 0.0))

    def _learn(self, word: str) -> None:
        if word in self._vocabulary:
            return
        self._vocabulary.add(word)
        self._plain.setdefault(look_of(word), set()).add(word)
        if len(word) >= 5:
            for shorter in _shortened(word):
                self._shortened.setdefault(shorter, set()).add(word)

    def _alternatives(self, word: str) -> tuple[tuple[str, float], ...]:
        """The words of the vocabulary that a printed word may be, with how sure that is."""
        known = self._known.get(word)
        if known is None:
            known = self._known[word] = tuple(self._look_up(word))
            if len(self._known) > 50_000:  # words of documents; bounded, because documents never end
                self._known.clear()
        return known

    def _look_up(self, word: str) -> Iterable[tuple[str, float]]:
        if word in self._vocabulary:
            return ((word, 1.0),)
        if word.isdigit():
            return ()
        plain = self._plain.get(look_of(word))
        if plain:
            return ((one, 0.95) for one in sorted(plain))
        if len(word) < 5:
            return ()
        near: set[str] = set(self._shortened.get(word, ()))
        for shorter in _shortened(word):
            if shorter in self._vocabulary and len(shorter) >= 5:
                near.add(shorter)
            near |= {one for one in self._shortened.get(shorter, ()) if len(one) == len(word)}
        return ((one, 0.85) for one in sorted(near))

    def find(self, line: Sequence[Token], breaks: frozenset[int], filler: frozenset[str]) -> list[Match]:
        """The longest phrases of a line, from left to right without overlaps; none goes over a break.

        ``breaks`` holds the tokens before which a wide gap stands.
        """
        found: list[Match] = []
        at = 0
        while at < len(line):
            best = self._longest(line, at, breaks, filler)
            if best is None:
                at += 1
            else:
                found.append(best)
                at = best.last + 1
        return found

    def _longest(self, line: Sequence[Token], at: int, breaks: frozenset[int], filler: frozenset[str]) -> Match | None:
        best: Match | None = None
        open_nodes: list[tuple[_Node, int, float]] = [(self._root, at, 1.0)]
        while open_nodes:
            node, place, sure = open_nodes.pop()
            if (
                place > at
                and node.ends
                and (best is None or place - 1 > best.last or (place - 1 == best.last and sure > 0.99))
            ):
                best = Match(at, place - 1, {name: weight * sure for name, weight in node.ends.items()}, sure > 0.99)
            if place >= len(line) or (place in breaks and place > at):
                continue
            word = line[place].text
            matched = False
            for one, weight in self._alternatives(word):
                child = node.children.get(one)
                if child is not None:
                    open_nodes.append((child, place + 1, sure * weight))
                    matched = True
            if not matched and place > at and word in filler and node is not self._root:
                after = place + 1
                if after < len(line) and after not in breaks:
                    for one, weight in self._alternatives(line[after].text):
                        child = node.children.get(one)
                        if child is not None:
                            open_nodes.append((child, after + 1, sure * weight * 0.97))
        return best


def look_of(word: str) -> str:
    """What stays of a word when letters that OCR mixes up are taken for the same."""
    return word.translate(_LOOKALIKE).translate(_ALIKE_LETTERS)


def _shortened(word: str) -> Iterable[str]:
    """The word with any one of its letters left out."""
    return {word[:at] + word[at + 1 :] for at in range(len(word))}


# --- what the data files say ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The vocabulary of labels, read once from the data files.

    ``kinds`` is the kind of each concept, ``of_field`` goes from the words of a field's name to concepts, ``synonyms``
    from a single word to what it means, ``titles`` and ``trades`` are phrases of their own, words of ``yours``
    say that what follows is the reader's.
    """

    phrases: Phrases
    kinds: Mapping[str, Kind]
    of_field: Mapping[tuple[str, ...], tuple[str, ...]]
    synonyms: Mapping[str, str]
    filler: frozenset[str]
    titles: frozenset[tuple[str, ...]]
    trades: frozenset[str]
    persons: frozenset[str]
    negations: frozenset[str]
    yours: frozenset[str]
    units: frozenset[str]
    final: frozenset[str]

    def meaning(self, word: str) -> str:
        """One form for words that mean the same: "no" and "nr" are both "number"; others lose their ending."""
        return self.synonyms.get(word) or _stem(word)

    def concepts_of(self, names: Iterable[str], kind: Kind) -> tuple[str, ...]:
        """The concepts that a field with these names may mean, the surest first."""
        found: list[str] = []
        alike = _ALIKE.get(kind, frozenset({kind}))
        for name in names:
            for concept in self.of_field.get(words_of(name), ()):
                fits = self.kinds.get(concept, kind) in alike or self.kinds.get(concept) is kind
                if fits and concept not in found:
                    found.append(concept)
        return tuple(sorted(found, key=lambda concept: self.kinds.get(concept, kind) is not kind))


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


@cache
def lexicon() -> Lexicon:
    """The vocabulary of every language there is data for."""
    phrases = Phrases()
    kinds: dict[str, Kind] = {}
    of_field: dict[tuple[str, ...], list[str]] = {}
    synonyms: dict[str, str] = {}
    lists: dict[str, set[str]] = {
        "filler": set(),
        "titles": set(),
        "trades": set(),
        "persons": set(),
        "negations": set(),
        "yours": set(),
        "units": set(),
        "final": set(),
    }

    said: dict[tuple[str, ...], str] = {}

    def learn(concept: str, kind: Kind, words: Iterable[str]) -> None:
        kinds.setdefault(concept, kind)
        for word in words:
            phrases.add(word, concept, 1.0)
            said.setdefault(words_of(word), concept)
            of_field.setdefault(words_of(word), []).append(concept)

    data = [
        _read(entry)
        for entry in sorted(_folder().iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    ]
    for one in data:
        for concept, names in one.get("fields", {}).items():
            of_field.setdefault(words_of(spoken(concept)), []).append(concept)
            for name in names:
                of_field.setdefault(words_of(name), []).append(concept)
    for one in data:
        for kind, concepts in one.get("labels", {}).items():
            for concept, words in concepts.items():
                of_field.setdefault(words_of(spoken(concept)), []).append(concept)
                learn(concept, Kind(kind), words)
        for concept, words in one.get("weak", {}).items():
            for word in words:
                phrases.add(word, concept, WEAK)
        for meaning, words in one.get("words", {}).items():
            synonyms.update({fold(word): meaning for word in words})
        lists["filler"].update(one.get("filler", {}).get("words", ()))
        lists["titles"].update(one.get("titles", {}).get("words", ()))
        for name in ("negations", "yours"):
            lists[name].update(one.get(name, {}).get("words", ()))
        lists["units"].update(one.get("units", {}).get("words", ()))
        lists["final"].update(one.get("final", {}).get("words", ()))
        lists["trades"].update(one.get("party", {}).get("trades", ()))
        lists["persons"].update(one.get("party", {}).get("persons", ()))
    for role, words in neutral().words.items():
        if role in _ROLES:
            concept, kind = _ROLES[role]
            kinds.setdefault(concept, kind)
            for word in words:  # what the files here call more precisely stays a weak sign of the wider concept
                other = said.get(words_of(word), concept)
                narrower = other != concept and kinds[other] is kind
                phrases.add(word, concept, WEAK if narrower else 1.0)
        elif role in ("invoice", "receipt"):  # what the document calls itself often stands before its number
            lists["titles"].update(words)
            for word in words:
                phrases.add(word, "invoice_number", 0.8)
    return Lexicon(
        phrases,
        kinds,
        {name: tuple(dict.fromkeys(concepts)) for name, concepts in of_field.items()},
        synonyms,
        frozenset(map(fold, lists["filler"])),
        frozenset(map(words_of, lists["titles"])),
        frozenset(map(fold, lists["trades"])),
        frozenset(map(fold, lists["persons"])),
        frozenset(map(fold, lists["negations"])),
        frozenset(map(fold, lists["yours"])),
        frozenset(map(fold, lists["units"])),
        frozenset(map(fold, lists["final"])),
    )


def _folder() -> Any:
    return files(__package__).joinpath("lexicon")


def _read(entry: Any) -> dict[str, Any]:
    return tomllib.loads(entry.read_text("utf-8"))
