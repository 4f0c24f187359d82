"""A dataset as its readers see it: for each source, document and program the newest row, once.

Runs and compactions go on while it is read. Whoever meets a part that has gone looks anew at what there is.
"""

from __future__ import annotations

import importlib.util
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from docflow.errors import StorageError, UsageError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from docflow.storage.compacting import Compacted
    from docflow.storage.places import Place
    from docflow.storage.view import View

T = TypeVar("T")
Row = dict[str, Any]
_ROW = ["source", "document_id", "program", "first_page"]
"""What tells a row that was given from the others."""
_PATIENCE = 20
"""How often a read begins anew because parts went meanwhile."""


class Dataset:
    """The rows under OUT. Made by ``docflow.open(OUT)``; iterating gives every row as a dictionary.

    Rows that a later run replaced are not seen. Parts that were written before a field was added give null for it.
    With several programs, the common ``record`` has the fields of all; leaves of one name and of different types
    become text.
    """

    def __init__(self, out: Place) -> None:
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
        batches = self.batches(program)
        for batch in self._corrected(batches) if corrected else batches:
            yield from batch.to_pylist()

    def arrow(
        self, program: str | None = None, *, columns: list[str] | None = None, corrected: bool = False
    ) -> pa.Table:
        """The rows of one program, or of all, as an Arrow table; ``corrected`` as for ``records``.

        Raises StorageError.
        """
        import pyarrow as pa

        def read(view: View) -> pa.Table:
            if corrected:
                table = pa.Table.from_batches(self._corrected(view.batches(program)), view.schema(program))
                return table if columns is None else table.select(columns)
            schema = view.schema(program)
            if columns is not None:
                schema = pa.schema([schema.field(name) for name in columns])
            return pa.Table.from_batches(view.batches(program, columns), schema=schema)

        return self._read(read)

    def pandas(self, program: str | None = None) -> pd.DataFrame:
        """The rows as a data frame (needs the extra ``docflow[pandas]``); decimals stay decimals, dates dates."""
        if importlib.util.find_spec("pandas") is None:
            raise UsageError("pandas is not installed", hint="Install it with: pip install 'docflow[pandas]'")
        frame: pd.DataFrame = self.arrow(program).to_pandas()
        return frame

    def duckdb(self) -> DuckDBPyConnection:
        """A DuckDB connection in memory: the view ``records``, and a view a program (``receipt`` ...).

        What reviewers said (OUT/corrections) is applied in all of them; ``extracted`` has the records of all programs
        as they were read. DuckDB takes names that differ in case alone for one: of such programs, the first has the
        view.
        """
        return self._read(self._connect)

    def _connect(self, view: View) -> DuckDBPyConnection:
        import duckdb
        import pyarrow as pa

        from docflow.storage.corrections import Corrections

        connection = duckdb.connect()
        reviewed = Corrections(self.out).document_ids
        connection.register("superseded_rows", view.superseded)
        connection.register("reviewed_documents", pa.table({"document_id": pa.array(reviewed, pa.string())}))
        names = {name.lower(): name for name in [*reversed(view.programs), "records", "extracted"]}
        for name in names.values():
            program = None if name in ("records", "extracted") else name
            connection.register(f"all_rows_{name}", view.scan(program))
            sql = f"SELECT * FROM {_quoted(f'all_rows_{name}')}"  # noqa: S608
            if view.superseded.num_rows:
                sql += f" ANTI JOIN superseded_rows USING ({', '.join(view.superseded.column_names)})"
            if view.doubled:
                # A window over all rows costs memory: only where some are there twice.
                sql += f" QUALIFY row_number() OVER (PARTITION BY {', '.join(_ROW)}, created_at) = 1"
            if reviewed and name != "extracted":
                # The few documents that were reviewed are put in place of what was read; all others stay where they
                # are and are only read as far as a query asks for them.
                corrected = self._corrected(view.batches(program, None, reviewed))
                connection.register(f"reviewed_{name}", pa.Table.from_batches(corrected, view.schema(program)))
                sql = f"SELECT * FROM ({sql}) ANTI JOIN reviewed_documents USING (document_id)"  # noqa: S608
                sql += f" UNION ALL SELECT * FROM {_quoted(f'reviewed_{name}')}"  # noqa: S608
            connection.execute(f"CREATE VIEW {_quoted(name)} AS {sql}")
        return connection

    def query(self, sql: str) -> pa.Table:
        """The answer to a DuckDB query over the views of ``duckdb()``; files and settings are out of its reach.

        Raises UsageError for SQL that does not run.
        """
        return self._read(lambda view: self._answer(view, sql))

    def _answer(self, view: View, sql: str) -> pa.Table:
        import duckdb
        import pyarrow as pa

        connection = self._connect(view)
        try:
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            answer = connection.sql(sql)
            return pa.table({}) if answer is None else answer.to_arrow_table()
        except duckdb.Error as error:
            if view.has_changed():
                raise StorageError(f"{self.out} changed while it was read", retryable=True) from error
            raise UsageError(
                f"the query does not run: {error}",
                hint=f"There are the views records, extracted, {', '.join(view.programs)}. "
                "The fields of a record are reached as record.NAME.",
            ) from error
        finally:
            connection.close()

    def record_type(self, program: str | None = None) -> pa.DataType:
        """The Arrow type of the records of one program, or of all."""
        return self._read(lambda view: view.schema(program)).field("record").type

    def has_records(self, program: str) -> bool:
        """Whether a program has records of its own: one that only chooses among kinds has none."""
        import pyarrow as pa

        return bool(pa.types.is_struct(self.record_type(program)))

    def batches(self, program: str | None, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The newest rows of one program, or of all, or some columns of them, a batch at a time.

        Raises StorageError.
        """
        import pyarrow as pa

        from docflow.storage.view import View

        wanted = None if columns is None else list(dict.fromkeys([*columns, *_ROW]))
        given = array("q")  # 8 bytes a row: what need not be given again once parts have gone
        for _ in range(_PATIENCE):
            view = View(self.out)
            before = set(given)
            try:
                for batch in view.batches(program, wanted):
                    rows = [hash(key) for key in zip(*(batch.column(name).to_pylist() for name in _ROW), strict=True)]
                    if before:
                        new = [row not in before for row in rows]
                        batch = batch.filter(pa.array(new, pa.bool_()))
                        rows = [row for row in rows if row not in before]
                    given.extend(rows)
                    if rows:
                        yield batch if columns is None else batch.select(columns)
            except StorageError:
                if not view.has_changed():
                    raise
                continue
            return
        raise self._too_fast()

    def compact(self, *, grace_seconds: float | None = None, dry_run: bool = False) -> Compacted:
        """Merge the many small parts into few, while others read and write; what was done, or would be.

        Rows that newer ones stand in for are left out. Parts that were merged go after ``grace_seconds`` (an hour when
        not given), for the sake of those who are reading them. Raises StorageError.
        """
        from docflow.storage.compacting import GRACE_SECONDS, compact

        return compact(
            self.out, grace_seconds=GRACE_SECONDS if grace_seconds is None else grace_seconds, dry_run=dry_run
        )

    # --- how it is read -----------------------------------------------------------------------------------------

    def _read(self, read: Callable[[View], T]) -> T:
        """What ``read`` makes of the dataset as it stands; made anew where parts went meanwhile."""
        from docflow.storage.view import View

        for _ in range(_PATIENCE):
            view = View(self.out)
            try:
                return read(view)
            except StorageError:
                if not view.has_changed():
                    raise
        raise self._too_fast()

    def _too_fast(self) -> StorageError:
        return StorageError(f"the parts of {self.out} change too fast to be read", retryable=True)

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


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
