"""The schema that goes to a server: what the grammar engines of SGLang and vLLM both take, and no more.

Patterns, formats and limits stay with Pydantic, which checks every record in full. A grammar needs only the shape:
which keys, in which order, and what kind of value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def wire_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The reduced form of a schema as ``docflow.program.record_schema`` makes it. The order of keys is kept."""
    if "properties" in schema:
        return {
            "type": "object",
            "properties": {key: wire_schema(child) for key, child in schema["properties"].items()},
            "required": list(schema["properties"]),
            "additionalProperties": False,
        }
    if "items" in schema:
        return {"type": "array", "items": wire_schema(schema["items"])}
    if "enum" in schema:
        return {"enum": list(schema["enum"])}
    return {"type": schema["type"]}
