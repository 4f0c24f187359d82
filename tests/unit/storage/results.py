"""Results as an extraction gives them, without one."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field

from docflow.documents.model import Box
from docflow.extraction.result import ErrorInfo, Evidence, PageInfo, Result
from docflow.fields.kinds import Date, Money, Party, Quantity, Text
from docflow.program import Program, program


class Line(BaseModel):
    name: Text | None = None
    count: Quantity | None = None


class Bill(BaseModel):
    company: Party | None = None
    date: Date | None = None
    total: Money | None = None
    items: list[Line] = Field(default_factory=list)


@program(Bill)
def bill(s: Any, pages: Any) -> None:
    s += "Read this bill."


class Letter(BaseModel):
    sender: Party | None = None
    date: Text | None = None


@program(Letter)
def letter(s: Any, pages: Any) -> None:
    s += "Read this letter."


@program(kinds=[bill, letter])
def either(s: Any, pages: Any) -> None:
    s += "What is this?"


RECORD: dict[str, Any] = {
    "company": "ACME",
    "date": dt.date(2024, 3, 12),
    "total": Decimal("12.50"),
    "items": [{"name": "Tea", "count": Decimal(2)}],
}


class Results:
    """Makes results that differ in what a test is about."""

    bill = bill
    letter = letter
    either = either

    @staticmethod
    def document_id(content: str) -> str:
        return hashlib.sha256(content.encode()).hexdigest()

    @classmethod
    def valid(cls, source: str, content: str | None = None, *, of: Program = bill, **changes: Any) -> Result[Any]:
        data = changes.pop("data", {"sender": "Bob", "date": "spring"} if of is letter else RECORD)
        given: dict[str, Any] = {
            "document_id": cls.document_id(content or source),
            "source": source,
            "media_type": "image/png",
            "pages": (PageInfo(1, 600, 800, "px", 0, False),),
            "program": of.name,
            "program_version": of.version,
            "requested_program": of.name,
            "requested_engine": "embedded",
            "requested_model": "rules",
            "engine": "embedded",
            "model": "rules",
            "status": "valid",
            "record": of.model.model_validate(data) if of.model and data else None,
            "data": data,
            "evidence": (Evidence("total", "12.50", "12,50", 1, Box(1, 2, 30, 40), "normalised", 0.9),),
        }
        return Result(**(given | changes))

    @classmethod
    def failed(cls, source: str, content: str | None = None, *, of: Program = bill, **changes: Any) -> Result[Any]:
        error = ErrorInfo("decode", "BrokenDocument", "it is damaged", "Get a new copy.", False)
        given: dict[str, Any] = {
            "status": "failed",
            "record": None,
            "data": None,
            "pages": (),
            "evidence": (),
            "error": error,
            "program_version": of.version,
            "requested_program": of.name,
        }
        return cls.valid(source, content, of=of, **(given | changes))
