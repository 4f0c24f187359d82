"""The schema that goes to a server: what the grammar engines of SGLang and vLLM both take, and no more.

Patterns, formats and limits stay with Pydantic, which checks every record in full. A grammar needs only the shape:
which keys, in which order, and what kind of value. What the engines were seen to do with the rest: a pattern with a
look-ahead is taken and not obeyed; ``maxLength`` 1000 takes 6 seconds to compile, 200 on forty texts 2, and lets bare
control characters into the JSON. A list that ends at ``maxItems`` would look whole, where an answer that reaches
``max_tokens`` is known to be cut off.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from docflow.errors import SchemaError
from docflow.program import MOST_DEPTH, check_sendable

_SCALARS = ("string", "boolean", "number", "integer", "null")
_MOST_INTEGER = 2**63 - 1


def wire_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The reduced form of a schema: the same for the same schema, keys in their order, all of them required.

    Takes what ``docflow.program.record_schema`` makes, and JSON schemas of the same shapes that a program gives by
    itself: local references are put in place, ``const`` becomes an enumeration. Raises SchemaError for a schema that
    has no shape, contains itself, or holds what servers do not take.
    """
    return _reduced(schema, schema, (), 0)


def _reduced(node: Any, root: Mapping[str, Any], seen: tuple[str, ...], depth: int) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        raise SchemaError("a part of the schema says nothing of its shape", hint="Give every field a type.")
    if depth > MOST_DEPTH:
        raise SchemaError(f"the schema is nested more than {MOST_DEPTH} levels deep")
    if "$ref" in node:
        name = str(node["$ref"])
        if name in seen:
            raise SchemaError(f"the schema contains itself at {name}", hint="Use a list of flat items in its place.")
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _reduced({**_target(name, root), **rest}, root, (*seen, name), depth)
    for key in ("anyOf", "oneOf"):
        if node.get(key):
            return {"anyOf": [_reduced(option, root, seen, depth) for option in node[key]]}
    if node.get("allOf"):
        merged = {key: value for key, value in node.items() if key != "allOf"}
        for part in node["allOf"]:
            merged = {**part, **merged}
        return _reduced(merged, root, seen, depth)
    if "const" in node or "enum" in node:
        return {"enum": [_choice(choice) for choice in _choices(node)]}
    if node.get("properties"):
        for name in node["properties"]:
            check_sendable(name)
        made = {
            "type": "object",
            "properties": {key: _reduced(child, root, seen, depth + 1) for key, child in node["properties"].items()},
            "required": list(node["properties"]),
            "additionalProperties": False,
        }
        return _or_null(made, node)
    if "items" in node:
        return _or_null({"type": "array", "items": _reduced(node["items"], root, seen, depth + 1)}, node)
    types = node.get("type")
    if isinstance(types, str) and types in _SCALARS:
        return {"type": types}
    if isinstance(types, list) and types and all(name in _SCALARS for name in types):
        return {"type": list(types)}
    raise SchemaError(
        f"a field of type {types!r} cannot be asked for",
        hint="An object needs named fields, a list its items, anything else a type.",
    )


def _target(name: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a local reference leads to."""
    here: Any = root
    for part in name.removeprefix("#/").split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        here = here.get(part) if isinstance(here, Mapping) else None
    if not name.startswith("#/") or not isinstance(here, Mapping):
        raise SchemaError(f"the reference {name!r} leads nowhere in the schema")
    return here


def _or_null(made: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    types = node.get("type")
    return {"anyOf": [made, {"type": "null"}]} if isinstance(types, list) and "null" in types else made


def _choices(node: Mapping[str, Any]) -> list[Any]:
    choices = [node["const"]] if "const" in node else list(node["enum"])
    if not choices:
        raise SchemaError("an enumeration has no choices")
    return choices


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        check_sendable(choice)
    elif isinstance(choice, int) and not -_MOST_INTEGER - 1 <= choice <= _MOST_INTEGER:
        return str(choice)  # vLLM ends in an error of its own on longer ones
    elif not isinstance(choice, int | float | None) or (isinstance(choice, float) and not math.isfinite(choice)):
        raise SchemaError(f"{json.dumps(choice, default=str)[:80]} is no choice", hint="Choices are single values.")
    return choice


# --- the same as a regular expression ---------------------------------------------------------------------------------

_TEXT = r'"([^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
_NUMBER = r"-?(0|[1-9][0-9]*)"
_OF_TYPE = {
    "string": _TEXT,
    "boolean": "true|false",
    "null": "null",
    "integer": _NUMBER,
    "number": _NUMBER + r"(\.[0-9]+)?([eE][+-]?[0-9]+)?",
}
_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}/-]")


def wire_regex(schema: Mapping[str, Any]) -> str:
    """JSON of the schema without any white space, as a regular expression. Raises SchemaError.

    A server lets a model put white space between the parts of its JSON unless it was started with a flag against it,
    and some models then write nothing else until they are cut off. An expression says it in the request, costs a server
    as little as the schema, and makes SGLang and vLLM write the same bytes.
    """
    return _regex(wire_schema(schema))


def _regex(node: Mapping[str, Any]) -> str:
    if "anyOf" in node:
        return f"({'|'.join(_regex(option) for option in node['anyOf'])})"
    if "enum" in node:
        return f"({'|'.join(_literal(choice) for choice in node['enum'])})"
    if "properties" in node:
        members = (f"{_literal(key)}:{_regex(child)}" for key, child in node["properties"].items())
        return rf"\{{{','.join(members)}\}}"
    if "items" in node:
        item = _regex(node["items"])
        return rf"\[({item}(,{item})*)?\]"
    types = [node["type"]] if isinstance(node["type"], str) else node["type"]
    return f"({'|'.join(_OF_TYPE[name] for name in types)})"


def _literal(value: Any) -> str:
    return _SPECIAL.sub(lambda mark: "\\" + mark.group(), json.dumps(value, ensure_ascii=False))
