from __future__ import annotations

import pytest

from docflow.engines.shape import has_shape, is_record

SCHEMA = {
    "type": "object",
    "properties": {
        "total": {"type": ["string", "null"]},
        "seller": {"type": "object", "properties": {"name": {"type": ["string", "null"]}}},
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": ["string", "null"]}}}},
    },
}


@pytest.mark.parametrize(
    "value",
    [
        {"total": "1", "seller": {"name": None}, "items": [{"price": "2"}, {}]},
        {"total": 1.5},
        {"total": None, "seller": None, "items": None},
        {"items": [], "surprise": 1},
        {},
    ],
)
def test_what_can_be_used_has_the_shape(value: object) -> None:
    assert has_shape(SCHEMA, value)


@pytest.mark.parametrize(
    "value",
    [
        {"total": ["1"]},
        {"total": {"amount": "1"}},
        {"seller": "ACME"},
        {"items": {"price": "1"}},
        {"items": [["1"]]},
        {"items": [{"cost": "1"}]},
        {"sum": "1"},
        "1",
        [],
    ],
)
def test_what_answers_another_question_has_not(value: object) -> None:
    assert not has_shape(SCHEMA, value)


def test_what_is_no_records_schema_is_not_looked_into() -> None:
    for schema in ({"$ref": "#/$defs/a"}, {"anyOf": [{"type": "object"}, {"type": "null"}]}, {"type": "object"}):
        assert has_shape({"type": "object", "properties": {"a": schema}}, {"a": {"b": 1}})
    assert is_record({"type": "array", "items": {"type": "string"}}, '["a"]')
    assert not has_shape({"enum": ["a", None]}, ["a"])


@pytest.mark.parametrize("text", ['{"total": "1"}', ' {"total": null}\n', '```json\n{"total": "1"}\n```'])
def test_a_whole_object_is_a_record(text: str) -> None:
    assert is_record(SCHEMA, text)


@pytest.mark.parametrize("text", ["", "  \n ", "null", '{"total": ', '["1"]', '{"sum": 1}', "[" * 100_000])
def test_anything_else_is_none(text: str) -> None:
    assert not is_record(SCHEMA, text)
