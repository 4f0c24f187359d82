"""Reading a record: every leaf of a schema gets its likeliest candidate, or is left null for a reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from docflow.engines.base import Piece
from docflow.engines.embedded import days as day_reading
from docflow.engines.embedded.addresses import addresses
from docflow.engines.embedded.context import ABSENT, CONFLICT, UNREADABLE, Context, LeafReading, Span
from docflow.engines.embedded.head import Found, Head
from docflow.engines.embedded.mending import mend
from docflow.engines.embedded.money import Candidate, Ledger
from docflow.engines.embedded.month_days import asks_for_day, month_days
from docflow.engines.embedded.names import Names
from docflow.engines.embedded.pairing import labels_for, pairs
from docflow.engines.embedded.parties import address_under, parties
from docflow.engines.embedded.questions import ListQuestion, Question, asked
from docflow.engines.embedded.singles import (
    asks_for_heading,
    booleans,
    choices,
    currencies,
    headings,
    is_readers,
    payment_methods,
    shaped,
)
from docflow.engines.embedded.values import take
from docflow.fields.kinds import Kind
from docflow.fields.text import collapse, fold

_ISSUERS = ("issuer", "employer", "laboratory", "landlord", "insurer")
_ADDRESSED = ("customer", "employee", "tenant", "patient", "insured")
"""Who a letter goes to, where no label says more."""
_OWN = ("vat", "registration_number", "iban")
"""What is the issuer's, unless the field or the print says whose it is."""
_PLAIN_DATES = ("date", "report_date", "pay_date", "signature_date")
_SUMS = ("total", "subtotal", "tax")
_ISO = re.compile(r"\b(?:ISO|code)\b", re.IGNORECASE)
_NEAR = 0.1
"""How far under its floor a score may lie to count as nearly good enough."""
_LEGIBLE = 0.5
"""Below this share of readable text a leaf without a value counts as unreadable rather than absent."""


@dataclass(frozen=True, slots=True)
class Option:
    """A value that a leaf may have: its text, its places, its score, and the score at which it is as good as not."""

    text: str
    pieces: tuple[Piece, ...]
    score: float
    floor: float
    spans: tuple[Span, ...] = ()


class Reader:
    """Reads one record from one context. ``rejected`` holds values (folded) that a leaf must not have."""

    def __init__(self, context: Context, schema: Mapping[str, Any], rejected: Mapping[str, frozenset[str]]) -> None:
        self._context = context
        self._asked = asked(schema)
        self._rejected = rejected

    def read(self, record: dict[str, Any]) -> dict[str, LeafReading]:
        """Fill ``record`` and say how each leaf was read, by path."""
        readings: dict[str, LeafReading] = {}
        options = {question.path: self._options(question) for question in self._asked.questions}
        for question in self._order(options):
            readings[question.path] = self._choose(question, options[question.path])
        for question in self._asked.questions:
            reading = readings[question.path]
            value: Any = reading.printed
            if question.kind is Kind.BOOLEAN and value is not None:
                value = value == "true"
            _put(record, question.path, value)
        for asked_list in self._asked.lists:
            self._read_list(asked_list, record, readings)
        return readings

    # --- choosing -----------------------------------------------------------------------------------------------

    def _order(self, options: Mapping[str, list[Option]]) -> list[Question]:
        """The surest questions first, so that a value goes to the field that it fits best."""

        def sureness(question: Question) -> float:
            best = options[question.path][:1]
            return -(best[0].score - best[0].floor) if best else 0.0

        return sorted(self._asked.questions, key=sureness)

    def _choose(self, question: Question, options: list[Option]) -> LeafReading:
        rejected = self._rejected.get(question.path, frozenset())
        taken = self._taken.setdefault(_family(question), [])
        kept = [option for option in options if not rejected or _key(self._printed(question, option)) not in rejected]
        free = [option for option in kept if not any(_same_place(option, other) for other in taken)]
        if question.look is Kind.PARTY:  # a name that stands twice is still one party
            free = [option for option in free if not any(fold(option.text) == fold(other.text) for other in taken)]
        best = next((option for option in free if option.score >= option.floor), None)
        if best is None:
            return self._abstain(free)
        taken.append(best)
        rivals = [option.score for option in free if _key(option.text) != _key(best.text)]
        printed = self._printed(question, best)
        return LeafReading(
            printed,
            best.pieces,
            round(_confidence(best, rivals) * self._readable(question, best), 3),
            raw=collapse(best.text),
        )

    def _printed(self, question: Question, option: Option) -> str:
        """The text as it is answered: names and addresses with what OCR misread put right."""
        text = collapse(option.text)
        return mend(text, self._context) if question.look in (Kind.PARTY, Kind.ADDRESS) else text

    def _readable(self, question: Question, option: Option) -> float:
        """How likely OCR read every letter of a value right: its own scores, and long texts fail more often."""
        sure = 1.0
        for piece in option.pieces:
            page = next(page for page in self._context.pages if page.number == piece.page)
            if page.text_layer:
                continue
            scores = [word.score for word in page.words if word.box.intersection(piece.box) > 0.3 * word.box.area]
            sure *= sum(scores) / len(scores) if scores else 1.0
            if question.look in (Kind.PARTY, Kind.ADDRESS, Kind.TEXT):
                sure *= 0.96
        return sure

    def _abstain(self, options: list[Option]) -> LeafReading:
        """Why a leaf is null: several values are nearly good enough, the page cannot be read, or nothing is there."""
        near = {_key(option.text) for option in options if option.floor - option.score < _NEAR}
        if len(near) > 1:
            return CONFLICT
        return UNREADABLE if self._illegible else ABSENT

    @cached_property
    def _taken(self) -> dict[str, list[Option]]:
        return {}

    @cached_property
    def _illegible(self) -> bool:
        pages = self._context.pages
        return bool(pages) and min(page.legibility for page in pages) < _LEGIBLE

    # --- candidates by kind ---------------------------------------------------------------------------------------

    def _options(self, question: Question) -> list[Option]:
        reader: Callable[[Question], list[Option]] = {
            Kind.MONEY: self._money,
            Kind.DATE: self._dates,
            Kind.PARTY: self._parties,
            Kind.ADDRESS: self._addresses,
            Kind.CURRENCY: self._currencies,
            Kind.BOOLEAN: self._booleans,
            Kind.CHOICE: self._choices,
        }.get(question.look, self._texts)
        return reader(question)

    @cached_property
    def _labels(self) -> dict[int, list[Any]]:
        return labels_for(self._context, self._asked.questions)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._context, self._labels)

    @cached_property
    def _head(self) -> Head:
        return Head(self._context, self._labels)

    @cached_property
    def _names(self) -> Names:
        return Names(self._head)

    @cached_property
    def _total(self) -> Candidate | None:
        best = self._ledger.totals()[:1]
        return best[0] if best and best[0].score >= _TOTAL_FLOOR else None

    def _money(self, question: Question) -> list[Option]:
        names = (question.path, *question.concepts)
        concept = question.concept
        if concept == "total":
            found, floor = self._ledger.totals((question.path,)), _TOTAL_FLOOR
        elif concept in _SUMS:
            total = self._total.amount.value if self._total else None
            found, floor = self._ledger.parts(concept, (question.path,), total), 0.5
        else:
            found, floor = self._ledger.named(names), 0.35
        return [
            Option(one.amount.span.text.strip(), (one.amount.span.piece,), one.score, floor, (one.amount.span,))
            for one in found
        ]

    @cached_property
    def _days(self) -> list[day_reading.Day]:
        return day_reading.days_of(self._context, self._labels)

    def _dates(self, question: Question) -> list[Option]:
        names = (question.path, *question.concepts)
        plain = question.concept in _PLAIN_DATES
        return [
            Option(one.day.span.text, (one.day.span.piece,), one.score, 0.2 if plain else 0.4, (one.day.span,))
            for one in day_reading.candidates(self._days, names, plain=plain)
        ]

    def _parties(self, question: Question) -> list[Option]:
        options = [_found(one, 0.5) for one in parties(self._context, question, self._labels, self._head.reader)]
        if question.concept in _ISSUERS or question.about in _ISSUERS:
            options += [_found(one, 0.6) for one in self._names.issuers]
        if question.concept in _ADDRESSED:
            options += [_found(one, 0.5) for one in self._names.recipients]
        return _best_first(options)

    def _addresses(self, question: Question) -> list[Option]:
        options = [_found(one, 0.5) for one in address_under(self._context, question, self._labels, self._head.reader)]
        if not question.about or question.about in _ISSUERS:
            options += [_found(one, 0.2) for one in addresses(self._head)]
        return _best_first(options)

    def _currencies(self, question: Question) -> list[Option]:
        total = self._total.amount.span if self._total else None
        # A plain text field that asks for the ISO code gets the code; a currency field what is printed.
        coded = question.kind is Kind.TEXT and bool(_ISO.search(question.description))
        return [
            Option(code if coded else span.text, (span.piece,), score, 0.1)
            for code, span, score in currencies(self._context, total)
        ]

    def _booleans(self, question: Question) -> list[Option]:
        found = booleans(self._context, question, self._labels)
        return [Option("true" if value else "false", pieces, score, 0.4) for value, pieces, score in found]

    def _choices(self, question: Question) -> list[Option]:
        found = choices(self._context, question, self._labels)
        return [Option(choice, (span.piece,), score, 0.4) for choice, span, score in found]

    def _texts(self, question: Question) -> list[Option]:
        names = (question.path, *question.concepts)
        if asks_for_heading(question):
            return [Option(span.text, (span.piece,), score, 0.15) for span, score in headings(self._context)]
        options = [
            Option(span.text, (span.piece,), score, 0.45, (span,))
            for span, score in shaped(self._context, question.concept, self._head)
        ]
        for pair in pairs(self._context, question, self._labels, names):
            taken = take(question.look, question.concept, pair.region.span, self._context)
            if taken is not None:
                span, look = taken
                options.append(Option(span.text, (span.piece,), pair.score * look, 0.45, (span,)))
        if question.concept in _OWN and question.about not in _ADDRESSED:
            options = [option for option in options if not any(is_readers(span) for span in option.spans)]
        if asks_for_day(question):
            options += [
                Option(span.text, (piece,), score, 0.45, (span,))
                for span, piece, score in month_days(self._context, question)
            ]
        if question.concept == "payment_method":
            options += [
                Option(span.text, (span.piece,), score, 0.3, (span,)) for span, score in payment_methods(self._ledger)
            ]
        return _best_first(options)

    # --- lists --------------------------------------------------------------------------------------------------

    def _read_list(self, question: ListQuestion, record: dict[str, Any], readings: dict[str, LeafReading]) -> None:
        from docflow.engines.embedded.tables import read_list

        rows = read_list(question.schema, question.path, self._context)
        values: list[Any] = []
        for number, row in enumerate(rows):
            here = f"{question.path}[{number}]"
            if "" in row:  # a list of plain values
                readings[here] = row[""]
                values.append(row[""].printed)
                continue
            item: dict[str, Any] = {}
            for name, reading in row.items():
                readings[f"{here}.{name}"] = reading
                item[name] = reading.printed
            values.append(item)
        _put(record, question.path, values)


_TOTAL_FLOOR = 0.4


def _found(one: Found, floor: float) -> Option:
    return Option(one.text, one.pieces, one.score, floor)


def _best_first(options: list[Option]) -> list[Option]:
    return sorted(options, key=lambda option: -option.score)


def _key(text: str) -> str:
    """Texts that differ only in case, accents and spaces are one value."""
    return collapse(fold(text))


def _family(question: Question) -> str:
    """Fields among which one printed value is given out only once."""
    if question.look in (Kind.DATE, Kind.PARTY, Kind.ADDRESS):
        return question.look
    return "text" if question.look in (Kind.TEXT, Kind.IDENTIFIER, Kind.QUANTITY) else question.path


def _same_place(option: Option, other: Option) -> bool:
    return any(
        piece.page == taken.page and piece.box.intersection(taken.box) > 0.5 * min(piece.box.area, taken.box.area)
        for piece in option.pieces
        for taken in other.pieces
    )


def _confidence(best: Option, rivals: list[float]) -> float:
    """How likely the best option is right: by how far it lies over its floor and over the next one."""
    over = best.score - best.floor
    lead = best.score - max(rivals, default=best.floor - 1.0)
    return 1 / (1 + math.exp(-(0.6 + 1.2 * min(over, 2.0) + 1.0 * min(lead, 1.5))))


def _put(record: dict[str, Any], path: str, value: Any) -> None:
    *parents, key = path.split(".")
    for parent in parents:
        record = record.setdefault(parent, {})
    record[key] = value
