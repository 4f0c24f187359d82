"""What the fields of a record say about each other: rules that a program declares, and numbers with check digits.

A rule compares sums of leaves: ``amount_untaxed + tax = amount``, ``sum(items.amount) = amount_untaxed``, ``date <=
due_date``; ``or`` gives alternatives (prices may stand with tax or without). It never makes a record invalid. Where
it holds, the values that took part are surer; where it does not, at least one of them is wrong, and all of them count
less. A rule with a null in it says nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from docflow.errors import SchemaError
from docflow.fields import valid_iban

RULES_KEY = "x-rules"
"""The keyword of a record's schema that lists its rules."""

TOLERANCE = Decimal("0.05")
"""How far the sides of a sum may be apart: tax and cash are rounded a few cents at a time."""

Keys = tuple[str | int, ...]
Value = Decimal | dt.date
Operator = Literal["=", "<=", ">="]

_RULE = re.compile(r"(?P<left>[^=<>]+?)\s*(?P<operator><=|>=|=)\s*(?P<right>[^=<>]+)")
_TERM = re.compile(r"(?:sum\(\s*(?P<list>\w+)\.(?P<leaf>\w+)\s*\)|(?P<name>\w+))")


@dataclass(frozen=True, slots=True)
class Term:
    """A leaf, or the sum of one leaf over a list, with its sign in the sum it stands in."""

    sign: int
    name: str
    leaf: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Two sums and how they compare."""

    left: tuple[Term, ...]
    operator: Operator
    right: tuple[Term, ...]

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Raises SchemaError when the text is no rule."""
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise SchemaError(f"{text!r} is no rule", hint="A rule looks like: amount_untaxed + tax = amount")
        operator: Operator = match["operator"]  # type: ignore[assignment]
        return cls(_terms(match["left"], text), operator, _terms(match["right"], text))

    def holds(self, values: Mapping[Keys, Any]) -> tuple[bool, set[Keys]] | None:
        """Whether the rule holds, and the leaves that took part; None when a leaf is null or of no use here."""
        used: set[Keys] = set()
        left = _total(self.left, values, used)
        right = _total(self.right, values, used)
        if left is None or right is None or isinstance(left, Decimal) != isinstance(right, Decimal):
            return None
        if isinstance(left, Decimal) and isinstance(right, Decimal):
            gap = left - right
            fine = {"=": abs(gap) <= TOLERANCE, "<=": gap <= TOLERANCE, ">=": gap >= -TOLERANCE}[self.operator]
        else:
            fine = {"=": left == right, "<=": left <= right, ">=": left >= right}[self.operator]  # type: ignore[operator]
        return fine, used


def _terms(text: str, rule: str) -> tuple[Term, ...]:
    first, *others = re.split(r"([+-])", text)
    signs, pieces = others[::2], others[1::2]
    if first.strip() or not pieces:  # a sign before the first field may be left out
        signs, pieces = ["+", *signs], [first, *pieces]
    terms = []
    for sign, piece in zip(signs, pieces, strict=True):
        match = _TERM.fullmatch(piece.strip())
        if match is None:
            raise SchemaError(
                f"{piece.strip()!r} in the rule {rule!r} is no field", hint="Write a field, or sum(list.field)."
            )
        terms.append(Term(-1 if sign == "-" else 1, match["list"] or match["name"], match["leaf"] or ""))
    return tuple(terms)


def _total(terms: tuple[Term, ...], values: Mapping[Keys, Any], used: set[Keys]) -> Value | None:
    total = Decimal(0)
    for term in terms:
        if term.leaf:
            keys = [key for key in values if len(key) == 3 and key[0] == term.name and key[2] == term.leaf]
            amounts = [values[key] for key in keys]
            if not amounts or not all(isinstance(amount, Decimal) for amount in amounts):
                return None
            used.update(keys)
            total += term.sign * sum(amounts, Decimal(0))
            continue
        value = values.get((term.name,))
        if isinstance(value, dt.date) and len(terms) == 1:
            used.add((term.name,))
            return value
        if not isinstance(value, Decimal):
            return None
        used.add((term.name,))
        total += term.sign * value
    return total


Alternatives = tuple[Rule, ...]
"""Rules of which one must hold."""


def rules_of(schema: Mapping[str, Any]) -> list[Alternatives]:
    """The rules that a record's schema declares. Raises SchemaError for one that is not well formed."""
    texts = schema.get(RULES_KEY, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise SchemaError(f"{RULES_KEY} must list texts")
    return [tuple(Rule.parse(part) for part in re.split(r"\s+or\s+", text)) for text in texts]


def check_names(rules: Iterable[Alternatives], schema: Mapping[str, Any]) -> None:
    """Raises SchemaError for a rule over a field that the record lacks: it would say nothing, in silence.

    ``schema`` is the record's, with references inlined.
    """
    for term in (term for rule in rules for one in rule for term in (*one.left, *one.right)):
        field = schema["properties"].get(term.name)
        if field is None or (term.leaf and term.leaf not in field.get("items", {}).get("properties", {})):
            name = f"{term.name}.{term.leaf}" if term.leaf else term.name
            raise SchemaError(f"a rule speaks of {name!r}, which the record lacks", hint="Check how it is spelt.")


FAILS = 0.6
"""What a value counts, of what it counted, when a rule that it takes part in does not hold."""
HOLDS = 0.5
"""What is left of the doubt in a value when a rule that it takes part in holds."""

_IBAN_SHAPE = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")


def weights(rules: Iterable[Alternatives], values: Mapping[Keys, Any]) -> dict[Keys, bool]:
    """For each leaf about which something can be said: whether all that is said speaks for it."""
    said: dict[Keys, bool] = {}
    for keys, fine in _verdicts(rules, values):
        said[keys] = said.get(keys, True) and fine
    return said


def _verdicts(rules: Iterable[Alternatives], values: Mapping[Keys, Any]) -> Iterator[tuple[Keys, bool]]:
    for alternatives in rules:
        verdicts = [verdict for rule in alternatives if (verdict := rule.holds(values)) is not None]
        holding = [used for fine, used in verdicts if fine]
        for keys in holding[0] if holding else set().union(*(used for _, used in verdicts)):
            yield keys, bool(holding)
    for keys, value in values.items():
        if isinstance(value, str) and _IBAN_SHAPE.fullmatch(value.replace(" ", "")):
            yield keys, valid_iban(value)


def weighed(confidence: float, fine: bool | None) -> float:
    """A confidence after the verdict of the rules: None where nothing is said."""
    if fine is None:
        return confidence
    return round(1 - (1 - confidence) * HOLDS if fine else confidence * FAILS, 4)
