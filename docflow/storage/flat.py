"""Rows with their records laid flat: a table with a row a document, and a table a list with a row an item.

Columns are named by their path in the record (``seller.name``). A leaf that is named as a leading column is goes by
``record.NAME``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from docflow.storage.arrow_types import fit
from docflow.storage.corrections import Corrections, undecided
from docflow.storage.dataset import Dataset

DOCUMENTS = ""
"""The name of the table with a row a document; each other has the name of its list."""

_LEADING = pa.schema(
    [
        ("source", pa.string()),
        ("program", pa.string()),
        ("status", pa.string()),
        ("confidence", pa.float64()),
        ("needs_review", pa.bool_()),
        ("reviewed", pa.bool_()),
        ("document_id", pa.string()),
        ("first_page", pa.int32()),
        ("last_page", pa.int32()),
    ]
)
_READ = [
    *("source", "program", "status", "needs_review", "document_id", "first_page", "last_page", "split"),
    *("record", "evidence"),
]
_BEFORE_ITEMS = ("source", "program", "document_id", "first_page", "last_page")


def lowest_confidence(evidence: Iterable[Mapping[str, Any]]) -> float | None:
    """How sure docflow is of the value that it is least sure of; None where it says nothing.

    A leaf that is absent counts where an engine said how likely that is; one that is unreadable or in conflict always.
    """
    return min(
        (
            entry["confidence"]
            for entry in evidence
            if entry["confidence"] is not None and (entry["confidence"] > 0 or entry["reason"] != "absent")
        ),
        default=None,
    )


def nested_batches(
    dataset: Dataset, program: str | None = None, status: str | None = None, *, corrected: bool = True
) -> Iterator[pa.RecordBatch]:
    """The leading columns and the record, a batch in memory at a time; rows of every status when none is named.

    ``confidence`` is the lowest of the record's leaves; ``reviewed`` tells that a person decided every one of them.
    """
    corrections = Corrections(dataset.out)
    record_type = dataset.record_type(program)
    for batch in dataset.batches(program, _READ):
        rows = []
        for row in batch.to_pylist():
            if status is not None and row["status"] != status:
                continue
            overlaid = corrections.applied(row, record_type)
            shown = overlaid.row if corrected else row
            row["confidence"] = lowest_confidence(shown["evidence"] or ())
            row["reviewed"] = bool(overlaid.placed) and not undecided(row, overlaid)
            row["record"] = fit(shown["record"], record_type, "", []) if shown["record"] is not None else None
            rows.append(row)
        yield pa.RecordBatch.from_pylist(rows, schema=_LEADING.append(pa.field("record", record_type)))


def flat_schemas(record_type: pa.DataType) -> dict[str, pa.Schema]:
    """The columns of each table by its name, the documents first."""
    nothing = pa.RecordBatch.from_pylist([], schema=_LEADING.append(pa.field("record", record_type)))
    return {name: table.schema for name, table in flatten(nothing).items()}


def flatten(batch: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """The tables that a nested batch is made of, by name; the documents come first, then the lists."""
    leading = {name: batch.column(name) for name in _LEADING.names}
    lists: dict[str, pa.Array] = {}
    leaves: dict[str, pa.Array] = {}
    _take_apart(batch.column("record"), "", leaves, lists)
    tables = {DOCUMENTS: _table(leading, leaves)}
    before = {name: leading[name] for name in _BEFORE_ITEMS}
    for name, column in lists.items():
        _list_tables(name, column, before, "row", tables)
    return tables


def _take_apart(column: pa.Array, path: str, leaves: dict[str, pa.Array], lists: dict[str, pa.Array]) -> None:
    if pa.types.is_struct(column.type):
        for field in column.type:
            inner = pc.struct_field(column, field.name)
            _take_apart(inner, f"{path}.{field.name}" if path else field.name, leaves, lists)
    elif pa.types.is_list(column.type):
        lists[path] = column
    elif not pa.types.is_null(column.type):
        leaves[path or "value"] = column


def _list_tables(
    name: str, column: pa.Array, before: dict[str, pa.Array], counter: str, tables: dict[str, pa.RecordBatch]
) -> None:
    """The table of one list, a row an item that names its document and its place in the list, and those inside it."""
    import numpy as np

    parents = pc.list_parent_indices(column)
    owner = parents.to_numpy(zero_copy_only=False)
    first = np.searchsorted(owner, owner)  # parents come in order: where the items of the same list begin
    number = pa.array(np.arange(1, len(owner) + 1) - first, pa.int64())
    leading = {key: array.take(parents) for key, array in before.items()} | {counter: number}
    leaves: dict[str, pa.Array] = {}
    lists: dict[str, pa.Array] = {}
    _take_apart(pc.list_flatten(column), "", leaves, lists)
    tables[name] = _table(leading, leaves)
    for inner, inner_column in lists.items():
        inner_name = f"{name}.{inner}" if inner else f"{name}.items"
        _list_tables(inner_name, inner_column, leading, f"row of {inner_name}", tables)


def _table(leading: dict[str, pa.Array], leaves: dict[str, pa.Array]) -> pa.RecordBatch:
    columns = leading | {f"record.{name}" if name in leading else name: column for name, column in leaves.items()}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
