"""The reduced schema and the regular expression that servers get."""

from __future__ import annotations

import enum
import json
import re
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from docflow.engines.wire import wire_regex, wire_schema
from docflow.errors import SchemaError
from docflow.fields import Date, Money
from docflow.loading import load_program
from docflow.program import MOST_DEPTH, record_schema


class Colour(enum.Enum):
    RED = 'a "red"\nline'
    BLUE = "bl\\ue é 世 🎉"


class Line(BaseModel):
    name: str | None = Field(None, description="what was bought", pattern=r"^[0-9]+$", max_length=4000)
    price: Money | None = None
    paid: bool = False


class Bill(BaseModel):
    day: Date | None = None
    colour: Colour | None = None
    size: Literal[1, 2, 10**30] | None = None
    lines: list[Line] = Field(default_factory=list, max_length=10_000)
    tags: list[str] = []
    first: Line


def keywords(node: Any) -> set[str]:
    """Every keyword of a schema, names of properties left out."""
    if isinstance(node, list):
        return set().union(*map(keywords, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    found = set(node)
    for key, child in node.items():
        for part in child.values() if key == "properties" else [child]:
            found |= set() if key == "enum" else keywords(part)
    return found


def test_nothing_but_the_shape_is_sent() -> None:
    wire = wire_schema(record_schema(Bill))
    assert keywords(wire) <= {"type", "properties", "required", "additionalProperties", "items", "enum"}
    assert list(wire["properties"]) == wire["required"] == ["day", "colour", "size", "lines", "tags", "first"]
    assert wire["properties"]["day"] == {"type": ["string", "null"]}
    assert wire["properties"]["colour"] == {"enum": [Colour.RED.value, Colour.BLUE.value, None]}
    assert wire["properties"]["size"] == {"enum": [1, 2, str(10**30), None]}
    assert wire["properties"]["lines"]["items"]["properties"]["paid"] == {"type": ["boolean", "null"]}


def test_the_same_schema_is_the_same_bytes_and_the_original_stays_as_it_was() -> None:
    schema = record_schema(Bill)
    before = json.dumps(schema)
    assert json.dumps(wire_schema(schema)) == json.dumps(wire_schema(record_schema(Bill)))
    assert json.dumps(schema) == before


@pytest.mark.parametrize("name", ["receipt", "invoice", "form"])
def test_a_reduced_schema_is_reduced_no_further(name: str) -> None:
    wire = wire_schema(load_program(name).schema)
    assert wire_schema(wire) == wire


def test_a_schema_of_a_programs_own_is_reduced_too() -> None:
    schema = {
        "$defs": {"Party": {"type": "object", "properties": {"name": {"type": "string", "format": "email"}}}},
        "properties": {
            "seller": {"$ref": "#/$defs/Party", "description": "who sells"},
            "buyer": {"anyOf": [{"$ref": "#/$defs/Party"}, {"type": "null"}]},
            "kind": {"const": "bill"},
            "parts": {"type": ["array", "null"], "items": {"type": "integer", "minimum": 3}, "maxItems": 9},
            "both": {"allOf": [{"$ref": "#/$defs/Party"}]},
        },
    }
    party = {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    assert wire_schema(schema)["properties"] == {
        "seller": party,
        "buyer": {"anyOf": [party, {"type": "null"}]},
        "kind": {"enum": ["bill"]},
        "parts": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
        "both": party,
    }


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "array"},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {}}},
        {"enum": []},
        {"enum": [{"a": 1}]},
        {"enum": [float("nan")]},
        {"enum": ["\0"]},
        {"enum": ["\ud800"]},
        {"type": "object", "properties": {"\0": {"type": "string"}}},
        {"type": "object", "properties": {"a\udfff": {"type": "string"}}},
        {"$ref": "#/$defs/Nowhere"},
        {"$ref": "http://example.com/schema"},
        {"$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}, "$ref": "#/$defs/A"},
    ],
)
def test_what_no_grammar_can_be_made_of_is_a_schema_error(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        wire_schema(schema)


def nested(depth: int) -> type[BaseModel]:
    model = create_model("Leaf", text=(str | None, None))
    for _ in range(depth):
        model = create_model("Node", inner=(model, ...))
    return model


def test_nesting_is_bounded_before_a_server_says_so() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(MOST_DEPTH):
        schema = {"type": "array", "items": schema}
    assert wire_schema(schema) == schema
    with pytest.raises(SchemaError, match="30 levels"):
        wire_schema({"type": "array", "items": schema})
    assert wire_schema(record_schema(nested(MOST_DEPTH - 1)))
    with pytest.raises(SchemaError, match="30 levels"):
        record_schema(nested(MOST_DEPTH))


@pytest.mark.parametrize(
    "model",
    [
        create_model("Odd", x=(str | None, Field(None, alias="a\0"))),
        create_model("Odd", x=(Literal["a\0"] | None, None)),
    ],
)
def test_names_and_choices_that_no_server_takes_are_refused_when_the_program_is_made(model: type[BaseModel]) -> None:
    with pytest.raises(SchemaError, match="no server takes"):
        record_schema(model)


# --- the regular expression -----------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@st.composite
def shapes(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    kind = draw(st.sampled_from(["text", "tick", "choice", "number"] + ["object", "list"] * (depth > 0)))
    if kind == "object":
        names = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True))
        return {"type": "object", "properties": {name: draw(shapes(depth=depth - 1)) for name in names}}
    if kind == "list":
        return {"type": "array", "items": draw(shapes(depth=depth - 1))}
    if kind == "choice":
        return {"enum": [*draw(st.lists(TEXTS, min_size=1, max_size=3)), None]}
    return {"type": {"text": ["string", "null"], "tick": ["boolean", "null"], "number": ["number", "null"]}[kind]}


@st.composite
def answers(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    schema = draw(shapes())

    def answer(node: dict[str, Any]) -> Any:
        if "properties" in node:
            return {key: answer(child) for key, child in node["properties"].items()}
        if "items" in node:
            return [answer(node["items"]) for _ in range(draw(st.integers(0, 3)))]
        if "enum" in node:
            return draw(st.sampled_from(node["enum"]))
        values = {"string": TEXTS, "boolean": st.booleans(), "number": st.integers() | st.floats(-1e9, 1e9)}
        return draw(values[node["type"][0]] | st.none())

    return schema, answer(schema)


@given(answers(), st.booleans())
def test_every_compact_answer_matches_and_nothing_else_does(made: tuple[dict[str, Any], Any], plain: bool) -> None:
    schema, answer = made
    expression = wire_regex(schema)
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    assert re.fullmatch(expression, text)
    spaced = json.dumps(answer, ensure_ascii=False, indent=1)
    if spaced != text:
        assert not re.fullmatch(expression, spaced)
    for broken in (text + " ", text[:-1], text + text, f"[{text}]"):
        if re.fullmatch(expression, broken):  # a number, cut off, can be a number still
            json.loads(broken)


def test_escapes_may_be_written_in_a_text_and_control_characters_may_not() -> None:
    expression = wire_regex({"type": ["string", "null"]})
    for text in (r'"\u00e9"', r'"a\"b\\c\/d\n"', '"é世🎉"', '""', "null"):
        assert re.fullmatch(expression, text)
    for text in ('"a\nb"', '"\\x"', '"a"b"', '"', "nul", '"\\u00e"'):
        assert not re.fullmatch(expression, text)
