"""Every schema of docflow's own, and some that users might write, compiled and obeyed by both real servers.

The model has random weights: left alone it writes a text until its budget ends. So each schema is sent three times: as
docflow sends it, with a small budget (what came until then must fit); as its expression without white space, likewise;
and with texts and lists kept short, so that the answer ends and can be held against the schema as a whole.
"""

from __future__ import annotations

import enum
import json
from typing import Any, Literal

import httpx
import jsonschema
import pytest
from pydantic import BaseModel, Field, create_model

from docflow.engines.base import Answer, Engine, Limits, Request, ServerOptions, Turn, Want, WantJson, WantText
from docflow.engines.probabilities import leaf_spans
from docflow.engines.sglang import SglangEngine
from docflow.engines.vllm import VllmEngine
from docflow.engines.wire import wire_regex, wire_schema
from docflow.extraction.leaves import leaves_of, schema_for
from docflow.fields import Address, Currency, Date, Identifier, Money, Party, Quantity, Text
from docflow.loading import load_program
from docflow.program import MOST_DEPTH, record_schema
from docflow.schemas import model_of
from tests.engines.kit.servers import MODEL_NAME

Schema = dict[str, Any]


def of_properties(properties: dict[str, Any], **more: Any) -> Schema:
    """The record schema of a user's JSON Schema file."""
    return record_schema(model_of({"type": "object", "properties": properties, **more}, "record"))


class Colour(enum.Enum):
    RED = "red"
    QUOTED = 'a "quoted"\\one'


class Item(BaseModel):
    name: Text | None = None
    price: Money | None = None
    parts: list[Identifier] = []


class EveryKind(BaseModel):
    seller: Party
    place: Address | None = None
    number: Identifier | None = None
    day: Date | None = None
    total: Money | None = Field(None, ge=0, le=10**9, description='a "price",\nwith\ttax \\ é')
    currency: Currency | None = None
    count: Quantity | None = None
    paid: bool | None = None
    colour: Colour | None = None
    size: Literal[1, 2, 10**30, -7] | None = None
    items: list[Item] = Field(default_factory=list, min_length=1, max_length=100_000)


def nested(depth: int) -> type[BaseModel]:
    model = create_model("Leaf", end=(bool | None, None))
    for _ in range(depth):
        model = create_model("Node", inner=(model, ...))
    return model


TICK = {"type": "boolean"}
TEXT = {"type": "string"}
USERS: dict[str, Schema] = {
    "every kind of field": record_schema(EveryKind),
    "quotes, backslashes and line breaks in names": of_properties(
        {'a"b': TEXT, "c\\d": TICK, "e\nf\tg": TICK, "\\": TICK, '"': TICK, "\\n": TICK, "\\u0041": TICK}
    ),
    "control characters in names": of_properties({"a\x01\x1f\x7f": TICK, "\x85\u2028\u2029": TICK}),
    "names in other scripts": of_properties(
        {"合計金額": TEXT, "итого": TICK, "المجموع": TICK, "e\u0301": TICK, "é": TICK, "🎉": TICK, "\ufeff\u202e": TICK}
    ),
    "names with blanks, and none at all": of_properties({" a ": TICK, "a": TICK, "": TICK, "\u00a0": TICK}),
    "names that mean something in a schema": of_properties(
        {"$ref": TICK, "type": TEXT, "properties": TICK, "enum": TICK, "$defs": TICK, "items": TICK, "x-kind": TICK}
    ),
    "names that mean something in a grammar": of_properties(
        {"a.*b(c)|d{2}^$": TICK, "items[3].price": TICK, "::=": TICK, "<|im_end|>": TICK, "/-?+": TICK, "{}[]": TICK}
    ),
    "names that begin alike": of_properties({"a": TICK, "ab": TICK, "abc": TICK, "abcd": TEXT}),
    "a very long name and description": of_properties({"x" * 400: {**TICK, "description": "long " * 5_000}}),
    "choices of every spelling": of_properties(
        {
            "a": {"enum": ['x"y', "x\\y", "x\ny", "x\x01y", "x/y", "é世界🎉", "", " ", "null", "true", "[1]", "a|b"]},
            "b": {"enum": ["a", "ab", "abc", None]},
            "c": {"const": 'only "this"\n'},
        }
    ),
    "one choice, and none but null": of_properties({"a": {"enum": ["one"]}, "b": {"const": None}, "c": {"const": 3}}),
    "five hundred choices": of_properties({"a": {"enum": [f"choice number {number}" for number in range(500)]}}),
    "two hundred fields": of_properties({f"field_{number}": TICK for number in range(200)}),
    "sixty texts": of_properties({f"text {number}": TEXT for number in range(60)}),
    "limits of every kind": of_properties(
        {
            "a": {"type": "string", "minLength": 3, "maxLength": 100_000},
            "b": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{10,20}$"},
            "c": {"type": "number", "minimum": 0, "exclusiveMaximum": 1e9, "multipleOf": 0.01},
            "d": {"type": "array", "items": TICK, "minItems": 2, "maxItems": 100_000, "uniqueItems": True},
            "e": {"type": "string", "format": "uri-template"},
            "f": {"type": "string", "format": "date"},
            "g": {"type": "integer", "minimum": -(10**18)},
        },
        required=["a", "d"],
        minProperties=2,
        additionalProperties={"type": "string"},
    ),
    "types that may be null": of_properties(
        {
            "a": {"type": ["string", "null"]},
            "b": {"anyOf": [TICK, {"type": "null"}]},
            "c": {"type": ["array", "null"], "items": TICK},
            "d": {"type": ["object", "null"], "properties": {"x": TICK}, "required": ["x"]},
        }
    ),
    "words of a schema that mean nothing here": of_properties(
        {
            "a": {
                **TICK,
                "x-kind": "boolean",
                "x-labels": ["paid"],
                "examples": [True],
                "deprecated": True,
                "$comment": "?",
            }
        },
        title='T"\n',
        description="d",
    ),
    "shared definitions": of_properties(
        {f"party {number}": {"$ref": "#/$defs/a~1b"} for number in range(8)},
        **{"$defs": {"a/b": {"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}, "z": TICK}}, "y": TICK}},
    ),
    "lists in lists": of_properties(
        {
            "a": {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": TICK}}},
            "b": {"type": "array", "items": {"type": "object", "properties": {"c": {"type": "array", "items": TICK}}}},
        }
    ),
    "objects in objects": record_schema(nested(MOST_DEPTH - 1)),
    "what a repair asks for": schema_for(
        leaves_of(record_schema(EveryKind), {"items": [{"name": "x", "parts": ["y"]}, {"price": "1"}]})
    ),
    "what a program gives by itself": {
        "$defs": {"P": {"type": "object", "properties": {"n": {"type": ["number", "null"]}}}},
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"$ref": "#/$defs/P"}, {"type": "null"}]},
            "b": {"oneOf": [{"type": "boolean"}, {"enum": ["x", 2.5]}]},
            "c": {"type": ["array", "null"], "items": {"type": "integer"}},
        },
    },
}
BUILT_IN: dict[str, Schema] = {name: load_program(name).schema for name in ("receipt", "invoice", "form")}
SCHEMAS = {**BUILT_IN, **USERS}


@pytest.fixture(params=["sglang", "vllm"])
def server(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param, request.getfixturevalue(f"{request.param}_url")


def asked(server: tuple[str, str], want: Want, max_tokens: int) -> Answer:
    """What a server answers through docflow's own engine."""
    kind, url = server
    options = ServerOptions(model=MODEL_NAME)
    engine: Engine = SglangEngine(url, options) if kind == "sglang" else VllmEngine(url, options)
    try:
        limits = Limits(max_tokens=max_tokens, timeout_seconds=120)
        return engine.answer(Request((Turn("user", ("Give the record.",)),), want, limits=limits))
    finally:
        engine.close()


def fits(schema: Schema, text: str) -> None:
    """Checks what there is of an answer: leaves of the schema alone, in its order, each a value that it allows."""
    found = leaf_spans(text)
    names = list(schema["properties"])
    positions = [names.index(str(keys[0])) for keys in found]
    assert positions == sorted(positions)
    assert text.lstrip().startswith("{")
    for keys, (start, end) in found.items():
        node: Any = schema
        for key in keys:
            node = node["items"] if isinstance(key, int) else node["properties"][key]
        value = text[start:end]
        quoted = text[start - 1 : end + 1] if value[:1] != '"' and text[start - 1 : start] == '"' else value
        jsonschema.validate(json.loads(quoted), node)


def short(node: Any) -> Any:
    """A schema whose answers come to an end."""
    if isinstance(node, list):
        return [short(child) for child in node]
    if not isinstance(node, dict):
        return node
    made = {key: short(child) if key in ("items", "anyOf") else child for key, child in node.items()}
    if "properties" in node:
        made["properties"] = {key: short(child) for key, child in node["properties"].items()}
    types = node.get("type")
    if isinstance(types, str | list) and ("integer" in types or "number" in types):
        return {"enum": [-1, 20]}  # a number may go on for ever too
    if isinstance(types, str | list) and "string" in types:
        made["maxLength"] = 3
    if types == "array":
        made["maxItems"] = 2
    return made


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_compiled_and_obeyed(server: tuple[str, str], name: str) -> None:
    schema = SCHEMAS[name]
    answer = asked(server, WantJson(schema), 40)
    if name != "what a program gives by itself":
        fits(wire_schema(schema), answer.text)
    assert answer.text.strip()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_same_without_white_space_is_compiled_and_obeyed(server: tuple[str, str], name: str) -> None:
    schema = SCHEMAS[name]
    answer = asked(server, WantText(wire_regex(schema)), 40)
    first = json.dumps(next(iter(schema["properties"])), ensure_ascii=False)
    assert answer.text.startswith(f"{{{first}:"[: len(answer.text)])
    if answer.stop == "stop":
        jsonschema.validate(json.loads(answer.text), wire_schema(schema))
        assert answer.text == json.dumps(json.loads(answer.text), ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if len(schema["properties"]) < 50])
def test_a_whole_answer_is_json_of_the_schema_with_its_keys_in_order(server: tuple[str, str], name: str) -> None:
    schema = short(wire_schema(SCHEMAS[name]))
    body = {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": "Give the record."}],
        "temperature": 0,
        "max_tokens": 400,
        "response_format": {"type": "json_schema", "json_schema": {"name": "record", "schema": schema}},
    }
    response = httpx.post(f"{server[1]}/v1/chat/completions", json=body, timeout=120)
    assert response.status_code == 200, response.text
    (choice,) = response.json()["choices"]
    assert choice["finish_reason"] == "stop"
    # Not strict: with maxLength, which docflow itself never sends, vLLM's grammar lets control characters into texts.
    record = json.loads(choice["message"]["content"], strict=False)
    jsonschema.validate(record, schema)
    assert list(record) == list(schema["properties"])
