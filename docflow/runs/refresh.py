"""Refreshing: where a program has changed, only what the change touches is asked again.

A field counts as unchanged when its schema (kind, description, what it holds) is the same as it was, and the prompt's
own words are. Its value, evidence and confidence come from the older row; the others are asked for alone, and the
record that both make is validated as a whole. Where that does not work, the document is asked as a whole.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from docflow.documents.model import Document
from docflow.engines.base import Engine, Usage
from docflow.errors import EngineError
from docflow.extraction.result import Evidence, Result
from docflow.program import Program
from docflow.schemas import violations
from docflow.settings import ExtractionSettings

if TYPE_CHECKING:
    from docflow.storage.store import OlderRow

_TOP = re.compile(r"[^.\[]*")


def refreshed(
    document: Document,
    program: Program,
    engine: Engine,
    settings: ExtractionSettings,
    older: OlderRow,
    *,
    cheap: Engine | None = None,
) -> tuple[Result[Any] | None, Usage]:
    """The document's new result, made with what an older row holds, and what making it cost.

    None where the document has to be asked as a whole. A failure of the engine is a failed result, as ever.
    """
    from docflow.extraction.extract import extract_document
    from docflow.extraction.reduced import reduced_program

    touched = fields_to_ask(program, settings, older)
    if touched is None:
        return None, Usage()
    if not touched:  # what fields mean is as it was; the model's own checks are not
        same = replace(older.result, source=document.source, usage=Usage(), seconds=0.0)
        return _joined(program, engine, same, older, touched), Usage()
    reduced = reduced_program(program, touched, document.pages)
    if reduced is None:
        return None, Usage()
    part = extract_document(document, reduced, engine, settings, cheap=cheap)
    if part.status == "failed" and part.error is not None and part.error.stage == EngineError.stage:
        return replace(part, program_version=program.version), part.usage
    if part.status != "valid":
        return None, part.usage
    return _joined(program, engine, part, older, touched), part.usage


def fields_to_ask(program: Program, settings: ExtractionSettings, older: OlderRow) -> frozenset[str] | None:
    """The keys of the record's fields that a refresh asks for; None where the document has to be asked as a whole."""
    if older.result.grounding != settings.grounding or settings.split:
        return None
    return touched_fields(program, older)


def touched_fields(program: Program, older: OlderRow) -> frozenset[str] | None:
    """The keys of the record's fields that have to be asked; None where all have."""
    if older.prompt is None or older.prompt != program.prompt:
        return None
    properties = program.schema["properties"]
    touched = frozenset(key for key, field in properties.items() if older.fields.get(key) != field)
    return None if len(touched) == len(properties) else touched


def _joined(
    program: Program, engine: Engine, part: Result[Any], older: OlderRow, touched: frozenset[str]
) -> Result[Any] | None:
    """The result that the older row and what was asked now make together; None where that is not valid."""
    before = older.result
    if before.data is None or part.data is None or program.model is None:
        return None
    data = {key: (part.data if key in touched else before.data).get(key) for key in program.schema["properties"]}
    try:
        record = program.model.model_validate(data)
    except ValidationError:
        return None
    if program.json_schema is not None and violations(program.json_schema, record):
        return None
    missing = None
    if before.missing_rows is not None and part.missing_rows is not None:
        asked = [row for row in part.missing_rows if _top(row.path) in touched]
        missing = (*(row for row in before.missing_rows if _top(row.path) not in touched), *asked)
    return replace(
        part,
        program=program.name,
        program_version=program.version,
        requested_program=program.name,
        requested_engine=engine.name,
        requested_model=engine.model,
        status="valid",
        record=record,
        data=data,
        evidence=tuple(_in_order(program, before.evidence, part.evidence, touched)),
        missing_rows=missing,
        answer=None,
        error=None,
        fallback=before.fallback or part.fallback,
        refreshed_from=before.program_version,
        created_at=dt.datetime.now(dt.UTC),
    )


def _in_order(
    program: Program, before: Iterable[Evidence], now: Iterable[Evidence], touched: frozenset[str]
) -> list[Evidence]:
    """The evidence of all fields, in the order of the schema."""
    entries = [entry for entry in before if _top(entry.path) not in touched]
    entries += [entry for entry in now if _top(entry.path) in touched]
    place = {key: number for number, key in enumerate(program.schema["properties"])}
    return sorted(entries, key=lambda entry: place.get(_top(entry.path), len(place)))


def _top(path: str) -> str:
    """The field of the record that a leaf is part of."""
    match = _TOP.match(path)
    return match[0] if match else path
