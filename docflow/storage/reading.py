"""Reading parts: one, or many whose schemas grew over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from docflow.errors import StorageError
from docflow.storage import parts
from docflow.storage.arrow_types import merged
from docflow.storage.places import Place, arrow_dataset, arrow_file
from docflow.storage.rows import FORMAT, FORMAT_KEY

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def read_part(path: Place, columns: Sequence[str] | None = None) -> pa.Table:
    """One part, or some columns of it. Raises StorageError when it is damaged or written by a newer docflow."""
    with parts.reading_errors(path), arrow_file(path) as opened, pq.ParquetFile(opened) as file:
        _check_format(path, file.schema_arrow)
        return file.read(columns=None if columns is None else list(columns))


def part_schema(path: Place) -> pa.Schema:
    """The columns of one part, from its footer alone. Raises StorageError as ``read_part`` does."""
    with parts.reading_errors(path), arrow_file(path) as opened:
        schema = pq.read_schema(opened)
    _check_format(path, schema)
    return schema


def _check_format(path: Place, schema: pa.Schema) -> None:
    number = (schema.metadata or {}).get(FORMAT_KEY, b"")
    if not number.isdigit():
        raise StorageError(f"{path} was not written by docflow", hint="Move it out of the dataset's records folder.")
    if int(number) > FORMAT:
        raise StorageError(
            f"{path} has row format {int(number)}; this docflow knows {FORMAT}",
            hint="Install the docflow that wrote it, or a newer one.",
        )


def stored_schemas(out: Place, program: str) -> Iterator[pa.Schema]:
    """The columns of each part of a program; a part that goes meanwhile is passed over. Raises StorageError."""
    for path in parts.part_files(parts.program_folder(out, program)):
        try:
            schema = part_schema(path)
        except StorageError:
            if path.exists():
                raise
            continue
        yield schema


def stored_record_type(out: Place, program: str) -> pa.DataType:
    """The type of the records that are stored under a program's name; the null type when there are none."""
    return _common_record_type(stored_schemas(out, program))


def common_record_type(paths: Iterable[Place]) -> pa.DataType:
    """The type that holds the records of all these parts (see ``merged``)."""
    return _common_record_type(part_schema(path) for path in paths)


def _common_record_type(schemas: Iterable[pa.Schema]) -> pa.DataType:
    common = pa.null()
    for schema in schemas:
        common = merged(common, schema.field("record").type) or pa.null()
    return common


def scan(paths: Sequence[Place], schema: pa.Schema) -> ds.Dataset:
    """Parts as one Arrow dataset with this schema; fields that older parts lack are null. Nothing is read yet."""
    return arrow_dataset(paths, schema)
