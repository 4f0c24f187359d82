"""A document's result as the service answers it: plain JSON, and nothing of the service's own insides."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from docflow import errors
from docflow.documents.model import Box
from docflow.errors import DocflowError, EngineError, EngineTimeout, InternalError
from docflow.extraction.result import ErrorInfo, Result
from docflow.storage.cells import json_value


def document_json(result: Result[Any]) -> dict[str, Any]:
    """Everything that is known of one document."""
    return {
        "name": _text(result.source),
        "document_id": result.document_id,
        "media_type": result.media_type,
        "status": result.status,
        "program": _text(result.program),
        "program_version": result.program_version,
        "record": plain(result.data),
        "evidence": [
            {
                "path": _text(one.path),
                "value": one.value,
                "raw": one.raw,
                "page": one.page,
                "box": _box(one.box),
                "found": one.found,
                "confidence": one.confidence,
                "reason": one.reason,
            }
            for one in result.evidence
        ],
        "missing_rows": None
        if result.missing_rows is None
        else [
            {"path": _text(one.path), "page": one.page, "box": _box(one.box), "text": one.text}
            for one in result.missing_rows
        ],
        "pages": [dataclasses.asdict(page) for page in result.pages],
        "first_page": result.first_page,
        "last_page": result.last_page,
        "split": result.split,
        "split_confidence": result.split_confidence,
        "needs_review": result.needs_review,
        "engine": result.engine,
        "model": result.model,
        "fallback": result.fallback,
        "attempts": result.attempts,
        "usage": dataclasses.asdict(result.usage),
        "seconds": round(result.seconds, 4),
        "error": None if result.error is None else error_json(result.error),
    }


def error_json(error: ErrorInfo) -> dict[str, Any]:
    """What went wrong. What only concerns the service's own machines is left out."""
    message, hint = error.message, error.hint
    if error.stage == EngineError.stage and error.type in _AWAY:
        message, hint = _AWAY[error.type], "Send it again in a moment."
    elif error.type == InternalError.__name__:
        message, hint = "the service failed on this document", ""
    return {
        "stage": error.stage,
        "type": error.type,
        "message": message,
        "hint": hint.replace(" and run again with --retry-failed", " and send it again"),
        "retryable": error.retryable,
    }


_AWAY = {
    "NoEngine": "no engine can answer now",
    "EngineUnavailable": "no engine can answer now",
    EngineTimeout.__name__: "the engine did not answer in time",
}


def error_of(info: ErrorInfo) -> DocflowError:
    """The error that a result tells of, to be raised for the whole request."""
    kind = getattr(errors, info.type, None)
    if not (isinstance(kind, type) and issubclass(kind, DocflowError)):
        kind = InternalError
    said = error_json(info)
    error: DocflowError = kind(said["message"], hint=said["hint"], retryable=info.retryable)
    return error


def plain(value: Any) -> Any:
    """A record's values as JSON has them: amounts as numbers, days as ISO 8601, text without broken characters."""
    if isinstance(value, dict):
        return {_text(str(key)): plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    if isinstance(value, str):
        return _text(value)
    return value if value is None or isinstance(value, bool | int | float) else json_value(value)


def dumped(content: Any) -> bytes:
    """JSON in UTF-8."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def _box(box: Box | None) -> list[float] | None:
    return None if box is None else list(box)


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
