"""Large parts, written and written anew a row group at a time: they may hold more rows than fit in memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from docflow.buckets import BucketPath
from docflow.storage import parts, places
from docflow.storage.places import Place
from docflow.storage.reading import part_schema, scan

UNFINISHED_MERGES = f".*-merged-*{places.TEMPORARY}"
"""What merged parts are called, beside those that are there, while they are written."""
_GROUP_ROWS = 10_000
_GROUP_BYTES = 32 << 20
"""A row group has so many rows, or so many bytes in memory, at most: what readers and writers hold at once."""
_BATCH = 1024


def batches_of(path: Place, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of a part, a few in memory at a time; columns that it lacks are null. Raises StorageError."""
    with parts.reading_errors(path):
        if part_schema(path).equals(schema):
            with places.arrow_file(path) as opened, pq.ParquetFile(opened) as file:
                yield from file.iter_batches(_BATCH, use_threads=False)
            return
        rows = scan([path], schema)
        yield from rows.to_batches(batch_size=_BATCH, batch_readahead=1, fragment_readahead=1, use_threads=False)


def write_batches(target: Place, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write rows as a part that appears whole or not at all; how many they are. No part where there are none.

    Raises StorageError.
    """
    rows = 0
    with _file_for(target) as path:
        with parts.storage_errors(target), pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for group in _row_groups(batches, schema):
                writer.write_table(group)
                rows += len(group)
        if rows:
            _publish(path, target)
    return rows


def rewrite(path: Place, schema: pa.Schema, change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> int:
    """Write a part anew, each batch of its rows changed; how many rows are left. A part without any goes.

    Raises StorageError.
    """
    rows = write_batches(path, schema, (change(batch) for batch in batches_of(path, schema)))
    if not rows:
        parts.remove(path)
    return rows


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting, schema)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


@contextlib.contextmanager
def _file_for(target: Place) -> Iterator[Path]:
    """A file to write to, under a name that no reader sees, readable by its owner only; gone afterwards.

    On the same disk as the target, unless that is in a bucket: there it is in this machine's folder for such files.
    """
    folder = None if isinstance(target, BucketPath) else target.parent
    with parts.storage_errors(target):
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=places.TEMPORARY, dir=folder)
        os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _publish(path: Path, target: Place) -> None:
    """Put a file that is written in its place, whole. Raises StorageError."""
    with parts.storage_errors(target):
        if isinstance(target, BucketPath):
            places.write_whole(target, path.read_bytes())
            return
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.replace(target)
        places.sync_folder(target.parent)
