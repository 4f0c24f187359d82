"""A dataset as its readers see it: for each source, document and program the newest row.

A file that was split has several rows, which came together and are replaced together.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docflow.errors import StorageError, UsageError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds

_KEY = ["source", "document_id", "program", "created_at"]
_ASKED = ["source", "document_id", "requested_program"]
Row = dict[str, Any]


class Dataset:
    """The rows under OUT. Made by ``docflow.open(OUT)``; iterating gives every row as a dictionary.

    Rows that a later run replaced are not seen. Parts that were written before a field was added give null for it.
    With several programs, the common ``record`` has the fields of all; leaves of one name and of different types
    become text.
    """

    def __init__(self, out: Path) -> None:
        """Raises StorageError when there is no dataset at ``out``."""
        from docflow.storage import parts

        self.out = out
        if not parts.program_folders(out):
            raise StorageError(f"{out} holds no dataset", hint="docflow extract SOURCE --out OUT writes one.")

    def __repr__(self) -> str:
        return f"Dataset({str(self.out)!r}, programs={self.programs})"

    @property
    def programs(self) -> list[str]:
        """The names of the programs that rows are filed under; ``auto`` holds what failed before a kind was chosen."""
        from docflow.storage import parts

        return [name for name, folder in parts.program_folders(self.out).items() if parts.part_files(folder)]

    def __len__(self) -> int:
        return sum(self.counts().values())

    def counts(self) -> Counter[tuple[str, str]]:
        """The number of rows by program and status."""
        table = self.arrow(columns=["program", "status"])
        return Counter(zip(table["program"].to_pylist(), table["status"].to_pylist(), strict=True))

    def __iter__(self) -> Iterator[Row]:
        return self.records()

    def records(self, program: str | None = None, *, corrected: bool = False) -> Iterator[Row]:
        """The rows of one program, or of all, as dictionaries, a batch in memory at a time.

        ``corrected`` applies what reviewers said (OUT/corrections) to the records and their evidence.
        """
        batches = self._batches(program, None)
        for batch in self._corrected(batches) if corrected else batches:
            yield from batch.to_pylist()

    def arrow(
        self, program: str | None = None, *, columns: list[str] | None = None, corrected: bool = False
    ) -> pa.Table:
        """The rows of one program, or of all, as an Arrow table; ``corrected`` as for ``records``.

        Raises StorageError.
        """
        import pyarrow as pa

        if corrected:
            table = pa.Table.from_batches(self._corrected(self._batches(program, None)), self._scan(program).schema)
            return table if columns is None else table.select(columns)
        batches = list(self._batches(program, columns))
        schema = self._scan(program).schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        return pa.Table.from_batches(batches, schema=schema)

    def pandas(self, program: str | None = None) -> pd.DataFrame:
        """The rows as a data frame (needs the extra ``docflow[pandas]``); decimals stay decimals, dates dates."""
        if importlib.util.find_spec("pandas") is None:
            raise UsageError("pandas is not installed", hint="Install it with: pip install 'docflow[pandas]'")
        frame: pd.DataFrame = self.arrow(program).to_pandas()
        return frame

    def duckdb(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection in memory: the view ``records``, and a view a program (``receipt`` ...).

        What reviewers said (OUT/corrections) is applied in all of them; ``extracted`` has the records of all programs
        as they were read. DuckDB takes names that differ in case alone for one: of such programs, the first has the
        view.
        """
        import duckdb
        import pyarrow as pa

        from docflow.storage.corrections import Corrections

        connection = duckdb.connect()
        superseded = self._superseded()
        reviewed = Corrections(self.out).document_ids
        connection.register("superseded_rows", superseded)
        connection.register("reviewed_documents", pa.table({"document_id": pa.array(reviewed, pa.string())}))
        views = {name.lower(): name for name in [*reversed(self.programs), "records", "extracted"]}
        for view in views.values():
            program = None if view in ("records", "extracted") else view
            rows = _quoted(f"all_rows_{view}")
            connection.register(f"all_rows_{view}", self._scan(program))
            sql = f"SELECT * FROM {rows}"  # noqa: S608
            if superseded.num_rows:
                sql += f" ANTI JOIN superseded_rows USING ({', '.join(_KEY)})"
            if reviewed and view != "extracted":
                # The few documents that were reviewed are put in place of what was read; all others stay where they
                # are and are only read as far as a query asks for them.
                corrected = self._corrected(self._batches(program, None, reviewed))
                connection.register(f"reviewed_{view}", pa.Table.from_batches(corrected, self._scan(program).schema))
                sql += " ANTI JOIN reviewed_documents USING (document_id)"
                sql += f" UNION ALL SELECT * FROM {_quoted(f'reviewed_{view}')}"  # noqa: S608
            connection.execute(f"CREATE VIEW {_quoted(view)} AS {sql}")
        return connection

    def query(self, sql: str) -> pa.Table:
        """The answer to a DuckDB query over the views of ``duckdb()``; files and settings are out of its reach.

        Raises UsageError for SQL that does not run.
        """
        import duckdb
        import pyarrow as pa

        connection = self.duckdb()
        try:
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            answer = connection.sql(sql)
            return pa.table({}) if answer is None else answer.to_arrow_table()
        except duckdb.Error as error:
            raise UsageError(
                f"the query does not run: {error}",
                hint=f"There are the views records, extracted, {', '.join(self.programs)}. "
                "The fields of a record are reached as record.NAME.",
            ) from error
        finally:
            connection.close()

    def record_type(self, program: str | None = None) -> pa.DataType:
        """The Arrow type of the records of one program, or of all."""
        return self._scan(program).schema.field("record").type

    def has_records(self, program: str) -> bool:
        """Whether a program has records of its own: one that only chooses among kinds has none."""
        import pyarrow as pa

        return bool(pa.types.is_struct(self.record_type(program)))

    def batches(self, program: str | None, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the newest rows of one program, or of all, a batch at a time."""
        return self._batches(program, columns)

    # --- how it is read -----------------------------------------------------------------------------------------

    def _paths(self, program: str | None) -> list[Path]:
        from docflow.storage import parts

        folders = parts.program_folders(self.out)
        if program is not None and program not in folders:
            raise UsageError(f"{self.out} holds no rows of {program!r}", hint=f"It holds {', '.join(folders)}.")
        return [
            path for name, folder in folders.items() if program in (None, name) for path in parts.part_files(folder)
        ]

    def _scan(self, program: str | None) -> ds.Dataset:
        from docflow.storage.reading import common_record_type, scan
        from docflow.storage.rows import row_schema

        paths = self._paths(program)
        return scan(paths, row_schema(common_record_type(paths)))

    def _batches(
        self, program: str | None, columns: list[str] | None, document_ids: list[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The newest rows, of these documents or of all, a batch at a time."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from docflow.storage.parts import reading_errors

        superseded = set(_keys(self._superseded()))
        wanted = None if columns is None else list(dict.fromkeys([*columns, *(_KEY if superseded else [])]))
        chosen = None if document_ids is None else pc.field("document_id").isin(document_ids)
        with reading_errors(self.out):
            for batch in self._scan(program).to_batches(columns=wanted, filter=chosen, batch_size=1024):
                newest = batch
                if superseded:
                    newest = newest.filter(pa.array([key not in superseded for key in _keys(newest)]))
                    newest = newest if columns is None else newest.select(columns)
                if newest.num_rows:
                    yield newest

    def _corrected(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same rows with what reviewers said of them; batches of which nothing was said pass as they are."""
        import pyarrow as pa

        from docflow.storage.arrow_types import fit
        from docflow.storage.corrections import Corrections

        corrections = Corrections(self.out)
        reviewed = set(corrections.document_ids)
        for batch in batches:
            if reviewed.isdisjoint(batch.column("document_id").to_pylist()):
                yield batch
                continue
            stored = batch.schema.field("record").type
            rows = [corrections.applied(row, stored).row for row in batch.to_pylist()]
            # The common type of several programs' records may be wider than a program's own.
            rows = [{**row, "record": fit(row["record"], stored, "", [])} for row in rows]
            yield pa.RecordBatch.from_pylist(rows, schema=batch.schema)

    def _superseded(self) -> pa.Table:
        """The keys of the rows that newer ones stand in for.

        For a source, document and program the newest rows count. Where files are split, all that one asking gave
        replaces all that the one before gave, under whichever program its documents were filed.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        from docflow.storage.parts import reading_errors

        with reading_errors(self.out):
            rows = self._scan(None).to_table(columns=[*_KEY, "requested_program", "split"])
        keys = rows.select(_KEY)
        older = _older(keys, _KEY[:3])
        if rows["split"].null_count < len(rows):
            askings = rows.group_by(_ASKED).aggregate([("split", "count")])
            split = rows.join(askings.filter(pc.field("split_count") > 0), _ASKED, join_type="left semi")
            older = pa.concat_tables([older, _older(split, _ASKED).select(_KEY)]).group_by(_KEY).aggregate([])
        return older.select(_KEY)


def _older(rows: pa.Table, by: list[str]) -> pa.Table:
    """The rows that have a newer one among those that agree with them in the columns ``by``."""
    import pyarrow.compute as pc

    newest = rows.group_by(by).aggregate([("created_at", "max"), ([], "count_all")])
    several = newest.filter(pc.field("count_all") > 1)
    if not several.num_rows:
        return rows.schema.empty_table()
    pairs = rows.join(several, by, join_type="inner")
    return pairs.filter(pc.field("created_at") < pc.field("created_at_max")).select(rows.column_names)


def _keys(table: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in _KEY), strict=True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
