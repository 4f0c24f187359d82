"""What the service answers when it does not do what it was asked: a status, a message, and no internals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from docflow.errors import (
    DocflowError,
    DocumentError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    LimitExceeded,
    NoEngine,
    UnsupportedDocument,
    UsageError,
)

OPENAI = ("/v1/", "/api/v1/")
"""Paths whose errors have the OpenAI protocol's shape."""
RETRY_SECONDS = 5.0
"""After which clients are told to come back, where nobody knows when there will be room."""


class Refusal(Exception):
    """A request that is answered with an error. ``message`` is for whoever sent it, ``code`` for their program."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        retry_after: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.hint = status, message, code, hint
        self.retry_after = retry_after
        self.detail = dict(detail or {})


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def body_of(refusal: Refusal, path: str, request_id: str) -> dict[str, Any]:
    """The JSON body of a refusal: OpenAI's ``error`` object for its paths, ``detail`` for the others."""
    message = f"{refusal.message.rstrip('.')}. {refusal.hint}" if refusal.hint else refusal.message
    if path.startswith(OPENAI):
        error = {
            "message": message,
            "type": _TYPES.get(refusal.status, "server_error" if refusal.status >= 500 else "invalid_request_error"),
            "param": None,
            "code": refusal.code or None,
            **refusal.detail,
        }
        return {"error": error, "request_id": request_id}
    return {"detail": message, **({"code": refusal.code} if refusal.code else {}), **refusal.detail}


def rendered(refusal: Refusal, path: str, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body, ready to be sent."""
    body = json.dumps(body_of(refusal, path, request_id), ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(refusal.retry_after))).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return refusal.status, headers, body


def refusal_of(error: DocflowError) -> Refusal:
    """What one of docflow's own errors means to whoever sent the request."""
    code = type(error).__name__
    status = 500
    match error:
        case LimitExceeded():
            status = 413
        case UnsupportedDocument():
            status = 415
        case DocumentError():
            status = 400
        case UsageError():
            status = 422
        case EngineTimeout():
            status = 504
        case EngineRefused():
            status = 400
        case NoEngine() | EngineUnavailable():
            status = 503
    if status == 500:
        return Refusal(500, "Generation failed" if error.stage == "engine" else "the service failed", code=code)
    retry_after = getattr(error, "retry_after", None) or (RETRY_SECONDS if status == 503 else None)
    return Refusal(status, error.message, code=code, hint=error.hint, retry_after=retry_after)
