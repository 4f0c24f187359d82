"""The schema of a program's records, as it is stored with its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docflow.errors import StorageError
from docflow.fields import KIND_KEY
from docflow.program import record_schema
from docflow.schemas import model_of
from docflow.storage.places import Place
from docflow.storage.reading import stored_schemas
from docflow.storage.rows import SCHEMA_KEY


def stored_schema(out: Place, program: str) -> dict[str, Any]:
    """The schema of the records under a program's name, with the kind of every leaf (see ``record_schema``).

    Where fields were added over time, the schema with the most leaves counts: it has those of the others. Raises
    StorageError when no part has one.
    """
    texts = {(schema.metadata or {}).get(SCHEMA_KEY, b"{}") for schema in stored_schemas(out, program)}
    schemas = [_with_kinds(json.loads(text), program) for text in sorted(texts) if text != b"{}"]
    if not schemas:
        raise StorageError(f"{out} does not say what the records of {program!r} hold")
    return max(schemas, key=lambda schema: sum(1 for _ in leaf_fields(schema)))


def _with_kinds(schema: dict[str, Any], program: str) -> dict[str, Any]:
    if all(leaf.get(KIND_KEY) and "$ref" not in leaf for _, leaf in leaf_fields(schema)):
        return schema
    return record_schema(model_of(schema, program))  # a user's own JSON Schema


def leaf_fields(schema: Mapping[str, Any], field: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every leaf of a record's schema as (field, its schema), lists as ``[]``: ``items[].amount``."""
    if "properties" in schema:
        for key, child in schema["properties"].items():
            yield from leaf_fields(child, f"{field}.{key}" if field else key)
    elif "items" in schema:
        yield from leaf_fields(schema["items"], f"{field}[]")
    else:
        yield field, schema
