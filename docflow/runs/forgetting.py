"""Forgetting documents: whatever OUT and the words cache hold of them goes."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docflow.errors import StorageError, UsageError
from docflow.reading.cache import WordsCache
from docflow.runs.summary import RUNS

if TYPE_CHECKING:
    import pyarrow as pa

    from docflow.storage.places import Place
    from docflow.storage.snapshots import Snapshot

FORGOTTEN = "(forgotten)"
"""Stands in what a run left where it named the file as its source."""
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What there is, or was, of the documents that were named.

    ``shared`` counts documents whose bytes stand under other sources too: their words and corrections stay.
    """

    sources: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    rows: int = 0
    parts: int = 0
    pages: int = 0
    corrections: int = 0
    index: int = 0
    runs: int = 0
    shared: int = 0

    @property
    def nothing(self) -> bool:
        return not (self.rows or self.pages or self.corrections or self.index or self.runs)


@dataclass(frozen=True, slots=True)
class _Named:
    """The documents to forget: all rows with one of these ids, or of one of these sources.

    ``unread`` are sources whose bytes could not be had: their rows without an id are meant.
    """

    document_ids: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()

    @classmethod
    def of(cls, document: str) -> _Named:
        one = frozenset([document])
        return cls(document_ids=one) if _ID.fullmatch(document) else cls(sources=one)

    def rows(self, table: pa.Table | pa.RecordBatch) -> Any:
        """Which rows of a table are meant, as a mask."""
        import pyarrow as pa
        import pyarrow.compute as pc

        def among(column: str, values: frozenset[str]) -> Any:
            return pc.is_in(_column(table, column), pa.array(sorted(values), pa.string()))

        unread = pc.and_(pc.equal(_column(table, "document_id"), ""), among("source", self.unread))
        return pc.or_(pc.or_(among("document_id", self.document_ids), among("source", self.sources)), unread)


def matches(out: Place, document: str) -> Forgotten:
    """What the dataset holds of a document, given by its id or its source; nothing is removed.

    Raises StorageError where there is no dataset.
    """
    return _matches(out, _Named.of(document))


def older_than(out: Place, seconds: float) -> Forgotten:
    """The documents whose newest row is older than this; nothing is removed. Raises StorageError."""
    return _matches(out, _older(out, seconds))


def forget(out: Place, document: str, cache_dir: Path) -> Forgotten:
    """Remove a document, given by its id (then under all its sources) or by its source, and tell what was removed.

    Its rows go from every part, also from those that were merged and wait to be removed; its corrections, the words of
    its pages, its entries in the index of files, and its name where a run was given just this file. Doing it again
    removes nothing, and finishes what was interrupted where the id is given. Raises StorageError, also where there is
    no dataset.
    """
    return _forget(out, _Named.of(document), cache_dir)


def forget_older(out: Place, seconds: float, cache_dir: Path) -> Forgotten:
    """Remove, as ``forget`` does, every document whose newest row is older than this. Raises StorageError."""
    return _forget(out, _older(out, seconds), cache_dir)


def _older(out: Place, seconds: float) -> _Named:
    """The documents of which nothing newer is said."""
    import pyarrow as pa

    tables = [table.select(["document_id", "source", "created_at"]) for _, table in _tables(_parts(out))]
    if not tables:
        return _Named()
    rows = pa.concat_tables(tables)
    ids = rows.group_by("document_id").aggregate([("created_at", "max")])
    sources = rows.group_by(["document_id", "source"]).aggregate([("created_at", "max")])
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    return _Named(
        document_ids=frozenset(
            row["document_id"] for row in ids.to_pylist() if row["document_id"] and row["created_at_max"] < before
        ),
        unread=frozenset(
            row["source"] for row in sources.to_pylist() if not row["document_id"] and row["created_at_max"] < before
        ),
    )


def _matches(out: Place, named: _Named) -> Forgotten:
    rows = changed = 0
    sources: set[str] = set()
    ids = set(named.document_ids)
    for _, table in _tables(_parts(out)):
        mine = table.filter(named.rows(table))
        rows, changed = rows + mine.num_rows, changed + bool(mine.num_rows)
        sources.update(mine["source"].to_pylist())
        ids.update(mine["document_id"].to_pylist())
    return Forgotten(sources=tuple(sorted(sources)), document_ids=tuple(sorted(ids - {""})), rows=rows, parts=changed)


def _forget(out: Place, named: _Named, cache_dir: Path) -> Forgotten:
    from docflow.storage import parts, seen

    _parts(out)
    with parts.locked(out):
        there = _matches(out, named)
        left: set[str] = set()
        for _, table in _tables(_parts(out)):
            kept = table.filter(_inverted(named.rows(table)))
            left.update(set(kept["document_id"].to_pylist()) & set(there.document_ids))
        gone = [one for one in there.document_ids if one not in left]
        # First what hangs on the rows: after an interruption, the rows still tell which documents these are.
        cache = WordsCache(cache_dir, "", 1)
        pages = sum(cache.forget(one) for one in gone)
        corrections = _forget_corrections(out, gone)
        index = seen.forget(out, there.document_ids)
        runs = _forget_names(out, there.sources)
        changed = _forget_rows(out, named)
    return replace(
        there,
        parts=changed,
        pages=pages,
        corrections=corrections,
        index=index,
        runs=runs,
        shared=len(there.document_ids) - len(gone),
    )


def _forget_rows(out: Place, named: _Named) -> int:
    """Take rows out of every part, also out of those that do not count; the number of parts that counted.

    A compaction that read them before cannot let its part count afterwards: the snapshots say that something was
    forgotten since. One that was faster is looked through too.
    """
    from docflow.storage import parts
    from docflow.storage.snapshots import commit, newest_snapshot

    changed: set[Place] = set()
    done = False
    while not done:
        before = newest_snapshot(out)
        counting = set(_parts(out))
        hidden = [path for path in _all_files(out) if path not in counting]
        old = [path for path, table in _tables(hidden) if named.rows(table).true_count]
        touched = set()
        for path, table in _tables(sorted(counting, key=str)):
            if named.rows(table).true_count:
                _take_out(path, named)
                touched.add(path)
        changed |= touched
        if not (old or touched):  # also nothing that a compaction could have read
            return len(changed)

        def forgotten(newest: Snapshot, before: Snapshot = before) -> Snapshot | None:
            return replace(newest, forgotten=newest.forgotten + 1) if newest.number == before.number else None

        done = commit(out, forgotten) is not None
        for path in old if done else ():
            parts.remove(path)
    for path in _unfinished(out):  # a compaction at work, or one that was killed, may have them there
        parts.remove(path)
    return len(changed)


def _take_out(path: Place, named: _Named) -> None:
    """Write a part anew without some rows; a part without any goes."""
    from docflow.storage.reading import part_schema
    from docflow.storage.rewriting import rewrite

    rewrite(path, part_schema(path), lambda batch: batch.filter(_inverted(named.rows(batch))))


def _parts(out: Place) -> list[Place]:
    """The parts that count. Raises StorageError where there is no dataset."""
    from docflow.storage import parts

    folders = parts.program_folders(out)
    if not folders:
        raise StorageError(f"{out} holds no dataset", hint="docflow extract SOURCE --out OUT writes one.")
    return [path for folder in folders.values() for path in parts.part_files(folder)]


def _all_files(out: Place) -> list[Place]:
    """Every part that is there, whether it counts or not."""
    from docflow.storage import parts

    return [
        path
        for folder in parts.program_folders(out).values()
        for path in folder.glob("*.parquet")
        if not path.name.startswith(".")
    ]


def _unfinished(out: Place) -> list[Place]:
    """What compactions are writing, or were when they were killed."""
    from docflow.storage import parts
    from docflow.storage.rewriting import UNFINISHED_MERGES

    return [path for folder in parts.program_folders(out).values() for path in folder.glob(UNFINISHED_MERGES)]


def _tables(paths: Collection[Place]) -> Iterator[tuple[Place, pa.Table]]:
    """What the rows of parts go by; parts that went meanwhile are passed over. Raises StorageError."""
    from docflow.storage.reading import read_part

    for path in paths:
        try:
            table = read_part(path, ["document_id", "source", "created_at"])
        except StorageError:
            if path.exists():
                raise
            continue
        yield path, table


def _column(table: pa.Table | pa.RecordBatch, name: str) -> Any:
    import pyarrow as pa

    column = table.column(name)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _inverted(wanted: Any) -> Any:
    import pyarrow.compute as pc

    return pc.invert(wanted)


def _forget_corrections(out: Place, document_ids: Collection[str]) -> int:
    """Remove what reviewers said of these documents; the number of files."""
    from docflow.storage import parts
    from docflow.storage.corrections import CORRECTIONS

    found = [path for one in document_ids for path in (out / CORRECTIONS).glob(f"{one}[.@]*.json")]
    for path in found:
        parts.remove(path)
    return len(found)


def _forget_names(out: Place, sources: Collection[str]) -> int:
    """Take the file's name out of what runs left that were given just this file; the number of runs."""
    from docflow.storage.parts import write_whole

    changed = 0
    found: list[Place] = list((out / RUNS).glob("*.json"))
    for path in found:
        with suppress(OSError, ValueError, TypeError, AttributeError):  # what is no run's file names no document either
            content = json.loads(path.read_text(encoding="utf-8"))
            named = content.get("sources", [])
            new = [FORGOTTEN if any(_names(given, source) for source in sources) else given for given in named]
            if new != named:
                write_whole(path, json.dumps(content | {"sources": new}, indent=1).encode())
                changed += 1
    return changed


def _names(given: str, source: str) -> bool:
    """Whether a source that a run was given is this document: it goes by its name, or by its path from there."""
    from docflow.documents.sources import encoded

    return source in (encoded(given), encoded(Path(given).name))


def check_document(document: str) -> str:
    """The document's id or source as it was typed, without blanks. Raises UsageError where nothing was."""
    document = document.strip()
    if not document:
        raise UsageError("name a document", hint="docflow show OUT lists the documents.")
    return document
