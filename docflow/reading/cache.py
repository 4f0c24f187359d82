"""The words cache: what OCR found on a page, kept so that no page is read twice.

One file a page under ``words``, named after the document, the page and the version of the reader. The text of
documents is private: folders and files belong to their owner alone. Any number of processes may use one cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docflow.documents.model import Box, Word

_TEMPORARY = ".new-"
_SWEEP_AFTER = 3600.0
"""Seconds after which a temporary file is nobody's any more: writing one takes a moment."""


class WordsCache:
    """Words by document, page number and reader version, within a size in MiB; the least used pages go first.

    A cache that cannot be written (a full disk, a read-only folder) is a slower cache, not an error.
    """

    def __init__(self, folder: Path, version: str, megabytes: float) -> None:
        self.folder = folder / "words"
        self._version = hashlib.sha256(version.encode()).hexdigest()[:16]
        self._limit = int(megabytes * 1024 * 1024)
        self._written = self._limit  # bytes since the cache was last measured: measure at the first write

    def get(self, document_id: str, page: int) -> tuple[tuple[Word, ...], float] | None:
        """The words and the legibility of a page, or None where they are not known (or the entry is damaged)."""
        path = self._path(document_id, page)
        try:
            legibility, rows = json.loads(zlib.decompress(path.read_bytes()))
            words = tuple(_word(row) for row in rows)
            known = words, float(legibility)
            with contextlib.suppress(OSError):  # a cache that cannot be written can still be read
                os.utime(path)  # so that what is used stays longest
        except (OSError, zlib.error, ValueError, TypeError, RecursionError):
            return None
        return known

    def put(self, document_id: str, page: int, words: Sequence[Word], legibility: float) -> None:
        """Keep the words of a page."""
        rows = [[word.text, word.box, word.score, word.segment, word.levelled] for word in words]
        data = zlib.compress(json.dumps([legibility, rows], ensure_ascii=False, separators=(",", ":")).encode(), 3)
        path = self._path(document_id, page)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)  # readable by its owner alone
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(data)
                os.replace(temporary, path)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
            self._written += len(data)
            if self._written > self._limit / 20:
                self._written = 0
                self._shrink()
        except OSError:
            return

    def forget(self, document_id: str) -> int:
        """Remove every page of a document, whichever reader read it; tells how many there were."""
        prefix = _name(document_id)
        found = list((self.folder / prefix[:2]).glob(f"{prefix}-*.words"))
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def remove_unused(self, seconds: float) -> int:
        """Remove the pages that nobody has read for so long, whichever reader read them; how many there were."""
        before, gone = time.time() - seconds, 0
        for path in self.folder.glob("*/*.words"):
            with contextlib.suppress(OSError):  # another process removes as well
                if path.stat().st_mtime < before:
                    path.unlink()
                    gone += 1
        return gone

    def _path(self, document_id: str, page: int) -> Path:
        name = _name(document_id)
        return self.folder / name[:2] / f"{name}-{page}-{self._version}.words"

    def _shrink(self) -> None:
        """Remove the pages not used for longest, down to nine tenths of the limit, and what a kill left behind."""
        for leftover in self.folder.glob(f"*/{_TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _SWEEP_AFTER:
                    leftover.unlink()
        entries = []
        for path in self.folder.glob("*/*.words"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process shrinks as well
                continue
            entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        if total <= self._limit:
            return
        for _, size, path in sorted(entries):
            path.unlink(missing_ok=True)
            total -= size
            if total <= 0.9 * self._limit:
                return


def _name(document_id: str) -> str:
    """A file name for any id at all."""
    return hashlib.sha256(document_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _word(row: Any) -> Word:
    """A word from its row. Raises ValueError or TypeError for anything else."""
    text, box, score, segment, levelled = row
    if not isinstance(text, str) or not isinstance(segment, int):
        raise TypeError(text)
    return Word(text, _box(box), float(score), segment, None if levelled is None else _box(levelled))


def _box(values: Any) -> Box:
    x0, y0, x1, y1 = values
    return Box(float(x0), float(y0), float(x1), float(y1))
