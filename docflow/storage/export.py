"""A dataset as files for other programs: CSV, Excel, JSON Lines, flat Parquet.

Every file appears whole or not at all. A table of items goes beside the documents: ``NAME.items.csv``, or a sheet.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from docflow.errors import UsageError
from docflow.storage.cells import csv_value, json_value
from docflow.storage.excel import Book, money_columns
from docflow.storage.flat import DOCUMENTS, flat_schemas, flatten, nested_batches
from docflow.storage.parts import storage_errors

if TYPE_CHECKING:
    from docflow.storage.dataset import Dataset

Format = Literal["csv", "xlsx", "jsonl", "parquet-flat"]


@dataclass
class Exported:
    """What an export wrote: the rows of each file (or sheet), by its name, and what a reader should know."""

    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Writer(Protocol):
    def write(self, tables: dict[str, pa.RecordBatch]) -> None: ...
    def close(self) -> Exported: ...


def export(
    dataset: Dataset,
    path: Path,
    to: Format,
    *,
    program: str | None = None,
    status: str | None = None,
    corrected: bool = True,
) -> Exported:
    """Write the dataset's newest rows to ``path``, corrections applied unless told otherwise.

    Raises UsageError for what a format cannot hold, StorageError for what cannot be read or written.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="Name the file to write.")
    batches = nested_batches(dataset, program, status, corrected=corrected)
    if to == "jsonl":
        return _write_lines(path, batches)
    schemas = flat_schemas(dataset.record_type(program))
    with ExitStack() as files:
        writer: _Writer
        if to == "csv":
            writer = _Csv(path, schemas, files)
        elif to == "xlsx":
            writer = _Excel(path, schemas, files, money_columns(dataset, program))
        else:
            writer = _Parquet(path, schemas, files)
        for batch in batches:
            writer.write(flatten(batch))
        return writer.close()


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when all went well. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with storage_errors(path):
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _beside(path: Path, name: str) -> Path:
    """The file of a table: ``out.csv`` for the documents, ``out.items.csv`` for a list."""
    if name == DOCUMENTS:
        return path
    safe = re.sub(r"[^\w.-]", "_", name)
    return path.with_name(f"{path.stem}.{safe}{path.suffix}")


def _write_lines(path: Path, batches: Iterator[pa.RecordBatch]) -> Exported:
    """A line of JSON a document, its lists inside it."""
    count = 0
    with _whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for batch in batches:
            for row in batch.to_pylist():
                file.write(json.dumps(row, default=json_value) + "\n")
                count += 1
    return Exported({path.name: count})


class _Csv:
    def __init__(self, path: Path, schemas: dict[str, pa.Schema], files: ExitStack) -> None:
        self._done = Exported()
        self._writers = {}
        self._names = {name: _beside(path, name) for name in schemas}
        for name, schema in schemas.items():
            temporary = files.enter_context(_whole(self._names[name]))
            file = files.enter_context(temporary.open("w", encoding="utf-8", newline=""))
            self._writers[name] = csv.writer(file, lineterminator="\n")
            self._writers[name].writerow([csv_value(column) for column in schema.names])
            self._done.rows[self._names[name].name] = 0

    def write(self, tables: dict[str, pa.RecordBatch]) -> None:
        for name, table in tables.items():
            for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
                self._writers[name].writerow([csv_value(value) for value in row])
            self._done.rows[self._names[name].name] += table.num_rows

    def close(self) -> Exported:
        return self._done


class _Parquet:
    def __init__(self, path: Path, schemas: dict[str, pa.Schema], files: ExitStack) -> None:
        self._done = Exported()
        self._names = {name: _beside(path, name) for name in schemas}
        self._writers = {}
        for name, schema in schemas.items():
            temporary = files.enter_context(_whole(self._names[name]))
            self._writers[name] = files.enter_context(pq.ParquetWriter(temporary, schema, compression="zstd"))
            self._done.rows[self._names[name].name] = 0

    def write(self, tables: dict[str, pa.RecordBatch]) -> None:
        for name, table in tables.items():
            if table.num_rows:
                self._writers[name].write_batch(table)
            self._done.rows[self._names[name].name] += table.num_rows

    def close(self) -> Exported:
        return self._done


class _Excel:
    def __init__(self, path: Path, schemas: dict[str, pa.Schema], files: ExitStack, money: set[str]) -> None:
        self._path = path
        sheets = {name or "documents": schema for name, schema in schemas.items()}
        self._book = Book(files.enter_context(_whole(path)), sheets, money)
        files.callback(self._book.close)  # also when something else fails: it holds temporary files

    def write(self, tables: dict[str, pa.RecordBatch]) -> None:
        for name, table in tables.items():
            self._book.write(name or "documents", table)

    def close(self) -> Exported:
        with storage_errors(self._path):
            self._book.close()
        rows = {f"{self._path.name}, sheet {name}": count for name, count in self._book.rows.items()}
        return Exported(rows, self._book.notes)
