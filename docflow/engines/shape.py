"""Whether an answer has the shape that was asked for: a server whose grammar is not in force gives what it likes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def has_shape(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether JSON has objects, lists and single values where the schema has them.

    Null may stand for any of them, and keys may be left out; an object that has keys, none of which the schema names,
    answers another question. References and alternatives, which no record's schema has, are not looked into.
    """
    if value is None:
        return True
    if "properties" in schema:
        children = schema["properties"]
        if not isinstance(value, dict) or (value and not children.keys() & value.keys()):
            return False
        return all(has_shape(children[key], value[key]) for key in children.keys() & value.keys())
    if "items" in schema:
        return isinstance(value, list) and all(has_shape(schema["items"], item) for item in value)
    types = schema.get("type", () if "enum" in schema else ("object", "array"))
    if isinstance(value, dict):
        return "object" in types
    return not isinstance(value, list) or "array" in types


def is_record(schema: Mapping[str, Any], text: str) -> bool:
    """Whether a text is JSON of the schema's shape, a code fence around it aside; of a record's schema an object."""
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return has_shape(schema, value) and (isinstance(value, dict) or "properties" not in schema)
