"""What there is to do: the documents of the sources that have no row yet, found while the first are in work."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docflow.documents.content import read_content
from docflow.documents.sniff import HEAD_BYTES, media_type
from docflow.documents.sources import SourceItem
from docflow.errors import DocumentError
from docflow.extraction.result import ErrorInfo, Result
from docflow.settings import DecodeLimits

if TYPE_CHECKING:
    from docflow.storage.seen import Seen
    from docflow.storage.store import Store

_finished = threading.Condition()
"""Of all documents: one each would be most of what a document that waits takes of the memory."""


@dataclass(slots=True, eq=False)
class Work:
    """One document to do. ``document_id`` and ``media_type`` are "" where its bytes cannot be had.

    ``copied`` says that its bytes need not be extracted again: the same are in work as ``leader``, or have a row
    already. ``finished`` tells the copies of a leader that its ``results`` are there: one, or where files are split one
    for each document in it. ``attempts`` counts how often the document was tried as a whole, ``sent`` as its rows count
    attempts: each sending of a question after the first is one more.
    """

    item: SourceItem
    document_id: str
    media_type: str = ""
    copied: bool = False
    leader: Work | None = None
    attempts: int = 0
    sent: int = 0
    failure: ErrorInfo | None = None
    results: Sequence[Result[Any]] = ()
    finished: bool = False

    def finish(self) -> None:
        """Nothing more happens to it: who waits for it goes on."""
        with _finished:
            self.finished = True
            _finished.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until it is finished, but not longer; whether it is."""
        with _finished:
            return _finished.wait_for(lambda: self.finished, seconds)


class Plan:
    """Goes through the sources once, and counts what it leaves out.

    Bytes that stand under several sources are extracted for the first of them; the others copy its row. Without a
    ``store`` nothing was done before. ``limit`` counts documents to do. What ``seen`` knows of an unchanged file is
    believed where that means that there is nothing to do; with ``rehash`` every file is read all the same.
    """

    def __init__(
        self,
        sources: Iterator[SourceItem],
        store: Store | None,
        limits: DecodeLimits,
        *,
        limit: int | None,
        retry_failed: bool,
        seen: Seen | None = None,
        rehash: bool = False,
    ) -> None:
        self.skipped = 0
        self.skipped_failed = 0
        self._sources, self._store, self._limits = sources, store, limits
        self._limit, self._retry_failed = limit, retry_failed
        self._seen, self._rehash = seen, rehash
        self._leaders: dict[str, Work] = {}
        self._lock = threading.Lock()
        self._named: set[int] = set()

    def works(self, stopping: threading.Event) -> Iterator[Work]:
        """The documents to do, in the order of the sources, until ``stopping`` is set."""
        try:
            yield from self._works(stopping)
        finally:
            if self._seen is not None:
                self._seen.save()

    def _works(self, stopping: threading.Event) -> Iterator[Work]:
        found = 0
        for item in self._sources:
            if stopping.is_set() or (self._limit is not None and found >= self._limit):
                return
            if self._is_unchanged(item):
                continue
            document_id, kind = self._look_at(item)
            if self._is_known(item.source, document_id):
                continue
            self._named.add(hash((item.source, document_id)))
            found += 1
            yield self._work(item, document_id, kind)

    def forget(self, work: Work) -> None:
        """This document's row is stored: copies are made of that from now on."""
        with self._lock:
            if self._leaders.get(work.document_id) is work:
                del self._leaders[work.document_id]
        work.results = ()

    def _look_at(self, item: SourceItem) -> tuple[str, str]:
        """The id and the media type of a document's bytes."""
        try:
            content = read_content(item, self._limits)
        except DocumentError:  # opening it will say so again, and then it becomes a failed row
            return "", ""
        document_id = hashlib.sha256(content).hexdigest()
        if self._seen is not None:
            self._seen.remember(item, document_id)
        return document_id, media_type(content[:HEAD_BYTES]) or ""

    def _is_unchanged(self, item: SourceItem) -> bool:
        """Whether there is nothing to do for a file, as can be told without opening it."""
        if self._seen is None or self._rehash:
            return False
        document_id = self._seen.document_id(item)
        return document_id is not None and self._is_known(item.source, document_id)

    def _is_known(self, source: str, document_id: str) -> bool:
        key = hash((source, document_id))
        if key in self._named:  # named twice, as a file and in its folder
            return True
        if self._store is None:
            return False
        if document_id and self._store.is_done(source, document_id):
            self.skipped += 1
        elif not self._retry_failed and self._store.has_failed(source, document_id):
            self.skipped_failed += 1
        else:
            return False
        self._named.add(key)
        return True

    def _work(self, item: SourceItem, document_id: str, kind: str) -> Work:
        if not document_id:
            return Work(item, document_id)
        with self._lock:
            leader = self._leaders.get(document_id)
            known = leader is not None or (self._store is not None and self._store.is_done_elsewhere(document_id))
            work = Work(item, document_id, kind, copied=known, leader=leader)
            if not known:
                self._leaders[document_id] = work
            return work
