"""The embedded engine: reads pages on the CPU, guided by the schema, with rules and no learned language model."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

from docflow.documents.model import Page
from docflow.engines.base import (
    BEGINS,
    GOES_ON,
    Answer,
    Health,
    LeafHint,
    Request,
    Usage,
    WantChoice,
    WantJson,
)
from docflow.engines.embedded.context import Context, LeafReading
from docflow.engines.embedded.record import Reader
from docflow.engines.embedded.repair import rejected

MODEL = "rules-1"
_KEPT_CONTEXTS = 16


class EmbeddedEngine:
    """Answers requests from the words of the pages alone. Safe to call from several threads."""

    name = "embedded"
    model = MODEL

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[int, ...], Context] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """Answer one request. Raises ReadingError or DocumentError when a page cannot be read."""
        context = self._context(request.pages)
        if isinstance(request.want, WantChoice):
            if set(request.want.choices) == {BEGINS, GOES_ON} and request.pages:
                return self._boundary(request.pages)
            return self._choose(request, request.want, context)
        if isinstance(request.want, WantJson):
            return self._record(request, request.want, context)
        return self._said(context.reading_order())

    def health(self) -> Health:
        """Always well: there is nothing outside the process that could be down."""
        return Health(True, self.model, "rules on the CPU")

    def close(self) -> None:
        """Forget the pages that were read."""
        with self._lock:
            self._contexts.clear()

    def _context(self, pages: tuple[Page, ...]) -> Context:
        """The context of these pages; kept, because one document is asked about several times in a row."""
        key = tuple(map(id, pages))
        with self._lock:
            context = self._contexts.get(key)
            # The context holds its pages, so an id cannot have gone to another page while it is kept.
            if context is None:
                context = self._contexts[key] = Context(pages)
                while len(self._contexts) > _KEPT_CONTEXTS:
                    self._contexts.popitem(last=False)
            else:
                self._contexts.move_to_end(key)
            return context

    def _said(self, text: str, **more: Any) -> Answer:
        return Answer(text, usage=Usage(calls=1), engine=self.name, model=self.model, by_rules=True, **more)

    def _choose(self, request: Request, want: WantChoice, context: Context) -> Answer:
        from docflow.engines.embedded.classify import choose

        question = "\n".join(turn.text for turn in request.turns) + request.begun
        probs = choose(want.choices, question, context)
        return self._said(max(want.choices, key=lambda choice: probs.get(choice, 0.0)), choice_probs=probs)

    def _boundary(self, pages: tuple[Page, ...]) -> Answer:
        """Whether a document begins on the last of these pages."""
        from docflow.engines.embedded.boundaries import begins

        before = self._context(pages[-2:-1]).signs if len(pages) > 1 else None
        prob = begins(before, self._context(pages[-1:]).signs)
        return self._said(BEGINS if prob > 0.5 else GOES_ON, choice_probs={BEGINS: prob, GOES_ON: 1 - prob})

    def _record(self, request: Request, want: WantJson, context: Context) -> Answer:
        record: dict[str, Any] = {}
        hints: dict[str, LeafHint] = {}
        readings = Reader(context, want.schema, rejected(request)).read(record)
        for path, reading in readings.items():
            hints[path] = _hint(reading)
        return self._said(json.dumps(record, ensure_ascii=False), hints=hints)


def _hint(reading: LeafReading) -> LeafHint:
    sure = None if reading.printed is None else reading.confidence  # a null has no reading to be sure of
    return LeafHint(reading.raw or reading.printed, reading.pieces, sure, reading.reason)
