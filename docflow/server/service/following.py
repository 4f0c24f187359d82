"""A document in work, as whoever waits for it follows it: pages as they are read, questions as they are answered."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from docflow.documents.decoder import Decoder
from docflow.documents.model import Document, Page, Word
from docflow.documents.sources import SourceItem
from docflow.engines.base import Answer, Engine, Health, Request
from docflow.errors import EngineError
from docflow.reading import Reader
from docflow.runs.resources import Resources

Tell = Callable[[dict[str, Any]], None]
"""Is told how a document comes along, in the threads that do the work."""


@dataclasses.dataclass(eq=False)
class Following:
    """One document's way through the shared resources. Once ``given_up`` is set, nothing more is asked about it.

    ``document`` is there once it is open.
    """

    tell: Tell
    given_up: threading.Event
    document: Document | None = None

    def through(self, resources: Resources) -> Resources:
        """The resources, so that what goes through them is told."""
        return dataclasses.replace(
            resources,
            engine=_Engine(resources.engine, self),
            decoder=cast("Decoder", _Decoder(resources.decoder, self)),
            reader=cast("Reader", _Reader(resources.reader, self)),
        )

    def check(self) -> None:
        """Raises EngineError where nobody waits for the document any more."""
        if self.given_up.is_set():
            raise EngineError("nobody waits for this document any more", retryable=False)


class _Decoder:
    def __init__(self, decoder: Decoder, following: Following) -> None:
        self._decoder, self._following = decoder, following

    def open(self, item: SourceItem) -> Document:
        document = self._decoder.open(item)
        self._following.document = document
        self._following.tell({"stage": "opened", "pages": len(document.pages)})
        return document


class _Reader:
    def __init__(self, reader: Reader, following: Following) -> None:
        self._reader, self._following = reader, following
        self._lock = threading.Lock()
        self._read = 0

    def words(self, page: Page) -> Sequence[Word]:
        self._following.check()
        words = self._reader.words(page)
        with self._lock:
            self._read += 1
            self._following.tell({"stage": "read", "page": page.number, "read": self._read})
        return words


class _Engine:
    def __init__(self, engine: Engine, following: Following) -> None:
        self._engine, self._following = engine, following
        self._lock = threading.Lock()
        self._answered = 0

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def model(self) -> str:
        return self._engine.model

    def answer(self, request: Request) -> Answer:
        self._following.check()
        pages = sorted({page.number for page in request.pages})
        self._following.tell({"stage": "asked", "pages": pages})
        answer = self._engine.answer(request)
        with self._lock:
            self._answered += 1
            self._following.tell({"stage": "answered", "pages": pages, "answers": self._answered})
        return answer

    def health(self) -> Health:
        return self._engine.health()

    def close(self) -> None:
        """The engine is not this document's to close."""
