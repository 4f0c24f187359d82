"""A calibration applied to rows that are there already."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from docflow.evaluation.calibration import Calibration
from docflow.storage import parts
from docflow.storage.reading import read_part, scan
from docflow.storage.rows import evidence_row, result_of, row_schema


def apply_to_rows(out: Path, calibration: Calibration) -> Counter[bool | None]:
    """Calibrate every row of a dataset anew, from its raw confidences, part by part; the rows by ``needs_review``.

    Nothing else of a row changes, and a reader sees each part as it was or as it will be. Raises StorageError.
    """
    marks: Counter[bool | None] = Counter()
    for folder in parts.program_folders(out).values():
        for path in parts.part_files(folder):
            with parts.locked(out):  # a run at work may take the part away, or write it again
                if path.exists():
                    marks += _apply_to_part(path, calibration)
    return marks


def _apply_to_part(path: Path, calibration: Calibration) -> Counter[bool | None]:
    stored = read_part(path, columns=["record"]).schema
    schema = row_schema(stored.field("record").type).with_metadata(stored.metadata)
    rows = scan([path], schema).to_table().to_pylist()
    for row in rows:
        result = calibration.apply(result_of(row))
        row["evidence"] = [evidence_row(entry) for entry in result.evidence]
        row["needs_review"] = result.needs_review
    parts.write_part(path, pa.Table.from_pylist(rows, schema=schema))
    return Counter(row["needs_review"] for row in rows)
