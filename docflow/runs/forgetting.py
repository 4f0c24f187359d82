"""Forgetting a document: whatever OUT and the words cache hold of it goes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docflow.errors import StorageError, UsageError
from docflow.reading.cache import WordsCache
from docflow.runs.summary import RUNS

if TYPE_CHECKING:
    import pyarrow as pa

FORGOTTEN = "(forgotten)"
"""Stands in what a run left where it named the file as its source."""
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What there is, or was, of a document.

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


def matches(out: Path, document: str) -> Forgotten:
    """What the dataset holds of a document, given by its id or its source; nothing is removed.

    Raises StorageError where there is no dataset.
    """
    found, sources, ids = Counter[Path](), set(), set()
    for path in _parts(out):
        table = _keys(path)
        mine = table.filter(_wanted(table, document))
        if mine.num_rows:
            found[path] = mine.num_rows
            sources.update(mine["source"].to_pylist())
            ids.update(mine["document_id"].to_pylist())
    if _ID.fullmatch(document):
        ids.add(document)
    return Forgotten(
        sources=tuple(sorted(sources)),
        document_ids=tuple(sorted(ids - {""})),
        rows=found.total(),
        parts=len(found),
    )


def forget(out: Path, document: str, cache_dir: Path) -> Forgotten:
    """Remove a document, given by its id (then under all its sources) or by its source, and tell what was removed.

    Its rows go from every part, its corrections, the words of its pages, its entries in the index of files, and its
    name where a run was given just this file. Doing it again removes nothing, and finishes what was interrupted where
    the id is given. Raises StorageError, also where there is no dataset.
    """
    from docflow.storage import parts, seen
    from docflow.storage.reading import read_part

    _parts(out)
    with parts.locked(out):
        there = matches(out, document)
        left: set[str] = set()
        changed = []
        for path in _parts(out):
            keys = _keys(path)
            wanted = _wanted(keys, document)
            if wanted.true_count:
                changed.append(path)
            left.update(set(keys.filter(_inverted(wanted))["document_id"].to_pylist()) & set(there.document_ids))
        gone = [one for one in there.document_ids if one not in left]
        # First what hangs on the rows: after an interruption, the rows still tell which documents these are.
        cache = WordsCache(cache_dir, "", 1)
        pages = sum(cache.forget(one) for one in gone)
        corrections = _forget_corrections(out, gone)
        index = seen.forget(out, there.document_ids)
        runs = _forget_names(out, there.sources)
        for path in changed:
            table = read_part(path)
            kept = table.filter(_inverted(_wanted(table, document)))
            if kept.num_rows:
                parts.write_part(path, kept)
            else:
                parts.remove(path)
    return Forgotten(
        sources=there.sources,
        document_ids=there.document_ids,
        rows=there.rows,
        parts=len(changed),
        pages=pages,
        corrections=corrections,
        index=index,
        runs=runs,
        shared=len(there.document_ids) - len(gone),
    )


def _parts(out: Path) -> list[Path]:
    from docflow.storage import parts

    folders = parts.program_folders(out)
    if not folders:
        raise StorageError(f"{out} holds no dataset", hint="docflow extract SOURCE --out OUT writes one.")
    return [path for folder in folders.values() for path in parts.part_files(folder)]


def _keys(path: Path) -> pa.Table:
    from docflow.storage.reading import read_part

    return read_part(path, ["document_id", "source"])


def _wanted(table: pa.Table, document: str) -> Any:
    """Which rows of a table are about the document."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = "document_id" if _ID.fullmatch(document) else "source"
    return pa.array(pc.equal(table[column].combine_chunks(), document))


def _inverted(wanted: Any) -> Any:
    import pyarrow.compute as pc

    return pc.invert(wanted)


def _forget_corrections(out: Path, document_ids: Collection[str]) -> int:
    """Remove what reviewers said of these documents; the number of files."""
    from docflow.storage import parts
    from docflow.storage.corrections import CORRECTIONS

    found = [path for one in document_ids for path in (out / CORRECTIONS).glob(f"{one}[.@]*.json")]
    for path in found:
        parts.remove(path)
    return len(found)


def _forget_names(out: Path, sources: Collection[str]) -> int:
    """Take the file's name out of what runs left that were given just this file; the number of runs."""
    from docflow.storage.parts import write_whole

    changed = 0
    for path in sorted((out / RUNS).glob("*.json")):
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
