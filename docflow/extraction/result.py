"""What one document gave: the record, the evidence for every leaf, or the error; one Result is one row."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from docflow.documents.model import Box, Page, Unit
from docflow.engines.base import Reason, Usage
from docflow.errors import DocflowError
from docflow.settings import Grounding

Status = Literal["valid", "invalid", "failed"]
Found = Literal["exact", "normalised", "fuzzy", "not on the page"]

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Evidence:
    """For one leaf of a record: its value as text, the raw text it was read from, and where that stands.

    A leaf that was read in several pieces (an address over three lines) has an entry a piece, in reading order.
    ``page`` counts from 1; ``box`` is in the unit of that page. ``found`` is None for a null leaf, and when grounding
    is off. ``confidence`` is the probability, 0 to 1, that the leaf is right. ``reason`` says why a leaf is null.
    ``raw_confidence`` is what the confidence was before it was calibrated to labelled documents, None where it was not.
    """

    path: str
    value: str | None
    raw: str | None
    page: int | None
    box: Box | None
    found: Found | None
    confidence: float
    reason: Reason | None = None
    raw_confidence: float | None = None


@dataclass(frozen=True, slots=True)
class MissingRow:
    """A line of a page that looks like a row of a list of the record and is in none of them.

    ``path`` is the list's; ``page`` counts from 1, and ``box`` is in the unit of that page.
    """

    path: str
    page: int
    box: Box
    text: str


@dataclass(frozen=True, slots=True)
class PageInfo:
    """A page as it is recorded in a row: its size, unit and turn, and whether its words came from the file itself."""

    page: int
    width: float
    height: float
    unit: Unit
    rotation: int
    text_layer: bool

    @classmethod
    def of(cls, page: Page) -> PageInfo:
        return cls(page.number, page.width, page.height, page.unit, page.rotation, page.text_layer)


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a document failed, or why its record is invalid."""

    stage: str
    type: str
    message: str
    hint: str
    retryable: bool

    @classmethod
    def of(cls, error: DocflowError) -> ErrorInfo:
        return cls(error.stage, type(error).__name__, error.message, error.hint, error.retryable)


@dataclass(frozen=True)
class Result(Generic[R]):
    """One document through one program.

    ``first_page`` and ``last_page`` count from 1 in the file: all its pages, or those of one document of several in a
    file that was split; None where the file could not be opened. ``split`` is the number of documents that the file
    was split into (0 where it failed before that), None where nobody asked; ``split_confidence`` the probability that
    these pages are one document and all of it.
    ``data`` holds the typed Python values by field name whenever the engine answered (also when the record is
    invalid); ``record`` is the validated model and None unless ``status`` is ``valid``. ``answer`` is the engine's
    last text unless the record is valid. ``attempts`` is 1, and one more for each time that a question had to be sent
    again; ``fallback`` says that a stand-in answered one. ``missing_rows`` are suspected ones, None where the pages
    were not checked for any. ``seconds`` is wall time. ``needs_review`` says whether somebody should look at it, None
    where that was not asked or cannot be told. ``refreshed_from`` is the version of the program whose row gave the
    fields that have not changed since, None where all were asked. ``spared`` counts the leaves that the requested
    engine was never asked for, because a cheap one was sure of them; None where no cheap one was asked, and in stored
    rows.
    """

    document_id: str
    source: str
    media_type: str
    pages: tuple[PageInfo, ...]
    program: str
    program_version: str
    requested_program: str
    requested_engine: str
    requested_model: str
    engine: str
    model: str
    status: Status
    record: R | None = None
    data: dict[str, Any] | None = None
    evidence: tuple[Evidence, ...] = ()
    answer: str | None = None
    error: ErrorInfo | None = None
    usage: Usage = field(default_factory=Usage)
    attempts: int = 1
    fallback: bool = False
    grounding: Grounding = "full"
    missing_rows: tuple[MissingRow, ...] | None = None
    first_page: int | None = None
    last_page: int | None = None
    split: int | None = None
    split_confidence: float | None = None
    needs_review: bool | None = None
    refreshed_from: str | None = None
    spared: int | None = None
    seconds: float = 0.0
    created_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
