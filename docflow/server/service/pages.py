"""Pages of documents that were just extracted, for whoever looks at them beside their record. Kept for some minutes."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from docflow.documents.model import Document
from docflow.errors import SourceUnreadable

KEPT_SECONDS = 900.0
MOST_BYTES = 256 << 20
"""Bytes of all documents that are kept; the oldest go first."""
SIDES = (600, 1_000, 2_000, 3_000)


@dataclass(frozen=True, slots=True)
class _Kept:
    document: Document
    owner: str
    size: int
    until: float


class Pages:
    """Documents by an id that cannot be guessed; each is for its owner alone. Safe for threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, document: Document, size: int, owner: str) -> str:
        """Keep a document; the id to ask for its pages with."""
        token = secrets.token_urlsafe(18)
        with self._lock:
            self._kept[token] = _Kept(document, owner, size, time.monotonic() + KEPT_SECONDS)
            self._sweep()
        return token

    def image(self, token: str, owner: str, number: int, side: int) -> bytes:
        """A page (from 1) as JPEG whose longer side has about ``side`` pixels.

        Raises SourceUnreadable where there is none for this owner, DocumentError where it cannot be drawn.
        """
        with self._lock:
            self._sweep()
            kept = self._kept.get(token)
        if kept is None or kept.owner != owner or not 1 <= number <= len(kept.document.pages):
            raise SourceUnreadable("this page is not kept any more", hint="Send the document again.")
        page = kept.document.pages[number - 1]
        wanted = next((allowed for allowed in SIDES if allowed >= side), SIDES[-1])
        longest = max(page.width, page.height)
        if page.unit == "px":  # nothing is made larger than it is
            wanted = min(wanted, round(longest))
        scale = wanted / longest
        return page.encode(max(1, round(page.width * scale)), max(1, round(page.height * scale)))

    def _sweep(self) -> None:
        now = time.monotonic()
        held = sum(kept.size for kept in self._kept.values())
        while self._kept:
            token, oldest = next(iter(self._kept.items()))
            if oldest.until > now and (held <= MOST_BYTES or len(self._kept) == 1):
                return
            held -= oldest.size
            del self._kept[token]
