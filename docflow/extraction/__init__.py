"""One document through one program: from pages to a validated record with evidence."""

from docflow.extraction.extract import extract_document
from docflow.extraction.result import ErrorInfo, Evidence, PageInfo, Result

__all__ = ["ErrorInfo", "Evidence", "PageInfo", "Result", "extract_document"]
