"""A Result as a row of the dataset, and back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.metadata
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from docflow.documents.model import Box
from docflow.engines.base import Usage
from docflow.errors import StorageError
from docflow.extraction.result import ErrorInfo, Evidence, MissingRow, PageInfo, Result
from docflow.program import Program
from docflow.storage.arrow_types import Misfit, fit, record_type, text

FORMAT = 1
"""The number of the row format. A reader refuses files with a higher one."""
FORMAT_KEY = b"docflow.format"
PROGRAM_KEY = b"docflow.program"
SCHEMA_KEY = b"docflow.program_schema"
VERSIONS_KEY = b"docflow.versions"
"""What the versions of the program asked that are among the rows: a JSON object, by version, of ``fields`` (the schema
of each) and ``prompt`` (see ``Program.prompt``)."""

_TEXT = pa.string()
_PAGE = pa.struct(
    [
        ("page", pa.int32()),
        ("width", pa.float64()),
        ("height", pa.float64()),
        ("unit", _TEXT),
        ("rotation", pa.int32()),
        ("text_layer", pa.bool_()),
    ]
)
_EVIDENCE = pa.struct(
    [
        ("path", _TEXT),
        ("value", _TEXT),
        ("raw", _TEXT),
        ("page", pa.int32()),
        ("x0", pa.float64()),
        ("y0", pa.float64()),
        ("x1", pa.float64()),
        ("y1", pa.float64()),
        ("found", _TEXT),
        ("confidence", pa.float64()),
        ("reason", _TEXT),
        ("raw_confidence", pa.float64()),
    ]
)
_MISSING_ROW = pa.struct(
    [
        ("path", _TEXT),
        ("page", pa.int32()),
        ("x0", pa.float64()),
        ("y0", pa.float64()),
        ("x1", pa.float64()),
        ("y1", pa.float64()),
        ("text", _TEXT),
    ]
)
_ERROR = pa.struct([("stage", _TEXT), ("type", _TEXT), ("message", _TEXT), ("hint", _TEXT), ("retryable", pa.bool_())])
_USAGE = pa.struct([("prompt", pa.int64()), ("cached", pa.int64()), ("output", pa.int64()), ("calls", pa.int64())])


def row_schema(record: pa.DataType) -> pa.Schema:
    """Every column of a row; ``record`` is the one that differs among programs."""
    return pa.schema(
        [
            ("document_id", _TEXT),
            ("source", _TEXT),
            ("media_type", _TEXT),
            ("pages", pa.list_(_PAGE)),
            ("program", _TEXT),
            ("program_version", _TEXT),
            ("requested_program", _TEXT),
            ("engine", _TEXT),
            ("model", _TEXT),
            ("requested_engine", _TEXT),
            ("requested_model", _TEXT),
            ("attempts", pa.int32()),
            ("fallback", pa.bool_()),
            ("status", _TEXT),
            ("record", record),
            ("evidence", pa.list_(_EVIDENCE)),
            ("missing_rows", pa.list_(_MISSING_ROW)),
            ("answer", _TEXT),
            ("error", _ERROR),
            ("usage", _USAGE),
            ("grounding", _TEXT),
            ("first_page", pa.int32()),
            ("last_page", pa.int32()),
            ("split", pa.int32()),
            ("split_confidence", pa.float64()),
            ("needs_review", pa.bool_()),
            ("refreshed_from", _TEXT),
            ("seconds", pa.float64()),
            ("run_id", _TEXT),
            ("docflow_version", _TEXT),
            ("created_at", pa.timestamp("us", "UTC")),
        ]
    )


def program_schema(program: Program) -> pa.Schema:
    """The columns of a program's rows, with the format number and the program's schema as file metadata.

    A program that chooses among kinds has no record of its own: its rows are documents that failed before the choice.
    Raises SchemaError for a record that cannot be stored.
    """
    model = program.model
    asked = program.json_schema or (program.schema if model else {})
    return row_schema(record_type(model) if model else pa.null()).with_metadata(
        {
            FORMAT_KEY: str(FORMAT).encode(),
            PROGRAM_KEY: text(program.name).encode(),
            SCHEMA_KEY: json.dumps(asked, ensure_ascii=True).encode(),
            VERSIONS_KEY: json.dumps(_version(program), ensure_ascii=True).encode(),
        }
    )


def _version(program: Program) -> dict[str, Any]:
    fields = program.schema["properties"] if program.model else {}
    return {program.version: {"fields": fields, "prompt": program.prompt}}


@lru_cache(maxsize=1)
def docflow_version() -> str:
    """The installed version of docflow."""
    return importlib.metadata.version("docflow")


def storable(result: Result[Any], record: pa.DataType) -> tuple[Result[Any], Any]:
    """``result`` and its record as Arrow takes it.

    A valid record with a value that its type cannot hold (an amount of 19 digits) comes back as an invalid one that
    says so, with that leaf null and the whole record as its answer: nothing is rounded, nothing is lost.
    """
    if result.data is None or not pa.types.is_struct(record):
        return result, None
    misfits: list[Misfit] = []
    stored = fit(result.data, record, "", misfits)
    if misfits and result.status == "valid":
        said = "; ".join(f"{misfit.path}: {misfit.why}" for misfit in misfits[:3])
        error = StorageError(
            f"a value does not fit its column: {said}", hint="Use a text field for values of this size."
        )
        answer = result.answer if result.record is None else result.record.model_dump_json()
        result = dataclasses.replace(result, status="invalid", record=None, error=ErrorInfo.of(error), answer=answer)
    return result, stored


def row_of(result: Result[Any], record: Any, run_id: str) -> dict[str, Any]:
    """The row of a result whose record was made ``storable``."""
    return {
        "document_id": result.document_id,
        "source": text(result.source),
        "media_type": result.media_type,
        "pages": [dataclasses.asdict(page) for page in result.pages],
        "program": text(result.program),
        "program_version": result.program_version,
        "requested_program": text(result.requested_program),
        "engine": text(result.engine),
        "model": text(result.model),
        "requested_engine": text(result.requested_engine),
        "requested_model": text(result.requested_model),
        "attempts": result.attempts,
        "fallback": result.fallback,
        "status": result.status,
        "record": record,
        "evidence": [evidence_row(evidence) for evidence in result.evidence],
        "missing_rows": None if result.missing_rows is None else [_missing_row(row) for row in result.missing_rows],
        "answer": None if result.answer is None else text(result.answer),
        "error": None if result.error is None else _error_row(result.error),
        "usage": dataclasses.asdict(result.usage),
        "grounding": result.grounding,
        "first_page": result.first_page,
        "last_page": result.last_page,
        "split": result.split,
        "split_confidence": result.split_confidence,
        "needs_review": result.needs_review,
        "refreshed_from": result.refreshed_from,
        "seconds": result.seconds,
        "run_id": run_id,
        "docflow_version": docflow_version(),
        "created_at": result.created_at.astimezone(dt.UTC),
    }


Pages = tuple[int, int]
"""First and last page, from 1."""


def part_of(row: Mapping[str, Any]) -> Pages | None:
    """Which pages a row is about where its file held several documents; None for a row about the whole file.

    With the document id and the program it is what a row goes by. Rows of before there were page ranges are about the
    whole file.
    """
    several = (row.get("split") or 0) > 1
    return (row["first_page"], row["last_page"]) if several else None


def evidence_row(evidence: Evidence) -> dict[str, Any]:
    """An entry of a row's evidence."""
    box = evidence.box
    return {
        "path": text(evidence.path),
        "value": None if evidence.value is None else text(evidence.value),
        "raw": None if evidence.raw is None else text(evidence.raw),
        "page": evidence.page,
        "x0": box.x0 if box else None,
        "y0": box.y0 if box else None,
        "x1": box.x1 if box else None,
        "y1": box.y1 if box else None,
        "found": evidence.found,
        "confidence": evidence.confidence,
        "reason": evidence.reason,
        "raw_confidence": evidence.raw_confidence,
    }


def name_of(row: Mapping[str, Any]) -> str:
    """What a row is called before people: its source, and its pages where its file holds several documents."""
    part = part_of(row)
    return str(row["source"]) if part is None else f"{row['source']} {pages_text(part)}"


def pages_text(part: Pages) -> str:
    """The pages of a document in a file, for people: ``p. 3-4``."""
    first, last = part
    return f"p. {first}" if first == last else f"p. {first}-{last}"


def _missing_row(row: MissingRow) -> dict[str, Any]:
    return {"path": text(row.path), "page": row.page, **row.box._asdict(), "text": text(row.text)}


def _error_row(error: ErrorInfo) -> dict[str, Any]:
    return {
        "stage": error.stage,
        "type": error.type,
        "message": text(error.message),
        "hint": text(error.hint),
        "retryable": error.retryable,
    }


def result_of(row: dict[str, Any], program: Program | None = None) -> Result[Any]:
    """The result that a row was made of; ``program`` gives the record its model again.

    Raises StorageError when a valid row no longer satisfies that model.
    """
    record = None
    if program is not None and program.model is not None and row["status"] == "valid":
        try:
            record = program.model.model_validate(row["record"], by_name=True)
        except ValidationError as error:
            raise StorageError(
                f"the stored record of {row['source']} is no {program.model.__name__}: {error.errors()[0]['msg']}",
                hint="Extract the document again with the present program, into another OUT or under another --name.",
            ) from error
    return Result(
        **{name: row[name] for name in _SAME},
        pages=tuple(PageInfo(**page) for page in row["pages"] or ()),
        record=record,
        data=row["record"],
        evidence=tuple(_evidence_of(evidence) for evidence in row["evidence"] or ()),
        missing_rows=_missing_rows_of(row),
        error=ErrorInfo(**row["error"]) if row["error"] else None,
        usage=Usage(**row["usage"]) if row["usage"] else Usage(),
        refreshed_from=row.get("refreshed_from"),  # parts of older runs lack it
    )


_SAME = (
    "document_id",
    "source",
    "media_type",
    "program",
    "program_version",
    "requested_program",
    "requested_engine",
    "requested_model",
    "engine",
    "model",
    "status",
    "answer",
    "attempts",
    "fallback",
    "grounding",
    "first_page",
    "last_page",
    "split",
    "split_confidence",
    "needs_review",
    "seconds",
    "created_at",
)


def _missing_rows_of(row: dict[str, Any]) -> tuple[MissingRow, ...] | None:
    stored = row.get("missing_rows")  # parts of older runs lack it
    if stored is None:
        return None
    return tuple(
        MissingRow(one["path"], one["page"], Box(one["x0"], one["y0"], one["x1"], one["y1"]), one["text"])
        for one in stored
    )


def _evidence_of(row: dict[str, Any]) -> Evidence:
    corners = (row["x0"], row["y0"], row["x1"], row["y1"])
    return Evidence(
        path=row["path"],
        value=row["value"],
        raw=row["raw"],
        page=row["page"],
        box=None if None in corners else Box(*corners),
        found=row["found"],
        confidence=row["confidence"],
        reason=row["reason"],
        raw_confidence=row["raw_confidence"],
    )
