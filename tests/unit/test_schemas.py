"""JSON Schemas as record models."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from docflow.errors import DocflowError, SchemaError
from docflow.program import record_schema
from docflow.schemas import model_of, read_schema, violations

LEASE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["tenant"],
    "properties": {
        "tenant": {"type": "string"},
        "monthly rent": {"type": "number", "minimum": 0, "multipleOf": 0.5},
        "start": {"type": "string", "format": "date"},
        "rooms": {"type": ["integer", "null"]},
        "furnished": {"type": "boolean"},
        "use": {"enum": ["living", "business"]},
        "copy": {"type": "string"},
        "people": {"type": "array", "items": {"$ref": "#/$defs/person"}},
    },
    "$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}, "class": {"type": "string"}}}},
}


def test_types_formats_enums_lists_and_references_become_the_models_own() -> None:
    model = model_of(LEASE, "lease")
    record = model.model_validate(
        {
            "tenant": "Ann",
            "monthly rent": Decimal("950.5"),
            "start": dt.date(2024, 1, 1),
            "rooms": Decimal(3),
            "use": "living",
            "copy": "yes",
            "people": [{"name": "Ann", "class": "a"}],
        }
    )
    dumped = record.model_dump(by_alias=True)
    assert dumped["rooms"] == 3
    assert isinstance(dumped["rooms"], int)
    assert dumped["people"] == [{"name": "Ann", "class": "a"}]
    assert dumped["furnished"] is None
    schema = record_schema(model)
    assert list(schema["properties"]) == list(LEASE["properties"])  # type: ignore[arg-type]
    assert schema["properties"]["monthly rent"]["x-kind"] == "quantity"


def test_a_required_key_may_not_be_null_and_an_optional_one_may() -> None:
    model = model_of(LEASE, "lease")
    model.model_validate({"tenant": "Ann", "start": None})
    with pytest.raises(ValidationError):
        model.model_validate({"tenant": None})


def test_rules_beyond_types_are_checked_on_the_finished_record() -> None:
    model = model_of(LEASE, "lease")
    fine = model.model_validate({"tenant": "Ann", "monthly rent": Decimal("950.5")})
    odd = model.model_validate({"tenant": "Ann", "monthly rent": Decimal("950.3")})
    assert violations(LEASE, fine) == []
    assert [path for path, _ in violations(LEASE, odd)] == [("monthly rent",)]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {}},
        {"type": "string"},
        {"type": "object", "properties": {"a": {"type": "frob"}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.org/x.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"enum": [1, 2]}}},
        {"type": "object", "properties": {"a": {"x-kind": "colour"}}},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "number"}]}}},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}},
        },
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)y"}}},
        {"type": "object", "properties": {"a": {"anyOf": [True, {"type": "null"}]}}},
        {"type": "object", "properties": {"a": {"$ref": "#/title"}}, "title": "t"},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/any"}}, "$defs": {"any": True}},
        {"type": "object", "properties": {"a": {"x-kind": ["money"]}}},
    ],
)
def test_a_schema_that_is_no_record_is_refused_with_a_reason(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as caught:
        model_of(schema, "x")
    assert str(caught.value)


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", "[" * 100_000, "\udcff"])
def test_a_schema_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SchemaError):
        read_schema(path)


def test_a_missing_schema_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="cannot be read"):
        read_schema(tmp_path / "none.json")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "properties", "items", "enum", "$ref", "a"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(st.sampled_from(["type", "properties", "required", "items", "anyOf", "$defs"]), _json, max_size=4)
)
def test_any_json_either_makes_a_model_or_is_refused_as_a_schema_error(schema: dict[str, Any]) -> None:
    try:
        model = model_of(schema, "any")
    except DocflowError:
        return
    assert issubclass(model, BaseModel)
    assert json.dumps(record_schema(model))


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.just({"type": "string"}), min_size=1, max_size=6))
def test_any_key_can_name_a_field_and_keeps_its_name(properties: dict[str, Any]) -> None:
    model = model_of({"type": "object", "properties": properties}, "any")
    assert list(record_schema(model)["properties"]) == list(properties)
    values = dict.fromkeys(properties, "x")
    assert model.model_validate(values).model_dump(by_alias=True) == values
