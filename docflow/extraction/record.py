"""A record while it is being read: each leaf as it was printed, as it is typed, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from docflow.engines.base import LeafHint, Reason
from docflow.errors import ConfigError
from docflow.extraction.confidence import confidence
from docflow.extraction.grounding import NOT_FOUND, Grounder, Place
from docflow.extraction.leaves import Keys, Leaf, nest, path_of
from docflow.extraction.result import Evidence, Found
from docflow.fields import Kind, Locale, Normalised, detect, locale_named, normalise
from docflow.program import Program
from docflow.rules import weighed, weights
from docflow.schemas import violations

_TYPED = {Kind.DATE, Kind.MONEY, Kind.QUANTITY}


@dataclass(slots=True)
class Reading:
    """One reading of one leaf: what was answered, by whom, and what came of it.

    ``window`` counts the window of pages that gave it, ``asked`` is where the leaf stands in that window's own answer.
    ``reason`` overrides the engine's reason for a null. ``seconded`` says whether another reading said the same; None
    where there was none.
    """

    leaf: Leaf
    asked: Keys
    window: int
    hint: LeafHint = field(default_factory=LeafHint)
    value: Normalised | None = None
    unreadable: bool = False
    reason: Reason | None = None
    seconded: bool | None = None
    place: Place | None = None
    looked_up: bool = False

    @property
    def typed(self) -> Any:
        """The typed value; None where the leaf is null, or cannot be read as its kind."""
        return self.value.value if self.value is not None else None

    @property
    def found(self) -> Found | None:
        return self.place.found if self.place is not None else None

    @property
    def as_asked(self) -> Leaf:
        """The leaf under the name that it has in its window's answer."""
        return replace(self.leaf, keys=self.asked)

    def say(self, printed: str | bool | None, hint: LeafHint | None) -> None:
        """Take another answer for the same leaf, from the same window; it has to be typed again."""
        if printed != self.leaf.printed:
            self.hint = hint or LeafHint()
        self.leaf.printed = printed
        self.unreadable = self.unreadable or printed is None
        self.place, self.looked_up = None, False


@dataclass(slots=True)
class Record:
    """The leaves of one record. ``grounders`` has one for each window of pages that was asked."""

    program: Program
    locale: Locale | None
    grounders: list[Grounder]
    readings: dict[Keys, Reading] = field(default_factory=dict)

    # -- typing --

    def type(self, reading: Reading) -> None:
        """Make the typed value of what was printed."""
        leaf = reading.leaf
        if leaf.printed is None:
            reading.value = None
            return
        choices = tuple(choice for choice in leaf.schema.get("enum", ()) if choice is not None)
        reading.value = normalise(str(leaf.printed), leaf.kind, self.locale, choices=choices)

    def data(self) -> dict[str, Any]:
        """The record as typed Python values."""
        return nest(self.program.schema, {keys: reading.typed for keys, reading in self.readings.items()})

    # -- validating --

    def validate(self) -> tuple[BaseModel | None, list[tuple[Keys, str]]]:
        """The record, or what is wrong with it: where, and a message."""
        model = self.program.model
        assert model is not None
        try:
            record = model.model_validate(self.data())
        except ValidationError as error:
            return None, [(tuple(problem["loc"]), problem["msg"]) for problem in error.errors(include_url=False)]
        problems = violations(self.program.json_schema, record) if self.program.json_schema is not None else []
        return (None if problems else record), problems

    def failing(self) -> dict[Keys, str]:
        """The leaves that were answered but do not pass, with what is wrong. A null is never among them."""
        failing = {
            keys: reading.value.note or "cannot be read"
            for keys, reading in self.readings.items()
            if reading.value is not None and reading.value.value is None
        }
        for keys, message in self.validate()[1]:
            for leaf_keys, reading in self.readings.items():
                if leaf_keys[: len(keys)] == keys and reading.leaf.printed is not None:
                    failing.setdefault(leaf_keys, message)
        return failing

    # -- evidence --

    def look_up(self, reading: Reading) -> Place | None:
        """Where a value stands on the pages of its window; None where it is null or cannot be looked up."""
        if not reading.looked_up:
            reading.place = self._place(reading) if reading.typed is not None else None
            reading.looked_up = True
        return reading.place

    def _place(self, reading: Reading) -> Place | None:
        leaf, grounder = reading.leaf, self.grounders[reading.window]
        if reading.hint.pieces:
            return grounder.check(reading.hint.raw or str(leaf.printed), reading.hint.pieces)
        if not grounder.texts:
            return None
        if isinstance(leaf.printed, bool) or leaf.kind is Kind.BOOLEAN:
            return None  # a tick has no text of its own
        same = None
        if leaf.kind in _TYPED:
            same = lambda text: normalise(text, leaf.kind, self.locale).value == reading.typed  # noqa: E731
        place = grounder.find(str(leaf.printed), same=same, last=leaf.kind is Kind.MONEY)
        if (
            leaf.kind is Kind.CHOICE
        ):  # a class that the schema names need not be printed: then nothing speaks against it
            return place if place is not None and place.found in ("exact", "normalised") else None
        return place or NOT_FOUND

    def sure(self, reading: Reading) -> float:
        """The probability that a reading is right, before the rules among the fields are asked."""
        hint = reading.hint
        if reading.value is None or reading.typed is None:
            sure = round(0.5 if hint.confidence is None else hint.confidence, 4)
        else:
            place = self.look_up(reading)
            score = place.score if place else None
            sure = confidence(hint.confidence, reading.found, score, ambiguous=reading.value.ambiguous)
        return weighed(sure, reading.seconded)

    def confidences(self) -> dict[Keys, float]:
        """The probability of each leaf that it is right, with what the rules among the fields say to it."""
        said = weights(self.program.rules, {keys: reading.typed for keys, reading in self.readings.items()})
        return {keys: weighed(self.sure(reading), said.get(keys)) for keys, reading in self.readings.items()}

    def evidence(self) -> list[Evidence]:
        """What is known of every leaf, in the order of the schema."""
        sure = self.confidences()
        return [entry for keys, reading in self.readings.items() for entry in self._evidence_of(reading, sure[keys])]

    def _evidence_of(self, reading: Reading, sure: float) -> list[Evidence]:
        hint, path = reading.hint, reading.leaf.path
        if reading.value is None or reading.typed is None:
            reason = reading.reason or hint.reason or ("unreadable" if reading.unreadable else "absent")
            raw = hint.raw if reading.value is None else str(reading.leaf.printed)
            return [Evidence(path, None, raw, None, None, None, sure, reason)]
        # A tick has no text of its own, unless the engine says how it was printed.
        raw = hint.raw or (None if isinstance(reading.leaf.printed, bool) else str(reading.leaf.printed))
        place = self.look_up(reading)
        text = text_of(reading.typed)
        if place is None or not place.pieces:
            return [Evidence(path, text, raw, None, None, reading.found, sure)]
        return [Evidence(path, text, raw, p.page, p.box, place.found, sure) for p in place.pieces]

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong with the record, as (path, message)."""
        return [(path_of(keys), message) for keys, message in self.validate()[1]]


def locale_of(named: str | None, grounders: Sequence[Grounder], answered: Iterable[Leaf]) -> Locale | None:
    """The locale that was named, or the one that the pages' words point to; the answers' where nothing was read."""
    if named:
        try:
            return locale_named(named)
        except KeyError:
            raise ConfigError(f"there is no data for the locale {named!r}") from None
    texts = [word.text for grounder in grounders for page in grounder.texts for word in page.words]
    return detect(texts or [leaf.printed for leaf in answered if isinstance(leaf.printed, str)])


def text_of(value: Any) -> str:
    """A typed value as text: ISO dates, plain decimals."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)
