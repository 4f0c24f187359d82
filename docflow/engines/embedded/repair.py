"""What a conversation says was wrong: values that were answered before and must not be answered again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docflow.engines.base import Request, WantJson
from docflow.fields.text import collapse, fold


def rejected(request: Request) -> dict[str, frozenset[str]]:
    """The values of earlier answers for the leaves that the schema asks for again, folded, by path.

    Only answers that a later user turn replied to count: they were judged, and these leaves failed.
    """
    if not isinstance(request.want, WantJson):
        return {}
    judged: dict[str, set[str]] = {}
    waiting: list[Mapping[str, Any]] = []
    for turn in request.turns:
        if turn.role == "assistant":
            answer = _object(turn.text)
            if answer is not None:
                waiting.append(answer)
        elif turn.role == "user":
            for answer in waiting:
                for path, value in _leaves(answer, ""):
                    judged.setdefault(path, set()).add(collapse(fold(value)))
            waiting = []
    asked = set(_paths(request.want.schema, ""))
    return {path: frozenset(values) for path, values in judged.items() if path in asked}


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _leaves(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, str):
        yield path, value


def _paths(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, child in schema.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        if child.get("type") == "object":
            yield from _paths(child, here)
        else:
            yield here
