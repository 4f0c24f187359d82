"""A view: the parts that count at one moment, and which of their rows do not.

For a source, document and program the newest row counts. Where files are split, all that one asking gave replaces all
that the one before gave, under whichever program its documents were filed. A row may stand in two parts for a while, a
merged one and one that it was made of, when the dataset was copied or a chunk was written once more: then one counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from docflow.errors import UsageError
from docflow.storage import parts
from docflow.storage.places import Place
from docflow.storage.reading import common_record_type, scan
from docflow.storage.rows import row_schema
from docflow.storage.snapshots import identity_of

KEY = ["source", "document_id", "program", "created_at"]
ROW = [*KEY, "first_page"]
"""What no two rows of a dataset agree in."""
_ASKED = ["source", "document_id", "requested_program"]
KEY_COLUMNS = [*ROW, "requested_program", "split", "status"]
_SETTLED = ["source", "requested_program"]
"""The columns that tell which rows count."""
_BATCH = 1024


class View:
    """What a reader sees of a dataset. Raises StorageError wherever a part cannot be read.

    It does not change; a part of it may go. Who gets an error asks ``has_changed``, and makes another view if so.
    """

    def __init__(self, out: Place) -> None:
        self.out = out
        folders = parts.program_folders(out)
        self._parts = {name: parts.part_files(folder) for name, folder in folders.items()}
        self._schemas: dict[str | None, pa.Schema] = {}
        # Only parts of failed documents lose rows while others gain them.
        self._shrinking = {path: identity for path in self.paths(None) if (identity := _identity_of_failed(path))}

    @property
    def programs(self) -> list[str]:
        """The programs that have rows."""
        return [name for name, paths in self._parts.items() if paths]

    def paths(self, program: str | None) -> list[Place]:
        """The parts of one program, or of all. Raises UsageError for a program that has none."""
        if program is not None and program not in self._parts:
            raise UsageError(f"{self.out} holds no rows of {program!r}", hint=f"It holds {', '.join(self._parts)}.")
        return [path for name, paths in self._parts.items() if program in (None, name) for path in paths]

    def schema(self, program: str | None) -> pa.Schema:
        """The columns of the rows of one program, or of all."""
        if program is None and len(self.programs) == 1:  # every part need be looked at only once
            (program,) = self.programs
        if program not in self._schemas:
            self._schemas[program] = row_schema(common_record_type(self.paths(program)))
        return self._schemas[program]

    def scan(self, program: str | None) -> ds.Dataset:
        """All rows of one program, or of all, those that do not count among them."""
        schema = self.schema(program)
        with parts.reading_errors(self.out):
            return scan(self.paths(program), schema)

    def has_changed(self) -> bool:
        """Whether a part of it has gone, or a part of failed documents is another one now."""
        there = {path for folder in parts.program_folders(self.out).values() for path in parts.part_files(folder)}
        return not there.issuperset(self.paths(None)) or any(
            _identity_of_failed(path) != identity for path, identity in self._shrinking.items()
        )

    @cached_property
    def _rows_that_do_not_count(self) -> tuple[pa.Table, frozenset[tuple[Any, ...]]]:
        with parts.reading_errors(self.out):
            schema = row_schema(pa.null())
            keys = pa.schema([schema.field(name) for name in KEY_COLUMNS])
            rows = scan(self.paths(None), keys).to_table()
        if rows["split"].null_count == len(rows) and len(rows.group_by(KEY[:3]).aggregate([])) == len(rows):
            return rows.select(KEY).schema.empty_table(), frozenset()  # each document once: as in most datasets
        return superseded(rows), doubled(rows)

    @property
    def superseded(self) -> pa.Table:
        """The keys of the rows that newer ones stand in for."""
        return self._rows_that_do_not_count[0]

    @property
    def doubled(self) -> frozenset[tuple[Any, ...]]:
        """The rows (by ``ROW``) that are there more than once."""
        return self._rows_that_do_not_count[1]

    def batches(
        self, program: str | None, columns: list[str] | None = None, document_ids: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The newest rows, of these documents or of all, a batch at a time."""
        counting = Counting(set(keys_of(self.superseded, KEY)), self.doubled)
        wanted = None if columns is None else list(dict.fromkeys([*columns, *(ROW if counting.needed else [])]))
        chosen = None if document_ids is None else pc.field("document_id").isin(document_ids)
        with parts.reading_errors(self.out):
            for batch in self.scan(program).to_batches(columns=wanted, filter=chosen, batch_size=_BATCH):
                newest = counting.of(batch)
                if newest.num_rows:
                    yield newest if columns is None else newest.select(columns)


class Counting:
    """Tells the rows that count, batch by batch; each doubled row counts where it comes first."""

    def __init__(self, superseded: set[tuple[Any, ...]], doubled: frozenset[tuple[Any, ...]]) -> None:
        self._superseded, self._doubled = superseded, doubled
        self._given: set[tuple[Any, ...]] = set()
        self.needed = bool(superseded or doubled)

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch that count."""
        if not self.needed:
            return batch
        return batch.filter(pa.array([self._counts(row) for row in keys_of(batch, ROW)], pa.bool_()))

    def _counts(self, row: tuple[Any, ...]) -> bool:
        if row[: len(KEY)] in self._superseded:
            return False
        if row in self._doubled:
            if row in self._given:
                return False
            self._given.add(row)
        return True


def superseded(rows: pa.Table) -> pa.Table:
    """The keys (``KEY``) of those rows, given with ``KEY_COLUMNS``, that newer ones stand in for."""
    older = _older(rows.select(KEY), KEY[:3])
    if rows["split"].null_count < len(rows):
        askings = rows.group_by(_ASKED).aggregate([("split", "count")])
        split = rows.join(askings.filter(pc.field("split_count") > 0), _ASKED, join_type="left semi")
        older = pa.concat_tables([older, _older(split, _ASKED).select(KEY)]).group_by(KEY).aggregate([])
    failed = rows.filter(pc.field("status") == "failed")
    if failed.num_rows:  # one that any newer row stands in for is left where parts cannot be written again
        others = rows.join(failed.group_by(_SETTLED).aggregate([]), _SETTLED, join_type="left semi")
        newest = others.group_by(_SETTLED).aggregate([("created_at", "max")])
        stale = failed.join(newest, _SETTLED).filter(pc.field("created_at") < pc.field("created_at_max"))
        older = pa.concat_tables([older.select(KEY), stale.select(KEY)]).group_by(KEY).aggregate([])
    return older.select(KEY)


def doubled(rows: pa.Table) -> frozenset[tuple[Any, ...]]:
    """The rows (by ``ROW``) that are there more than once."""
    counted = rows.group_by(ROW).aggregate([([], "count_all")])
    return frozenset(keys_of(counted.filter(pc.field("count_all") > 1), ROW))


def _older(rows: pa.Table, by: list[str]) -> pa.Table:
    """The rows that have a newer one among those that agree with them in the columns ``by``."""
    newest = rows.group_by(by).aggregate([("created_at", "max"), ([], "count_all")])
    several = newest.filter(pc.field("count_all") > 1)
    if not several.num_rows:
        return rows.schema.empty_table()
    pairs = rows.join(several, by, join_type="inner")
    return pairs.filter(pc.field("created_at") < pc.field("created_at_max")).select(rows.column_names)


def keys_of(table: pa.Table | pa.RecordBatch, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as tuples of these columns."""
    return zip(*(table.column(name).to_pylist() for name in columns), strict=True)


def _identity_of_failed(path: Place) -> str | None:
    if not parts.is_failed(path):
        return None
    try:
        return identity_of(path)
    except OSError:
        return ""
