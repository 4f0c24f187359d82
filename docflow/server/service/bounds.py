"""What JSON from outside may hold: so much, so deep, and schemas that name nothing beyond themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from docflow.server.service.refusals import Refusal

MOST_DEPTH = 64
MOST_GROUPS = 200_000
"""Objects and arrays in one body, and ten times as many values: a body of brackets costs far more than its bytes."""
MOST_SCHEMA_BYTES = 131_072
MOST_SCHEMA_DEPTH = 32
MOST_SCHEMA_NODES = 5_000
MOST_PATTERN = 1_000
"""Characters of one regular expression."""
_PATTERNS = frozenset({"pattern", "regex"})


def object_of(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises Refusal (400) where there is none, or one that is out of bounds."""
    if raw.count(b"{") + raw.count(b"[") > MOST_GROUPS or raw.count(b",") > 10 * MOST_GROUPS:
        raise Refusal(400, "the body of this request holds too many values", code="too_complex")
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal(400, "the body of this request is not valid JSON", code="invalid_json") from None
    if not isinstance(found, dict):
        raise Refusal(400, "the body of this request is no JSON object", code="invalid_json")
    if _depth_exceeds(found, MOST_DEPTH):
        raise Refusal(400, f"the body of this request is nested deeper than {MOST_DEPTH}", code="too_complex")
    if orjson.dumps(found) != raw and _says_twice(raw):
        # Which of the two counts is a matter of the reader: another one than this may take the other.
        raise Refusal(400, "the body of this request names a field twice", code="invalid_json")
    return found


def _says_twice(raw: bytes) -> bool:
    import json

    def pairs(given: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in given}) < len(given):
            raise _Twice

    try:
        json.loads(raw, object_pairs_hook=pairs)
    except _Twice:
        return True
    return False


class _Twice(Exception):
    """An object names a field twice."""


def _depth_exceeds(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def check_schema(schema: Any, where: str) -> None:
    """Raises Refusal (400) for a JSON schema that is too large or deep, or refers to what is not in it."""
    if not isinstance(schema, Mapping | bool):
        raise Refusal(400, f"{where} is no JSON schema", code="invalid_schema")
    if len(orjson.dumps(schema)) > MOST_SCHEMA_BYTES:
        raise Refusal(400, f"{where} is larger than {MOST_SCHEMA_BYTES:,} bytes", code="schema_too_complex")
    nodes = 0
    level: list[Any] = [schema]
    for _ in range(MOST_SCHEMA_DEPTH + 1):
        following: list[Any] = []
        for node in level:
            nodes += 1
            if isinstance(node, dict):
                _check_node(node, where)
                following += node.values()
            elif isinstance(node, list):
                following += node
        if nodes > MOST_SCHEMA_NODES:
            break
        level = [node for node in following if isinstance(node, dict | list)]
        if not level:
            return
    raise Refusal(400, f"{where} is too deep, or has too many parts", code="schema_too_complex")


def _check_node(node: dict[str, Any], where: str) -> None:
    for key in ("$ref", "$dynamicRef", "$recursiveRef"):
        reference = node.get(key)
        if isinstance(reference, str) and not reference.startswith("#"):
            raise Refusal(400, f"{where} refers to something outside itself", code="invalid_schema")
    for key in _PATTERNS & node.keys():
        check_pattern(node[key], where)
    for pattern in node.get("patternProperties") or () if isinstance(node.get("patternProperties"), dict) else ():
        check_pattern(pattern, where)


def check_pattern(pattern: Any, where: str) -> None:
    """Raises Refusal (400) for a regular expression that is too long."""
    if isinstance(pattern, str) and len(pattern) > MOST_PATTERN:
        raise Refusal(400, f"{where} has a pattern longer than {MOST_PATTERN:,} characters", code="schema_too_complex")
