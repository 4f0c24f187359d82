"""What is done, as a run keeps it in mind: about 250 bytes a document, for there may be millions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from docflow.storage.places import Place

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_PLACE_BITS = 24


class Done:
    """The sources and the documents that have rows, and where the newest rows of a document are.

    Texts are kept as their hashes, 61 bits that differ from process to process: two that agree by accident are less
    likely than a disk that errs.
    """

    def __init__(self) -> None:
        self._sources: set[int] = set()
        self._rows: dict[int, int] = {}
        """By the document: when its rows were made, in microseconds since 1970, and behind that the number of places.
        One integer is a third of a tuple's size, and the newer is the greater."""
        self._places: list[tuple[Place, ...]] = []
        self._numbers: dict[tuple[Place, ...], int] = {}

    def add(self, source: str, document_id: str, created_at: dt.datetime | int, paths: Iterable[Place]) -> None:
        """This source has rows for these bytes, made at that time (or so many microseconds after 1970)."""
        made = created_at if isinstance(created_at, int) else (created_at - _EPOCH) // _MICROSECOND
        self._sources.add(hash((source, document_id)))
        document, packed = hash(document_id), made << _PLACE_BITS | self._number(tuple(paths))
        if packed >> _PLACE_BITS >= self._rows.get(document, 0) >> _PLACE_BITS:
            self._rows[document] = packed

    def _number(self, paths: tuple[Place, ...]) -> int:
        number = self._numbers.get(paths)
        if number is None:
            number = self._numbers[paths] = len(self._places)
            self._places.append(paths)
        return number

    def has(self, source: str, document_id: str) -> bool:
        """Whether this source has rows for these bytes."""
        return hash((source, document_id)) in self._sources

    def __contains__(self, document_id: str) -> bool:
        """Whether any source has rows for these bytes."""
        return hash(document_id) in self._rows

    def newest(self, document_id: str) -> tuple[dt.datetime, tuple[Place, ...]] | None:
        """When the newest rows for these bytes were made, and the parts that they are in."""
        packed = self._rows.get(hash(document_id))
        if packed is None:
            return None
        made = _EPOCH + (packed >> _PLACE_BITS) * _MICROSECOND
        return made, self._places[packed & ((1 << _PLACE_BITS) - 1)]
