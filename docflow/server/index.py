"""The documents of a dataset in the order in which they want a look: the least sure first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from docflow.buckets import Place
from docflow.errors import StorageError, UsageError
from docflow.storage import parts
from docflow.storage.corrections import Corrections, undecided
from docflow.storage.flat import lowest_confidence
from docflow.storage.reading import read_part
from docflow.storage.rows import Pages, part_of
from docflow.storage.snapshots import identity_of

State = Literal["todo", "partly", "done"]
Row = dict[str, Any]

_COLUMNS = [
    "document_id",
    "source",
    "program",
    "status",
    "requested_program",
    "first_page",
    "last_page",
    "split",
    "created_at",
    "needs_review",
    "evidence.list.element.confidence",
    "evidence.list.element.reason",
    "missing_rows.list.element.path",
]
_ROWS_KEPT = 8


class UnknownDocument(UsageError):
    """A key that names no document of the dataset."""


@dataclass(slots=True)
class Entry:
    """One document under one program. ``key`` names it in links; ``sources`` are all places of the same bytes.

    ``pages`` are the first and last of it where its file holds several documents.
    ``confidence`` is the lowest of its values, None where nothing is said of them; ``needs_review`` is what the run
    that wrote it said, None where nobody asked; ``missing_rows`` counts the rows that seem to be missing from its
    lists.
    """

    key: str
    document_id: str
    program: str
    requested_program: str
    pages: Pages | None
    split: bool
    status: str
    confidence: float | None
    needs_review: bool | None
    missing_rows: int
    created_at: Any
    part: Place
    number: int
    sources: list[str] = field(default_factory=list)
    state: State = "todo"

    @property
    def order(self) -> tuple[bool, float, str, Pages]:
        """Failed documents come last: there is nothing of theirs to decide. Missing rows count as no confidence."""
        sure = -1.0 if self.confidence is None else self.confidence
        return (
            self.status == "failed",
            min(sure, 0.0) if self.missing_rows else sure,
            self.sources[0],
            self.pages or (0, 0),
        )


class Index:
    """The newest row of each document and program, made of a few columns of every part. Not safe for threads."""

    def __init__(self, out: Place) -> None:
        """Raises StorageError when a part cannot be read."""
        self.out = out
        self.corrections = Corrections(out)
        self._entries: dict[str, Entry] = {}
        self._rows: OrderedDict[str, Row] = OrderedDict()
        self._parts: dict[Place, str] | None = None
        self.refresh()

    def refresh(self) -> None:
        """See what other processes have written since: parts and corrections."""
        with parts.reading_errors(self.out):
            now = {
                path: identity_of(path)
                for folder in parts.program_folders(self.out).values()
                for path in parts.part_files(folder)
            }
        if now == self._parts:
            return
        self.corrections.refresh()
        self._rows.clear()
        found = _newest([entry for path in now for entry in _entries_of(path)])
        self._entries = {entry.key: entry for entry in sorted(found, key=lambda entry: entry.order)}
        self._parts = now
        self._judge_all()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, key: str) -> Entry:
        """Raises UnknownDocument."""
        try:
            return self._entries[key]
        except KeyError as error:
            raise UnknownDocument("the dataset has no such document", hint="Load the page again.") from error

    def row(self, entry: Entry) -> Row:
        """The whole row as docflow wrote it. Raises StorageError."""
        if entry.key not in self._rows:
            table = read_part(entry.part)
            row: Row = table.slice(entry.number, 1).to_pylist()[0]
            if (row["document_id"], row["program"], part_of(row)) != (entry.document_id, entry.program, entry.pages):
                raise StorageError(f"{entry.part} changed while it was in use", hint="Load the page again.")
            self._rows[entry.key] = row
            while len(self._rows) > _ROWS_KEPT:
                self._rows.popitem(last=False)
        self._rows.move_to_end(entry.key)
        return self._rows[entry.key]

    def _judge_all(self) -> None:
        """Judge every document that something was said of, each part read once."""
        by_part: dict[Place, list[Entry]] = {}
        for entry in self:
            if self.corrections.of(entry.document_id, entry.program, entry.pages):
                by_part.setdefault(entry.part, []).append(entry)
        for part, entries in by_part.items():
            table = read_part(
                part, ["document_id", "program", "first_page", "last_page", "split", "record", "evidence"]
            )
            for entry in entries:
                self.judge(entry, table.slice(entry.number, 1).to_pylist()[0])

    def judge(self, entry: Entry, row: Row) -> None:
        """Find out how much of a document is decided."""
        overlaid = self.corrections.applied(row)
        if not overlaid.placed:
            entry.state = "todo"
        else:
            entry.state = "partly" if undecided(row, overlaid) else "done"


def _newest(entries: Sequence[Entry]) -> list[Entry]:
    """Of each document under each program the newest, with the sources of all.

    Those of a file that was split came together, and replace together whatever was there before.
    """
    by_program: dict[tuple[str, str], Any] = {}
    by_asking: dict[tuple[str, str], Any] = {}
    sources: dict[str, set[str]] = {}
    split = {(entry.document_id, entry.requested_program) for entry in entries if entry.split}
    for entry in entries:
        program, asking = (entry.document_id, entry.program), (entry.document_id, entry.requested_program)
        by_program[program] = max(entry.created_at, by_program.get(program, entry.created_at))
        by_asking[asking] = max(entry.created_at, by_asking.get(asking, entry.created_at))
        sources.setdefault(entry.key, set()).update(entry.sources)
    found = {}
    for entry in entries:
        asking = (entry.document_id, entry.requested_program)
        newest = by_program[entry.document_id, entry.program]
        if entry.created_at == (max(newest, by_asking[asking]) if asking in split else newest):
            entry.sources = sorted(sources[entry.key])
            found[entry.key] = entry
    return list(found.values())


def _entries_of(path: Place) -> Iterator[Entry]:
    for number, row in enumerate(read_part(path, _COLUMNS).to_pylist()):
        pages = part_of(row)
        own = () if pages is None else ("{}-{}".format(*pages),)
        name = "\0".join((row["document_id"], row["program"], *own))
        yield Entry(
            hashlib.sha256(name.encode()).hexdigest()[:20],
            row["document_id"],
            row["program"],
            row["requested_program"],
            pages,
            row.get("split") is not None,
            row["status"],
            lowest_confidence(row["evidence"] or ()),
            row.get("needs_review"),  # parts of older runs lack it, and missing_rows
            len(row.get("missing_rows") or ()),
            row["created_at"],
            path,
            number,
            [row["source"]],
        )
