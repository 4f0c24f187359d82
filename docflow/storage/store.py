"""Writing to a dataset: what is done already, and the parts that a run adds.

The rows of documents that failed live in parts of their own, named ``failed-...``: a document that gets any newer row
leaves them, and a part that is empty goes. In a bucket, where runs cannot lock each other out, such a part is never
written again, so that none undoes what another wrote: it goes when one run has newer rows for all its documents, and
until then readers pass over the rows that are older.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from docflow.buckets import BucketPath
from docflow.errors import SchemaError, StorageError
from docflow.extraction.result import Result
from docflow.program import Program
from docflow.storage import parts
from docflow.storage.arrow_types import only_adds
from docflow.storage.done import Done
from docflow.storage.places import Place
from docflow.storage.reading import part_schema, read_part, scan, stored_record_type
from docflow.storage.rows import VERSIONS_KEY, program_schema, result_of, row_of, storable
from docflow.storage.snapshots import Snapshot, name_of, newest_number, newest_snapshot

_INDEX_COLUMNS = [
    "document_id",
    "source",
    "program_version",
    "requested_program",
    "requested_engine",
    "requested_model",
    "status",
    "first_page",
    "last_page",
    "split",
    "created_at",
    "fallback",
]

Row = dict[str, Any]


class _Older(NamedTuple):
    """Where an older row of a document is: that of this source that was made at this time."""

    source: str
    created_at: dt.datetime
    paths: tuple[Place, ...]


class OlderRow(NamedTuple):
    """A valid row of an older version of the program, and what that version asked.

    ``fields`` are the schemas of the record's fields, ``prompt`` stands for the words that asked for them; None where
    the part does not say, as those of older versions of docflow.
    """

    result: Result[Any]
    fields: dict[str, Any]
    prompt: str | None


FailedKey = tuple[str, str, bool]
"""Source, document id, and whether the program's version and the engine were the ones asked for now, and in one piece
or split as now."""


class Store:
    """One dataset, written by one run: safe to use from several threads, and beside other runs.

    ``program`` is what was asked for, with the ``engine`` (kind) and ``model`` that were asked for: a document is done
    when it has a valid or invalid row for these three and the program's version. A run that splits files (``split``)
    and one that does not are two ways of asking: a file that was split is done when all its documents have such a row.
    With ``redo_fallback`` rows that a stand-in gave before this run do not count; they stand until others replace them.
    """

    def __init__(
        self,
        out: Place,
        program: Program,
        engine: str,
        model: str,
        run_id: str,
        *,
        split: bool = False,
        redo_fallback: bool = False,
        indexed: bool = True,
        refresh: bool = False,
    ) -> None:
        """Make ``out`` ready and learn what is done; unless ``indexed``, only write what another process leads.

        Raises StorageError when ``out`` cannot be written or read, SchemaError when another schema is stored under
        a program's name.
        """
        self.out = out
        self._program = program
        self._asked = (program.name, engine, model)
        self._versions = {program.version, *(kind.version for kind in program.kinds)}
        self._run_id = run_id
        self._programs = {p.name: p for p in (*program.kinds, program)}
        self._schemas = {name: program_schema(p) for name, p in self._programs.items()}
        self._lock = threading.RLock()
        self._split = split
        self._redo_fallback = redo_fallback
        self._redone: set[tuple[str, str]] = set()
        self._parts_of: dict[tuple[str, str, dt.datetime], dict[int, Place]] = {}
        self._done = Done()
        self._refresh = refresh
        self._older: dict[str, _Older] = {}
        self._failed: dict[Place, set[FailedKey]] = {}
        self._all_failed: set[FailedKey] | None = None  # those of all parts, once somebody asks
        # Arrow imports pandas at its first conversion, where that is installed: beside the work, not after it.
        threading.Thread(target=pa.array, args=([0],)).start()
        parts.prepare(out)
        self._indexed = indexed
        self._snapshot = newest_number(out)
        for name, schema in self._schemas.items():
            stored = stored_record_type(out, name)
            clash = only_adds(stored, schema.field("record").type)
            if clash is not None:
                raise SchemaError(
                    f"{out} holds rows of another program {name!r}: field {clash or 'record'} differs or is gone",
                    hint="Give this program a name of its own with --name, or write to another --out.",
                )
            if indexed or refresh:
                self._index_parts(name)
        if not indexed:
            self._failed.clear()  # the process that leads the run takes out what succeeds

    # --- what is there ------------------------------------------------------------------------------------------

    def is_done(self, source: str, document_id: str) -> bool:
        """Whether this source has a row for these bytes."""
        return self._done.has(source, document_id)

    def is_done_elsewhere(self, document_id: str) -> bool:
        """Whether any source has a row for these bytes."""
        return document_id in self._done

    def has_failed(self, source: str, document_id: str) -> bool:
        """Whether this source failed with these bytes ("" when they could not be had), asked the same way."""
        with self._lock:
            if self._all_failed is None:
                self._all_failed = set().union(*self._failed.values())
            return (source, document_id, True) in self._all_failed

    def is_redone(self, source: str, document_id: str) -> bool:
        """Whether this source has a row of a stand-in, which stays unless another takes its place."""
        return (source, document_id) in self._redone

    def redo(self, source: str, document_id: str) -> None:
        """This source has a row of a stand-in (``is_redone``), as the process knows that leads the run."""
        with self._lock:
            self._redone.add((source, document_id))

    def stored_results(self, document_id: str) -> list[Result[Any]]:
        """The results that are stored for these bytes, under whichever source, in the order of their pages.

        None of them when a part has gone meanwhile.
        """
        newest = self._done.newest(document_id)
        if newest is None or not all(path.exists() for path in newest[1]):
            return []
        created_at, paths = newest
        rows = [row for path in paths for row in self._rows_of(path, document_id, created_at)]
        found = [
            result_of(row, self._programs[row["program"]])
            for row in rows
            if row["source"] == rows[0]["source"] and (row["split"] is not None) == self._split
        ]
        return sorted(found, key=lambda result: result.first_page or 0)

    def results_in(self, paths: Iterable[Place]) -> list[Result[Any]]:
        """The results that parts hold. Raises StorageError when they cannot be read."""
        found = []
        for path in paths:
            name = parts.program_of(path)
            with parts.reading_errors(path):
                rows = scan([path], self._schemas[name]).to_table().to_pylist()
            found += [result_of(row, self._programs[name]) for row in rows]
        return found

    def name_of(self, path: Place) -> str:
        """A part as it is named below OUT."""
        return f"{parts.RECORDS}/{name_of(path)}"

    def has_older_row(self, document_id: str) -> bool:
        """Whether ``older_row`` has a row to look at."""
        return document_id in self._older

    def older_row(self, document_id: str) -> OlderRow | None:
        """The newest valid row of an older version of the program for these bytes, asked of the same engine.

        None where there is none, where it has gone meanwhile, or where nobody wants to refresh.
        """
        older = self._older.get(document_id)
        if older is None:
            return None
        [path] = older.paths
        try:
            versions = json.loads((part_schema(path).metadata or {}).get(VERSIONS_KEY, b"{}"))
            found = self._rows_of(path, document_id, older.created_at)
        except StorageError:
            if path.exists():
                raise
            return None
        rows = [row for row in found if row["status"] == "valid" and row["source"] == older.source]
        if not rows:
            return None
        asked = versions.get(rows[0]["program_version"], {})
        return OlderRow(result_of(rows[0]), asked.get("fields", {}), asked.get("prompt") or None)

    def _rows_of(self, path: Place, document_id: str, created_at: dt.datetime) -> list[Row]:
        wanted = (pc.field("document_id") == document_id) & (pc.field("created_at") == created_at)
        with parts.reading_errors(path):
            table = scan([path], self._schemas[parts.program_of(path)]).to_table(filter=wanted)
        rows: list[Row] = table.to_pylist()
        return rows

    # --- what is added ------------------------------------------------------------------------------------------

    def row(self, result: Result[Any]) -> tuple[Result[Any], Row]:
        """``result`` as it will be stored (see ``storable``) and its row."""
        result, record = storable(result, self._schemas[result.program].field("record").type)
        return result, row_of(result, record, self._run_id)

    def write(self, rows: Sequence[Row], inputs: Iterable[str]) -> list[Place]:
        """Add rows as whole parts, and take their sources out of the failed parts; the parts written.

        ``inputs`` are what the rows were made of (sources and document ids): the parts are named after them, so that
        a chunk that is done again overwrites itself. Raises StorageError.
        """
        name = self._part_name(inputs)
        rows = [
            row for row in rows if row["status"] != "failed" or (row["source"], row["document_id"]) not in self._redone
        ]
        written: list[Place] = []
        with self._lock, parts.locked(self.out):
            self._all_failed = None
            newest = self._followed()
            for program, schema in self._schemas.items():
                folder = parts.program_folder(self.out, program)
                for prefix, failed in (("part", False), ("failed", True)):
                    path = folder / f"{prefix}-{name}.parquet"
                    if name_of(path) in newest.replaced:  # that one goes after the grace time, whatever is in it
                        path = folder / f"{prefix}-{name}-{newest.number}.parquet"
                    mine = [row for row in rows if row["program"] == program and (row["status"] == "failed") == failed]
                    shared = failed and isinstance(folder, BucketPath)
                    if shared:  # one that nobody else writes or wrote
                        path = folder / f"{prefix}-{name}-{uuid.uuid4().hex[:8]}.parquet"
                    if mine:
                        parts.write_part(path, pa.Table.from_pylist(mine, schema=schema))
                        written.append(path)
                        self._index(path, mine)
                    elif not shared and path.is_file():  # an earlier attempt at this chunk ended in another way
                        parts.remove(path)
                        self._failed.pop(path, None)
            self._settle({(row["source"], row["requested_program"]) for row in rows}, keep=set(written))
        return written

    def adopt(self, paths: Sequence[Place]) -> None:
        """Take up parts that another process wrote for this run: their documents are done, older failed rows go.

        Raises StorageError when they cannot be read.
        """
        with self._lock, parts.locked(self.out):
            self._all_failed = None
            self._followed()
            newer: set[tuple[str, str]] = set()
            for path in paths:
                rows = read_part(path, _INDEX_COLUMNS).to_pylist()
                self._index(path, rows)
                newer |= {(row["source"], row["requested_program"]) for row in rows}
            self._settle(newer, keep=set(paths))

    def _followed(self) -> Snapshot:
        """The newest snapshot; where it is new, the rows of failed documents may stand in other parts than before."""
        newest = newest_snapshot(self.out)
        if newest.number != self._snapshot:
            self._snapshot = newest.number
            self._failed.clear()
            for name in self._programs if self._indexed else ():
                self._index_parts(name, failed_only=True)
        return newest

    def _index_parts(self, program: str, *, failed_only: bool = False) -> None:
        """Learn what the parts of a program hold; looks again where one went meanwhile, for others then hold it."""
        known: set[Place] = set()
        all_read = False
        while not all_read:
            all_read = True
            for path in parts.part_files(parts.program_folder(self.out, program)):
                if path in known or (failed_only and not parts.is_failed(path)):
                    continue
                try:
                    table = read_part(path, _INDEX_COLUMNS)
                except StorageError:
                    if path.exists():
                        raise
                    all_read = False
                    continue
                known.add(path)
                if self._is_all_done(table):
                    made = table["created_at"].cast(pa.int64()).to_pylist()
                    rows = zip(table["source"].to_pylist(), table["document_id"].to_pylist(), made, strict=True)
                    for source, document_id, created_at in rows:
                        self._done.add(source, document_id, created_at, (path,))
                else:
                    self._index(path, table.to_pylist())

    def _is_all_done(self, table: pa.Table) -> bool:
        """Whether every row is of a whole document that is done as asked for now: most parts are such, and taken up
        several times as fast."""
        if self._split or self._redo_fallback or self._refresh:
            return False
        if "split" in table.column_names and table["split"].null_count < len(table):
            return False
        asked = zip(("requested_program", "requested_engine", "requested_model"), self._asked, strict=True)
        return (
            all(table[name].unique().to_pylist() == [value] for name, value in asked)
            and self._versions.issuperset(table["program_version"].unique().to_pylist())
            and "failed" not in table["status"].unique().to_pylist()
        )

    def _part_name(self, inputs: Iterable[str]) -> str:
        digest = hashlib.sha256()
        asked = (*self._asked, "split") if self._split else self._asked
        if self._redo_fallback:  # what is redone does not overwrite what it was made of: some of it may fail
            asked = (*asked, self._run_id)
        for piece in (*asked, *sorted(self._versions), *sorted(inputs)):
            digest.update(piece.encode("utf-8", "replace") + b"\0")
        return digest.hexdigest()[:32]

    def _index(self, path: Place, rows: Iterable[Row]) -> None:
        program, engine, model = self._asked
        for row in rows:
            if row["requested_program"] != program:
                continue
            split = row.get("split")  # parts of older runs lack it
            same = (
                row["program_version"] in self._versions
                and row["requested_engine"] == engine
                and row["requested_model"] == model
                and (split is not None) == self._split
            )
            source, document_id, created_at = row["source"], row["document_id"], row["created_at"]
            if row["status"] == "failed":
                self._failed.setdefault(path, set()).add((source, document_id, same))
            elif same and self._redo_fallback and row["fallback"] and row.get("run_id") != self._run_id:
                self._redone.add((source, document_id))
            elif same:
                paths: Iterable[Place] = (path,)
                if split is not None:
                    key = source, document_id, created_at
                    found = self._parts_of.setdefault(key, {})
                    found[row["first_page"]] = path
                    if len(found) < split:  # the others are in parts of other programs, or failed
                        continue
                    paths = self._parts_of.pop(key).values()
                self._older.pop(document_id, None)
                self._done.add(source, document_id, created_at, sorted(set(paths)))
            elif self._is_older(row) and document_id not in self._done:
                older = self._older.get(document_id)
                if older is None or created_at >= older.created_at:
                    self._older[document_id] = _Older(source, created_at, (path,))

    def _is_older(self, row: Row) -> bool:
        """Whether a row is what the same engine gave for an older version of the program, of a whole file."""
        return (
            self._refresh
            and not self._split
            and row.get("split") is None
            and row["status"] == "valid"
            and row["program_version"] not in self._versions
            and (row["requested_engine"], row["requested_model"]) == self._asked[1:]
            and not self._program.kinds
        )

    def _settle(self, newer: set[tuple[str, str]], keep: set[Place]) -> None:
        """Take the sources that have a newer row for the requested program out of the failed parts."""
        sources = {source for source, _ in newer}
        for path, failed in list(self._failed.items()):
            gone = {row for row in failed if row[0] in sources}
            if path in keep or not gone:
                continue
            failed -= gone
            if isinstance(path, BucketPath):
                if not failed:
                    self._remove_settled(path)
                    del self._failed[path]
                continue
            if not path.exists():
                continue
            table = read_part(path)
            pairs = zip(table["source"].to_pylist(), table["requested_program"].to_pylist(), strict=True)
            left = table.filter(pa.array([pair not in newer for pair in pairs]))
            if left.num_rows:
                parts.write_part(path, left)
            else:
                parts.remove(path)
            if not failed:
                del self._failed[path]

    def _remove_settled(self, path: BucketPath) -> None:
        """Remove a part of failed documents all of which have newer rows, unless others than ours are in it too."""
        try:
            asked = read_part(path, ["requested_program"])["requested_program"]
        except StorageError:
            if path.is_file():
                raise
            return
        if set(asked.to_pylist()) == {self._program.name}:
            parts.remove(path)
