"""A JSON Schema, as a user writes it, as a record model: extraction without code."""

from __future__ import annotations

import datetime as dt
import json
import keyword
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import SchemaError as PydanticSchemaError

from docflow.errors import SchemaError
from docflow.fields.kinds import KIND_KEY, Address, Currency, Date, Identifier, Kind, Money, Party, Quantity, Text

MAX_SCHEMA_BYTES = 1_000_000
MAX_DEPTH = 8

_TYPE_OF_KIND: dict[str, Any] = {
    Kind.PARTY: Party,
    Kind.ADDRESS: Address,
    Kind.IDENTIFIER: Identifier,
    Kind.TEXT: Text,
    Kind.DATE: Date,
    Kind.MONEY: Money,
    Kind.QUANTITY: Quantity,
    Kind.CURRENCY: Currency,
    Kind.BOOLEAN: bool,
}
_TYPE_OF_JSON: dict[str, Any] = {"string": Text, "number": Quantity, "integer": int, "boolean": bool}
_CONSTRAINTS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}


def read_schema(path: Path) -> dict[str, Any]:
    """A JSON Schema from a file. Raises SchemaError when it is missing, too large, no JSON or no object."""
    try:
        if path.stat().st_size > MAX_SCHEMA_BYTES:
            raise SchemaError(f"{path} is larger than {MAX_SCHEMA_BYTES:,} bytes")
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemaError(f"the schema {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"the schema {path} is no valid JSON: {error}") from error
    if not isinstance(schema, dict):
        raise SchemaError(
            f"the schema {path} is no JSON object", hint='A schema looks like {"type": "object", "properties": {...}}.'
        )
    return schema


def model_of(schema: dict[str, Any], name: str) -> type[BaseModel]:
    """The record model for a JSON Schema (draft 2020-12, local references only).

    Types, formats, enumerations, required keys and simple limits become the model's own; every other rule of the schema
    is checked on the finished record. Raises SchemaError for a schema that is invalid, empty, or of a shape that is no
    record.
    """
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its top"
        raise SchemaError(f"the schema is not valid at {where}: {error.message}") from error
    _check_patterns(schema)
    root = _resolve(schema, schema, 0)
    if root.get("type", "object") != "object" or not root.get("properties"):
        raise SchemaError(
            "the schema names no fields", hint='Give it "type": "object" and "properties" with at least one field.'
        )
    return _object(root, schema, _class_name(name), 0)


def violations(schema: dict[str, Any], record: BaseModel) -> list[tuple[tuple[str | int, ...], str]]:
    """Where a record breaks its schema's rules, as (path, message). Nulls count as left out."""
    from referencing import Registry

    instance = _plain(record.model_dump(by_alias=True, exclude_none=True))
    # An empty registry: a reference to somewhere else is an error, never a download.
    validator = _validator_class()(schema, registry=Registry())
    return [(tuple(error.absolute_path), error.message) for error in validator.iter_errors(instance)]


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    import jsonschema

    return jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, {"pattern": _pattern}
    )


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """The keyword ``pattern`` in a time that grows with the text alone: Python's own search may take for ever."""
    import jsonschema

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _matches(pattern: str, text: str) -> bool:
    try:
        _matcher(pattern).validate_python(text)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> TypeAdapter[str]:
    """Raises PydanticSchemaError for a pattern that cannot be used."""
    return TypeAdapter(Annotated[str, Field(pattern=pattern)])


def _check_patterns(node: Any) -> None:
    """Raises SchemaError for a pattern anywhere in a schema that cannot be used."""
    if isinstance(node, dict):
        if isinstance(pattern := node.get("pattern"), str):
            try:
                _matcher(pattern)
            except PydanticSchemaError as error:
                raise SchemaError(
                    f"the pattern {pattern[:80]!r} cannot be used",
                    hint="Look-around and back references are not taken.",
                ) from error
        for child in node.values():
            _check_patterns(child)
    elif isinstance(node, list):
        for child in node:
            _check_patterns(child)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    return value


def _resolve(node: dict[str, Any], root: dict[str, Any], depth: int) -> dict[str, Any]:
    """A node with its reference followed and the null option of an ``anyOf`` taken out (kept as ``nullable``)."""
    if depth > MAX_DEPTH:
        raise SchemaError(f"the schema is nested more than {MAX_DEPTH} levels deep, or contains itself")
    if "$ref" in node:
        reference = node["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise SchemaError(
                f"the reference {reference!r} leads out of the schema",
                hint="Only local references (#/$defs/...) are followed.",
            )
        target: Any = root
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or part not in target:
                raise SchemaError(f"the reference {reference!r} leads nowhere")
            target = target[part]
        if not isinstance(target, dict):
            raise SchemaError(f"the reference {reference!r} leads to no schema of a field")
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _resolve({**target, **rest}, root, depth + 1)
    options = node.get("anyOf") or node.get("oneOf")
    if options:
        real = [option for option in options if not isinstance(option, dict) or option.get("type") != "null"]
        if len(real) != 1 or not isinstance(real[0], dict):
            raise SchemaError(
                "a field that may be of several shapes is not supported",
                hint="Give it one shape, or split it into two fields.",
            )
        rest = {key: value for key, value in node.items() if key not in ("anyOf", "oneOf")}
        return _resolve({**real[0], **rest, "nullable": len(options) > len(real)}, root, depth + 1)
    types = node.get("type")
    if isinstance(types, list):
        real_types = [t for t in types if t != "null"]
        if len(real_types) != 1:
            raise SchemaError(
                f"a field of types {types} is not supported", hint='Give one type, and "null" where it may be missing.'
            )
        return {**node, "type": real_types[0], "nullable": len(types) > len(real_types)}
    return node


def _object(node: dict[str, Any], root: dict[str, Any], name: str, depth: int) -> type[BaseModel]:
    required = set(node.get("required", ()))
    fields: dict[str, Any] = {}
    for position, (key, child) in enumerate(node["properties"].items()):
        if not isinstance(child, dict):
            child = {}
        child = _resolve(child, root, depth)
        annotation = _annotation(child, root, _class_name(f"{name}_{key}"), depth + 1)
        extra = {"x-labels": child["x-labels"]} if isinstance(child.get("x-labels"), list) else None
        info: dict[str, Any] = {
            "title": child.get("title"),
            "description": child.get("description"),
            "json_schema_extra": extra,
            **{
                ours: child[theirs]
                for theirs, ours in _CONSTRAINTS.items()
                if theirs in child and child.get("type") != "array"
            },
        }
        safe = _field_name(key, position)
        if safe != key:
            info["alias"] = key
        if child.get("type") == "array":
            fields[safe] = (annotation, Field(default_factory=list, **info))
        elif key in required and not child.get("nullable"):
            fields[safe] = (annotation, Field(**info))
        else:
            fields[safe] = (annotation | None, Field(None, **info))
    try:
        return create_model(
            name,
            __config__=ConfigDict(extra="forbid", populate_by_name=True),
            __doc__=node.get("description"),
            **fields,
        )
    except (TypeError, ValueError, ValidationError, PydanticSchemaError, RuntimeError) as error:
        raise SchemaError(f"{name} cannot be used: {error}") from error


def _annotation(node: dict[str, Any], root: dict[str, Any], name: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise SchemaError(f"the schema is nested more than {MAX_DEPTH} levels deep, or contains itself")
    if "const" in node:
        if isinstance(node["const"], dict | list):
            raise SchemaError(f"{name}: a const must be a single value")
        return Literal[node["const"]]
    if "enum" in node:
        choices = [choice for choice in node["enum"] if choice is not None]
        if not choices or not all(isinstance(choice, str) for choice in choices):
            raise SchemaError(f"{name}: an enum must list texts", hint="Write the choices as strings.")
        return Literal[tuple(choices)]
    kind = node.get(KIND_KEY)
    if kind is not None:
        if not isinstance(kind, str) or kind not in _TYPE_OF_KIND:
            raise SchemaError(f"{name}: {kind!r} is no kind of field", hint=f"Kinds are {', '.join(_TYPE_OF_KIND)}.")
        return _TYPE_OF_KIND[kind]
    type_name = node.get("type", "object" if "properties" in node else "string")
    if type_name == "object":
        if not node.get("properties"):
            raise SchemaError(
                f"{name}: an object without named fields cannot be asked for",
                hint="Name its fields, or use a list of label and value.",
            )
        return _object(node, root, name, depth)
    if type_name == "array":
        items = node.get("items")
        item = _resolve(items if isinstance(items, dict) else {}, root, depth)
        made: Any = _annotation(item, root, f"{name}Item", depth + 1)
        return list[made]
    if type_name == "string" and node.get("format") in ("date", "date-time"):
        return Date
    if type_name not in _TYPE_OF_JSON:
        raise SchemaError(f"{name}: a field of type {type_name!r} is not supported")
    return _TYPE_OF_JSON[type_name]


def _class_name(text: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[^0-9A-Za-z]+", text) if part) or "Record"


def _field_name(key: str, position: int) -> str:
    """A Python name for a key that is none (Pydantic refuses leading underscores and its own attributes' names)."""
    if key.isidentifier() and not keyword.iskeyword(key) and not key.startswith("_") and not hasattr(BaseModel, key):
        return key
    cleaned = re.sub(r"\W", "_", key).strip("_") or "field"
    return f"f{position}_{cleaned}"
