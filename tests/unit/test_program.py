"""Record schemas, instructions and versions of programs."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from docflow.errors import ProgramError, SchemaError
from docflow.fields import Date, Kind, Money, Party
from docflow.loading import load_program
from docflow.program import Program, instructions, program, program_for, record_schema


class Part(BaseModel):
    name: str | None = None
    price: Money | None = None


class Order(BaseModel):
    seller: Party | None = Field(None, description="who sells", json_schema_extra={"x-labels": ["Vendor"]})
    day: dt.date | None = None
    paid: bool | None = None
    kind: Literal["new", "used"] | None = None
    weight: Decimal | None = None
    parts: list[Part] = []
    tags: list[str] = []


def leaf_kinds(schema: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found = {}
    for key, child in schema["properties"].items():
        child = child.get("items", child)
        if "properties" in child:
            found |= leaf_kinds(child, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = child["x-kind"]
    return found


def test_every_leaf_of_a_record_schema_has_a_kind_and_may_be_null() -> None:
    schema = record_schema(Order)
    assert leaf_kinds(schema) == {
        "seller": "party",
        "day": "date",
        "paid": "boolean",
        "kind": "choice",
        "weight": "quantity",
        "parts.name": "text",
        "parts.price": "money",
        "tags": "text",
    }
    assert schema["properties"]["day"]["type"] == ["string", "null"]
    assert schema["properties"]["kind"]["enum"] == ["new", "used", None]
    assert schema["properties"]["seller"]["x-labels"] == ["Vendor"]
    assert schema["required"] == list(schema["properties"])
    assert "$ref" not in str(schema)


def test_instructions_name_every_field_with_its_kind_and_meaning() -> None:
    text = instructions(Order)
    assert "- seller (party): who sells" in text
    assert "- parts[].price (money)" in text


def test_a_model_without_fields_is_refused() -> None:
    class Empty(BaseModel):
        pass

    with pytest.raises(SchemaError, match="no fields"):
        record_schema(Empty)


class Tree(BaseModel):
    name: str | None = None
    children: list[Tree] = []


def test_a_recursive_model_is_refused() -> None:
    with pytest.raises(SchemaError, match="contain itself"):
        record_schema(Tree)


def test_a_field_of_several_shapes_is_refused() -> None:
    class Odd(BaseModel):
        value: Part | str | None = None

    with pytest.raises(SchemaError, match="several shapes"):
        record_schema(Odd)


def test_a_program_needs_a_model_or_kinds_but_not_both() -> None:
    with pytest.raises(ProgramError):
        program()
    with pytest.raises(ProgramError):
        program(Order, kinds=[program_for(Order, "order")])


def test_the_version_changes_with_the_schema_and_with_the_prompt_and_with_nothing_else() -> None:
    def ask(s: Any, pages: Any) -> None:
        s += "one"

    def ask_differently(s: Any, pages: Any) -> None:
        s += "two"

    class Order2(BaseModel):
        seller: Party | None = None
        day: Date | None = None

    first = Program("order", ask, Order)
    assert first.version == Program("renamed", ask, Order).version
    assert first.version != Program("order", ask_differently, Order).version
    assert first.version != Program("order", ask, Order2).version


def test_a_choosing_programs_version_follows_its_kinds() -> None:
    auto = load_program("auto")
    fewer = Program("auto", auto.function, kinds=auto.kinds[:2])
    assert auto.version != fewer.version


def test_the_built_in_programs_use_every_kind_that_money_and_trade_need() -> None:
    kinds = {kind for name in ("receipt", "invoice", "form") for kind in leaf_kinds(load_program(name).schema).values()}
    assert kinds >= {
        Kind.PARTY,
        Kind.ADDRESS,
        Kind.IDENTIFIER,
        Kind.DATE,
        Kind.MONEY,
        Kind.CURRENCY,
        Kind.QUANTITY,
        Kind.TEXT,
    }


def test_a_page_budget_is_part_of_the_version_only_when_it_is_set() -> None:
    def ask(s: Any, pages: Any) -> None:
        s += "one"

    plain, same, sharper = (
        program(Order, **budget)(ask) for budget in ({}, {"page_tokens": None}, {"page_tokens": 4096})
    )
    assert plain.version == same.version == Program("order", ask, Order).version
    assert sharper.version != plain.version


@pytest.mark.parametrize("tokens", [0, 15, 16_385])
def test_a_page_budget_that_no_model_takes_is_refused(tokens: int) -> None:
    with pytest.raises(ProgramError, match="page_tokens"):
        program(Order, page_tokens=tokens)
