"""One document through one program: ask, normalise, validate, ask again what failed, ground, and say how it went."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from docflow.documents.model import Document, Page
from docflow.engines.base import Answer, Engine, LeafHint, Limits, Usage
from docflow.engines.bridge import Conversation, run_program
from docflow.errors import BadAnswer, ConfigError, DocflowError, InternalError
from docflow.extraction.confidence import confidence
from docflow.extraction.grounding import NOT_FOUND, Grounder, Place
from docflow.extraction.leaves import Keys, Leaf, leaves_of, nest, parse_answer, path_of, schema_for
from docflow.extraction.result import ErrorInfo, Evidence, PageInfo, Result
from docflow.fields import Kind, Locale, Normalised, detect, locale_named, normalise
from docflow.program import KIND, RECORD, Program
from docflow.rules import weighed, weights
from docflow.schemas import violations
from docflow.settings import ExtractionSettings, Grounding

log = logging.getLogger("docflow.extraction")

READ_AHEAD = 4
"""Pages of one document that are read side by side."""

_TYPED = {Kind.DATE, Kind.MONEY, Kind.QUANTITY}


def extract_document(
    document: Document, program: Program, engine: Engine, settings: ExtractionSettings | None = None
) -> Result[Any]:
    """One document through one program. What goes wrong with it is in the Result, whose status is then ``failed``."""
    settings = settings or ExtractionSettings()
    started = time.perf_counter()
    blank: Result[Any] = Result(
        document_id=document.id,
        source=document.source,
        media_type=document.media_type,
        pages=tuple(PageInfo.of(page) for page in document.pages),
        program=program.name,
        program_version=program.version,
        requested_program=program.name,
        requested_engine=engine.name,
        requested_model=engine.model,
        engine=engine.name,
        model=engine.model,
        status="failed",
        grounding=settings.grounding,
    )
    try:
        result = _extract(document, program, engine, settings, blank)
    except DocflowError as error:
        result = replace(blank, error=ErrorInfo.of(error))
    except Exception as error:  # the border of one document: a fault here must not reach its neighbours
        log.exception("document %s failed", document.id)
        fault = InternalError(f"{type(error).__name__}: {error}")
        result = replace(blank, error=ErrorInfo.of(fault))
    return replace(result, seconds=time.perf_counter() - started)


def _extract(
    document: Document, program: Program, engine: Engine, settings: ExtractionSettings, blank: Result[Any]
) -> Result[Any]:
    limits = Limits(max_tokens=settings.max_tokens, timeout_seconds=settings.timeout_seconds)
    size = settings.pages_per_call or max(1, len(document.pages))
    windows = [document.pages[start : start + size] for start in range(0, len(document.pages), size)]
    with _reading_ahead(_grounded(document.pages, settings.grounding)):
        talks = [run_program(program, window, engine, limits) for window in windows]
        if program.kinds:
            chosen = program.kind_named(_majority(talk.answer(KIND).text for talk in talks))
            talks = [talk for talk in talks if talk.answer(KIND).text == chosen.name]
        else:
            chosen = program
        reading = _Reading(chosen, settings, Grounder.over(_grounded(document.pages, settings.grounding)))
        reading.take(talks)
        reading.repair(talks)
    last = talks[-1].bridge.answers[-1]
    record, problems = reading.validate()
    error = None
    if problems:
        message = "; ".join(f"{path or 'record'}: {text}" for path, text in problems[:5])
        error = ErrorInfo(
            "validate", "ValidationError", message, "The record is kept as it is; look at its evidence.", False
        )
    return replace(
        blank,
        program=chosen.name,
        program_version=chosen.version if chosen is not program else program.version,
        status="invalid" if problems else "valid",
        record=record,
        data=reading.data(),
        evidence=tuple(reading.evidence()),
        answer=reading.last_text if problems else None,
        error=error,
        usage=sum((talk.usage for talk in talks), Usage()),
        engine=last.engine or engine.name,
        model=last.model or engine.model,
    )


def _grounded(pages: Sequence[Page], grounding: Grounding) -> list[Page]:
    """The pages among whose words values are looked up."""
    if grounding == "off":
        return []
    return [page for page in pages if grounding == "full" or page.text_layer]


def _majority(names: Iterable[str]) -> str:
    votes = list(names)
    return max(votes, key=votes.count)  # the first of equals


@contextmanager
def _reading_ahead(pages: Sequence[Page]) -> Iterator[None]:
    """Reads pages in the background while an engine is asked; what goes wrong shows where the words are used."""
    unread = [page for page in pages if not page.text_layer]
    if not unread:
        yield
        return
    pool = ThreadPoolExecutor(min(READ_AHEAD, len(unread)), thread_name_prefix="read-ahead")
    try:
        for page in unread:
            pool.submit(getattr, page, "words")
        yield
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class _Reading:
    """The leaves of one record while they are being read: as printed, as typed, and what is known of each."""

    program: Program
    settings: ExtractionSettings
    grounder: Grounder
    leaves: dict[Keys, Leaf] = field(default_factory=dict)
    values: dict[Keys, Normalised] = field(default_factory=dict)
    hints: dict[Keys, LeafHint] = field(default_factory=dict)
    unreadable: set[Keys] = field(default_factory=set)
    last_text: str = ""
    _locale: Locale | None = None

    # -- asking --

    def take(self, talks: Sequence[Conversation]) -> None:
        """The answers of all windows of pages: of each leaf the first that is not null, of lists all items in order."""
        offsets: dict[Keys, int] = {}
        for talk in talks:
            answer = _record_answer(talk, self.program)
            self.last_text = answer.text
            leaves = leaves_of(self.program.schema, parse_answer(answer.text))
            lengths: dict[Keys, int] = {}
            for leaf in leaves:
                hint = answer.hints.get(leaf.path)
                keys = leaf.keys
                position = next((i for i, key in enumerate(keys) if isinstance(key, int)), None)
                if position is not None:
                    name, index = keys[:position], int(keys[position])
                    lengths[name] = max(lengths.get(name, 0), index + 1)
                    leaf.keys = keys = (*name, offsets.get(name, 0) + index, *keys[position + 1 :])
                if keys not in self.leaves or (self.leaves[keys].printed is None and leaf.printed is not None):
                    self.leaves[keys] = leaf
                    if hint is not None:
                        self.hints[keys] = hint
            for name, length in lengths.items():
                offsets[name] = offsets.get(name, 0) + length
        self._locale = self._find_locale()
        for leaf in self.leaves.values():
            self._normalise(leaf)

    def _find_locale(self) -> Locale | None:
        if self.settings.locale:
            try:
                return locale_named(self.settings.locale)
            except KeyError:
                raise ConfigError(f"there is no data for the locale {self.settings.locale!r}") from None
        texts = [word.text for page in self.grounder.texts for word in page.words]
        if not texts:  # nothing was read: the answer itself is the only evidence
            texts = [leaf.printed for leaf in self.leaves.values() if isinstance(leaf.printed, str)]
        return detect(texts)

    def _normalise(self, leaf: Leaf) -> None:
        if leaf.printed is None:
            self.values.pop(leaf.keys, None)
            return
        choices = tuple(choice for choice in leaf.schema.get("enum", ()) if choice is not None)
        self.values[leaf.keys] = normalise(str(leaf.printed), leaf.kind, self._locale, choices=choices)

    def repair(self, talks: Sequence[Conversation]) -> None:
        """Ask again for the leaves that failed, with the reason, as often as the settings allow."""
        for round_number in range(self.settings.repairs):
            failing = self._failing()
            if not failing:
                return
            rejected = {keys: self.leaves[keys].printed for keys in failing}
            schema = schema_for([self.leaves[keys] for keys in failing])
            text = _repair_text([(self.leaves[keys], message) for keys, message in failing.items()])
            answer = talks[-1].ask_json(f"repair_{round_number + 1}", text, schema)
            self.last_text = answer.text
            again = parse_answer(answer.text)
            for keys, before in rejected.items():
                leaf = self.leaves[keys]
                leaf.printed = _scalar(again.get(leaf.path))
                if leaf.printed is None:
                    self.unreadable.add(keys)
                if leaf.printed != before:
                    self.hints.pop(keys, None)
                    if leaf.path in answer.hints:
                        self.hints[keys] = answer.hints[leaf.path]
                self._normalise(leaf)
        # What still cannot be read as its kind is an honest null, its raw text kept as evidence.
        for keys, value in self.values.items():
            if value.value is None:
                self.unreadable.add(keys)

    def _failing(self) -> dict[Keys, str]:
        """The leaves that were answered but do not pass, with what is wrong. A null is never among them."""
        failing = {keys: value.note or "cannot be read" for keys, value in self.values.items() if value.value is None}
        for keys, message in self._validated()[1]:
            for leaf_keys, leaf in self.leaves.items():
                if leaf_keys[: len(keys)] == keys and leaf.printed is not None:
                    failing.setdefault(leaf_keys, message)
        return failing

    # -- validating --

    def data(self) -> dict[str, Any]:
        """The record as typed Python values."""
        return nest(self.program.schema, {keys: self._value(keys) for keys in self.leaves})

    def _value(self, keys: Keys) -> Any:
        return self.values[keys].value if keys in self.values else None

    def validate(self) -> tuple[BaseModel | None, list[tuple[str, str]]]:
        """The record, or what is wrong with it as (path, message)."""
        record, problems = self._validated()
        return (None if problems else record), [(path_of(keys), message) for keys, message in problems]

    def _validated(self) -> tuple[BaseModel | None, list[tuple[Keys, str]]]:
        model = self.program.model
        assert model is not None
        try:
            record = model.model_validate(self.data())
        except ValidationError as error:
            return None, [(tuple(problem["loc"]), problem["msg"]) for problem in error.errors(include_url=False)]
        if self.program.json_schema is not None:
            return record, violations(self.program.json_schema, record)
        return record, []

    # -- evidence --

    def evidence(self) -> list[Evidence]:
        """What is known of every leaf, in the order of the schema."""
        said = weights(self.program.rules, {keys: self._value(keys) for keys in self.leaves})
        return [
            replace(entry, confidence=weighed(entry.confidence, said.get(leaf.keys)))
            for leaf in self.leaves.values()
            for entry in self._evidence_of(leaf)
        ]

    def _evidence_of(self, leaf: Leaf) -> list[Evidence]:
        hint = self.hints.get(leaf.keys, LeafHint())
        value = self.values.get(leaf.keys)
        if value is None or value.value is None:
            reason = hint.reason or ("unreadable" if leaf.keys in self.unreadable else "absent")
            raw = hint.raw if value is None else str(leaf.printed)
            own = 0.5 if hint.confidence is None else hint.confidence
            return [Evidence(leaf.path, None, raw, None, None, None, round(own, 4), reason)]
        raw = hint.raw or str(leaf.printed)
        place = self._place(leaf, value, hint)
        sure = confidence(
            hint.confidence, place.found if place else None, place.score if place else None, ambiguous=value.ambiguous
        )
        text = _text_of(value.value)
        if place is None or not place.pieces:
            return [Evidence(leaf.path, text, raw, None, None, place.found if place else None, sure)]
        return [Evidence(leaf.path, text, raw, p.page, p.box, place.found, sure) for p in place.pieces]

    def _place(self, leaf: Leaf, value: Normalised, hint: LeafHint) -> Place | None:
        """Where a value stands; None when nothing was looked up."""
        if hint.pieces:
            return self.grounder.check(hint.raw or str(leaf.printed), hint.pieces)
        if not self.grounder.texts:
            return None
        if isinstance(leaf.printed, bool) or leaf.kind is Kind.BOOLEAN:
            return None  # a tick has no text of its own
        same = None
        if leaf.kind in _TYPED:
            same = lambda text: normalise(text, leaf.kind, self._locale).value == value.value  # noqa: E731
        return self.grounder.find(str(leaf.printed), same=same, last=leaf.kind is Kind.MONEY) or NOT_FOUND


def _record_answer(talk: Conversation, program: Program) -> Answer:
    """The answer that holds the record; one that is no JSON is asked for once more."""
    answer = talk.answer(RECORD)
    try:
        parse_answer(answer.text)
    except BadAnswer:
        text = "That was not the JSON object that was asked for. Give the whole object again, and nothing else."
        return talk.ask_json("record_again", text, program.schema)
    return answer


def _repair_text(failing: Sequence[tuple[Leaf, str]]) -> str:
    intro = "These values were not accepted. Look again: give each exactly as printed, or null if it is not there."
    lines = [intro]
    for leaf, message in failing[:50]:
        lines.append(f"- {leaf.path}: {json.dumps(str(leaf.printed)[:200], ensure_ascii=False)}: {message[:300]}")
    return "\n".join(lines)


def _scalar(value: Any) -> str | bool | None:
    if isinstance(value, bool) or value is None:
        return value
    return str(value).strip() or None if isinstance(value, str | int | float) else None


def _text_of(value: Any) -> str:
    """A typed value as text: ISO dates, plain decimals."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)
