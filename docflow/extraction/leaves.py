"""A record as a flat list of leaves: what an engine answered, by path, beside what the schema says of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docflow.errors import BadAnswer
from docflow.fields.kinds import KIND_KEY, Kind

Keys = tuple[str | int, ...]

MAX_LEAVES = 100_000
"""More leaves than this is a runaway answer, not a record."""


@dataclass(slots=True)
class Leaf:
    """One leaf of an answer: where it belongs, what the schema says of it, and what was answered (None for null)."""

    keys: Keys
    kind: Kind
    schema: Mapping[str, Any]
    printed: str | bool | None

    @property
    def path(self) -> str:
        return path_of(self.keys)


def path_of(keys: Sequence[str | int]) -> str:
    """``("items", 3, "price")`` as ``items[3].price``."""
    path = ""
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path


def parse_answer(text: str) -> dict[str, Any]:
    """The JSON object in an engine's answer; a code fence around it is taken off. Raises BadAnswer."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    try:
        # Not strict: a bare tab or line break in a text is no reason to do without the record.
        answer = json.loads(fenced.group(1) if fenced else text, strict=False)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"the engine's answer is no JSON: {text[:80]!r}") from error
    if not isinstance(answer, dict):
        raise BadAnswer(f"the engine's answer is no JSON object: {text[:80]!r}")
    return answer


def leaves_of(schema: Mapping[str, Any], answer: Any) -> list[Leaf]:
    """Every leaf that the schema names, with what the answer has for it.

    Keys that the schema does not name are dropped; what is missing, or not of the shape the schema wants, is null.
    """
    found: list[Leaf] = []
    _collect(schema, answer, (), found)
    return found


def _collect(schema: Mapping[str, Any], answer: Any, keys: Keys, found: list[Leaf]) -> None:
    if len(found) > MAX_LEAVES:
        raise BadAnswer(f"the engine's answer has more than {MAX_LEAVES:,} values")
    if "properties" in schema:
        here = answer if isinstance(answer, dict) else {}
        for key, child in schema["properties"].items():
            _collect(child, here.get(key), (*keys, key), found)
    elif "items" in schema:
        for index, item in enumerate(answer if isinstance(answer, list) else []):
            _collect(schema["items"], item, (*keys, index), found)
    else:
        found.append(Leaf(keys, Kind(schema[KIND_KEY]), schema, _printed(answer)))


def _printed(value: Any) -> str | bool | None:
    """A scalar as it was answered; engines without a grammar may give numbers where a text was asked for."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return value.strip() or None
    return None


def nest(schema: Mapping[str, Any], values: Mapping[Keys, Any]) -> dict[str, Any]:
    """The record again from its leaves: the shape the schema says, lists in order."""
    made = _nest(schema, values, ())
    assert isinstance(made, dict)
    return made


def _nest(schema: Mapping[str, Any], values: Mapping[Keys, Any], keys: Keys) -> Any:
    if "properties" in schema:
        return {key: _nest(child, values, (*keys, key)) for key, child in schema["properties"].items()}
    if "items" in schema:
        depth = len(keys)
        count = 1 + max((k[depth] for k in values if len(k) > depth and k[:depth] == keys), default=-1)  # type: ignore[operator]
        return [_nest(schema["items"], values, (*keys, index)) for index in range(count)]
    return values.get(keys)


def schema_for(leaves: Sequence[Leaf]) -> dict[str, Any]:
    """A flat schema that asks for these leaves alone, by path."""
    properties = {leaf.path: dict(leaf.schema) for leaf in leaves}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
