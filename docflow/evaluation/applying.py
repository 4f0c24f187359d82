"""A calibration applied to rows that are there already."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from docflow.buckets import Place
from docflow.evaluation.calibration import Calibration
from docflow.storage import parts
from docflow.storage.reading import read_part
from docflow.storage.rewriting import rewrite
from docflow.storage.rows import evidence_row, result_of, row_schema
from docflow.storage.snapshots import identity_of, name_of, newest_snapshot


def apply_to_rows(out: Place, calibration: Calibration) -> Counter[bool | None]:
    """Calibrate every row of a dataset anew, from its raw confidences, part by part; the rows by ``needs_review``.

    Nothing else of a row changes, and a reader sees each part as it was or as it will be. Raises StorageError.
    """
    marks: Counter[bool | None] = Counter()
    done: set[Place] = set()
    while left := [path for path in _parts(out) if path not in done]:  # others may be merged meanwhile
        for path in left:
            with parts.locked(out):  # a run at work may take the part away, or write it again
                if _counts(out, path):
                    marks += _apply_to_part(path, calibration)
            done.add(path)
    return marks


def _parts(out: Place) -> list[Place]:
    return [path for folder in parts.program_folders(out).values() for path in parts.part_files(folder)]


def _counts(out: Place, path: Place) -> bool:
    """Whether a part is there and counts: one that was merged meanwhile must stay as it was."""
    try:
        return newest_snapshot(out).counts(name_of(path), lambda: identity_of(path))
    except FileNotFoundError:
        return False


def _apply_to_part(path: Place, calibration: Calibration) -> Counter[bool | None]:
    stored = read_part(path, columns=["record"]).schema
    schema = row_schema(stored.field("record").type).with_metadata(stored.metadata)
    marks: Counter[bool | None] = Counter()

    def calibrated(batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = batch.to_pylist()
        for row in rows:
            result = calibration.apply(result_of(row))
            row["evidence"] = [evidence_row(entry) for entry in result.evidence]
            row["needs_review"] = result.needs_review
        marks.update(row["needs_review"] for row in rows)
        return pa.RecordBatch.from_pylist(rows, schema=schema)

    rewrite(path, schema, calibrated)
    return marks
