"""What requests with documents look like, for the service's own description (OpenAPI)."""

from __future__ import annotations

from typing import Any

from docflow.server.service.asked import Asked

_FIELDS: dict[str, Any] = Asked.model_json_schema(by_alias=True)["properties"]
_DOCUMENT = {
    "type": "object",
    "required": ["data"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "description": "what it is called in the answer"},
        "data": {"type": "string", "description": "its bytes as base64, or as a data: URL"},
    },
}

EXTRACT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "one or several documents: images and PDFs",
                        },
                        **_FIELDS,
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["documents"],
                    "additionalProperties": False,
                    "properties": {"documents": {"type": "array", "minItems": 1, "items": _DOCUMENT}, **_FIELDS},
                }
            },
        },
    }
}

REFUSED: dict[int | str, dict[str, Any]] = {
    400: {"description": "the request or its only document is broken"},
    401: {"description": "a key is wanted"},
    408: {"description": "the request did not arrive in time"},
    413: {"description": "larger or more than a limit allows"},
    415: {"description": "not a kind of document that docflow reads"},
    422: {"description": "an unknown program, a schema that cannot be used, an option out of range"},
    503: {"description": "too many requests, or no engine: come back after Retry-After"},
    504: {"description": "the engine did not answer in time"},
}
