"""What a schema asks for, leaf by leaf: its kind, the words for it, and the concepts it may mean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from docflow.engines.embedded.lexicon import lexicon, spoken, words_of
from docflow.fields.kinds import KIND_KEY, Kind


@dataclass(frozen=True, slots=True)
class Question:
    """One leaf of a schema that is asked once (lists are read as tables).

    ``names`` are the words for it, the likeliest to be printed first; ``concepts`` what it means, as far as known;
    ``about`` says whose it is ("customer" for ``customer_address``).
    """

    path: str
    kind: Kind
    names: tuple[str, ...]
    concepts: tuple[str, ...]
    description: str
    choices: tuple[str, ...] = ()
    about: str = ""
    look: Kind = Kind.TEXT
    """What kind its values look like: the schema's kind, or a closer one where the schema only says text or number."""

    @property
    def concept(self) -> str:
        """The likeliest meaning; empty where nothing is known."""
        return self.concepts[0] if self.concepts else ""


@dataclass(frozen=True, slots=True)
class ListQuestion:
    """An array of a schema: its path and its node."""

    path: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that a schema asks for, in its order."""

    questions: tuple[Question, ...]
    lists: tuple[ListQuestion, ...]


def asked(schema: Mapping[str, Any]) -> Asked:
    """What a record schema asks for."""
    return _asked(json.dumps(schema, ensure_ascii=False))


@lru_cache(maxsize=64)
def _asked(text: str) -> Asked:
    questions: list[Question] = []
    lists: list[ListQuestion] = []
    for path, node, parents in _walk(json.loads(text), "", ()):
        if node.get("type") == "array":
            lists.append(ListQuestion(path, node))
        else:
            questions.append(_question(path, node, parents))
    return Asked(tuple(questions), tuple(lists))


def _walk(
    node: Mapping[str, Any], path: str, parents: tuple[str, ...]
) -> Iterator[tuple[str, Mapping[str, Any], tuple[str, ...]]]:
    for key, child in node.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        if child.get("type") == "object":
            yield from _walk(child, here, (*parents, spoken(key)))
        else:
            yield here, child, parents


_HOLDERS = (
    "customer",
    "ship_to",
    "employer",
    "employee",
    "landlord",
    "tenant",
    "patient",
    "property_address",
    "issuer",
    "laboratory",
    "doctor",
    "insured",
    "insurer",
)


def _question(path: str, node: Mapping[str, Any], parents: tuple[str, ...]) -> Question:
    known = lexicon()
    kind = Kind(node.get(KIND_KEY, Kind.TEXT))
    key = spoken(path.rsplit(".", 1)[-1])
    title = str(node.get("title", ""))
    names = [*map(str, node.get("x-labels", ())), key]
    if parents:
        names.insert(0, f"{parents[-1]} {key}")
    if title and words_of(title) != words_of(key):
        names.append(title)
    concepts = list(known.concepts_of(names, kind))
    words = words_of(" ".join((*parents, key)))
    about = _about(words, kind)
    if not concepts and len(words) > 1:
        # "invoice_total_amount": a known name inside the field's own, the longest first.
        for length in range(len(words) - 1, 0, -1):
            for start in range(len(words) - length, -1, -1):
                part = " ".join(words[start : start + length])
                concepts += [one for one in known.concepts_of([part], kind) if known.kinds.get(one) is kind]
            if concepts:
                break
        if length == 1:
            concepts = []  # a single word of a longer name says too little ("start" in "start mileage")
    if kind is Kind.QUANTITY and len(words) > 1 and words[-1] in known.units:
        names.append(" ".join(words[:-1]))  # "term_months" stands behind "term" in print
    look = _look(kind, concepts, words)
    choices = tuple(str(choice) for choice in node.get("enum", ()) if choice is not None)
    return Question(
        path,
        kind,
        tuple(dict.fromkeys(name for name in names if name)),
        tuple(dict.fromkeys(concepts)),
        str(node.get("description", "")),
        choices,
        about,
        look,
    )


_LOOK_OF_WORD = {
    "number": Kind.IDENTIFIER,
    "identifier": Kind.IDENTIFIER,
    "date": Kind.DATE,
    "address": Kind.ADDRESS,
    "name": Kind.PARTY,
}


def _look(kind: Kind, concepts: list[str], words: tuple[str, ...]) -> Kind:
    """A schema without kinds says "string" for names, numbers and dates alike: the words of the field say more."""
    known = lexicon()
    closer = known.kinds.get(concepts[0]) if concepts else None
    if kind is Kind.TEXT:
        if words and known.meaning(words[-1]) == "address":
            return Kind.ADDRESS
        if concepts[:1] == ["currency"]:
            return Kind.CURRENCY
        if closer in (Kind.PARTY, Kind.ADDRESS, Kind.IDENTIFIER, Kind.DATE, Kind.MONEY):
            return closer
        return _LOOK_OF_WORD.get(known.meaning(words[-1]), kind) if words and not concepts else kind
    if kind is Kind.QUANTITY and closer is Kind.MONEY:
        return Kind.MONEY
    return kind


def _about(words: tuple[str, ...], kind: Kind) -> str:
    """Whose address, name or number a field is: the party that its name begins with."""
    if kind not in (Kind.ADDRESS, Kind.PARTY, Kind.TEXT, Kind.IDENTIFIER):
        return ""
    known = lexicon()
    for length in range(min(2, len(words)), 0, -1):
        for concept in known.of_field.get(words[:length], ()):
            if concept in _HOLDERS:
                return concept
    return ""
