"""One document through one program: from pages to a validated record with evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docflow.extraction.result import ErrorInfo, Evidence, PageInfo, Result

if TYPE_CHECKING:
    from docflow.extraction.extract import extract_document

__all__ = ["ErrorInfo", "Evidence", "PageInfo", "Result", "extract_document"]


def __getattr__(name: str) -> Any:
    if name == "extract_document":  # brings SGLang's front end along; who only reads results should not wait for it
        from docflow.extraction.extract import extract_document

        return extract_document
    raise AttributeError(name)
