"""One document through one program: from pages to a validated record with evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docflow.extraction.result import ErrorInfo, Evidence, PageInfo, Result

if TYPE_CHECKING:
    from docflow.extraction.extract import extract_document

__all__ = ["ErrorInfo", "Evidence", "PageInfo", "Result", "extract_document"]


def __getattr__(name: str) -> Any:
    # The SGLang front end comes with it, most of a second: whoever only reads results does not wait for that.
    if name != "extract_document":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from docflow.extraction.extract import extract_document

    return extract_document
