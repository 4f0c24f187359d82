"""The programs that requests may name, and schemas that they may bring. A request never names code."""

from __future__ import annotations

import difflib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from docflow.errors import ConfigError, ProgramError, SchemaError
from docflow.loading import load_program, names
from docflow.program import Program, program_for
from docflow.schemas import model_of

SCHEMA_NAME = "document"
"""What the program of a schema is called that does not say how."""
MOST_SCHEMA_BYTES = 65_536
MOST_DEPTH = 24
"""Levels of a schema's JSON, references followed."""
MOST_NODES = 5_000
"""Values in a schema, references followed: each stands for what it leads to."""
MOST_TEXT = 4_000
MOST_PATTERN = 300
MOST_NAME = 100
_SCHEMAS_KEPT = 64
_REFUSED = frozenset(
    {"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "patternProperties"}
)
"""Keywords that could make a reference lead elsewhere, or a pattern run over names."""
_DEFINITIONS = ("$defs", "definitions")
_MAPS = (*_DEFINITIONS, "properties", "dependentSchemas")
"""Keywords whose values hold schemas by name."""


class Programs:
    """The programs of a service, by name: docflow's own and those that the operator adds. Safe for threads."""

    def __init__(self, further: str = "") -> None:
        """``further`` are ``path/to/file.py:name`` or ``package.module:name``, with ``;`` between them.

        Raises ConfigError.
        """
        self._names = names()
        self._further: dict[str, Program] = {}
        self._loaded: dict[str, Program] = {}
        self._schemas: OrderedDict[str, Program] = OrderedDict()
        self._lock = threading.Lock()
        for spec in filter(None, (one.strip() for one in further.split(";"))):
            if ":" not in spec:
                raise ConfigError(f"serve.programs: {spec!r} is no FILE:NAME and no MODULE:NAME")
            program = load_program(spec)
            if program.name in self._names or program.name in self._further:
                raise ConfigError(f"serve.programs: there are two programs of the name {program.name!r}")
            self._further[program.name] = program

    @property
    def names(self) -> list[str]:
        return sorted([*self._names, *self._further])

    def __iter__(self) -> Iterator[Program]:
        for name in self.names:
            yield self.named(name)

    def named(self, name: str) -> Program:
        """Raises ProgramError for a name that is not registered, whatever else it may name."""
        with self._lock:
            if name in self._further:
                return self._further[name]
            if name in self._names:
                if name not in self._loaded:
                    self._loaded[name] = load_program(name)
                return self._loaded[name]
        close = difflib.get_close_matches(name[:MOST_NAME], self.names, 1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise ProgramError(
            f"there is no program {name[:MOST_NAME]!r} here", hint=f"{hint}There are {', '.join(self.names)}."
        )

    def of_schema(self, given: str | Mapping[str, Any]) -> Program:
        """The program that asks for what a JSON Schema describes. Raises SchemaError."""
        schema = checked_schema(given)
        key = hashlib.sha256(json.dumps(schema).encode()).hexdigest()  # in the order of its fields: it counts
        with self._lock:
            if key in self._schemas:
                self._schemas.move_to_end(key)
                return self._schemas[key]
        program = program_for(model_of(schema, SCHEMA_NAME), SCHEMA_NAME, json_schema=schema)
        program.rules  # noqa: B018 (rules that are off are said now)
        with self._lock:
            self._schemas[key] = program
            while len(self._schemas) > _SCHEMAS_KEPT:
                self._schemas.popitem(last=False)
        return program


def checked_schema(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """A schema from outside, within its bounds. Raises SchemaError."""
    try:
        text = given if isinstance(given, str) else json.dumps(given)
        if len(text) > MOST_SCHEMA_BYTES:
            raise SchemaError(f"the schema is larger than {MOST_SCHEMA_BYTES:,} bytes")
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise SchemaError("the schema is no valid JSON") from None
    if not isinstance(schema, dict):
        raise SchemaError(
            "the schema is no JSON object", hint='A schema looks like {"type": "object", "properties": {...}}.'
        )
    _check_depth(schema)
    _Walk(schema).schema(schema, 0)
    return schema


def _check_depth(schema: dict[str, Any]) -> None:
    """Raises SchemaError where any part of it, used or not, is nested too deep."""
    level: list[Any] = [schema]
    for _ in range(MOST_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        ]
    if any(isinstance(node, dict | list) for node in level):
        raise SchemaError(f"the schema is nested more than {MOST_DEPTH} levels deep")


class _Walk:
    """Counts a schema as those who use it will: a reference costs what it leads to, each time."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0

    def schema(self, node: Any, depth: int) -> None:
        """A place where a schema stands, or a list of schemas, or plain data."""
        self._count(depth)
        if isinstance(node, list):
            for item in node:
                self.schema(item, depth + 1)
        elif isinstance(node, dict):
            for key, value in node.items():
                self._keyword(key, value, depth + 1)
        elif isinstance(node, str) and len(node) > MOST_TEXT:
            raise SchemaError(f"a text in the schema is longer than {MOST_TEXT:,} characters")

    def _keyword(self, key: str, value: Any, depth: int) -> None:
        if key in _REFUSED:
            raise SchemaError(f"{key} is not taken in a schema here")
        if key in _MAPS and isinstance(value, dict):
            for name, child in value.items():
                if len(name) > MOST_NAME:
                    raise SchemaError(f"a field's name is longer than {MOST_NAME} characters")
                if key not in _DEFINITIONS:  # those are counted where they are used
                    self.schema(child, depth)
        elif key == "$ref" and isinstance(value, str):
            self.schema(self._target(value), depth)
        else:
            if key == "pattern" and isinstance(value, str) and len(value) > MOST_PATTERN:
                raise SchemaError(f"a pattern in the schema is longer than {MOST_PATTERN} characters")
            self.schema(value, depth)

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise SchemaError(f"the schema has more than {MOST_NODES:,} values, its references followed")
        if depth > 2 * MOST_DEPTH:
            raise SchemaError("the schema is nested too deep, or contains itself")

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            raise SchemaError(
                f"the reference {reference[:MOST_NAME]!r} leads out of the schema",
                hint="Only local references (#/$defs/...) are followed.",
            )
        target: Any = self._root
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or part not in target:
                raise SchemaError(f"the reference {reference[:MOST_NAME]!r} leads nowhere")
            target = target[part]
        return target
