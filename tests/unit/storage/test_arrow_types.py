from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, RootModel

from docflow.errors import SchemaError
from docflow.fields.kinds import Address, Currency, Date, Identifier, Money, Party, Quantity, Text
from docflow.storage.arrow_types import Misfit, fit, merged, only_adds, record_type


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    price: Money | None = None


class Tags(RootModel[list[str]]):
    pass


class Everything(BaseModel):
    party: Party | None
    address: Address
    identifier: Identifier
    text: Text
    currency: Currency | None
    money: Money
    quantity: Quantity | None
    date: Date | None
    yes: bool | None
    colour: Colour
    choice: Literal["a", "b"] | None
    whole: int
    real: float
    either: int | float
    inner: Inner
    items: list[Inner]
    words: list[Text] | None
    tags: Tags
    url: AnyUrl | None
    uuid: UUID
    moment: dt.datetime
    printed: Annotated[Money | None, Field(alias="Net pay")] = None


def test_every_field_kind_has_its_arrow_type() -> None:
    inner = pa.struct([("price", pa.decimal128(24, 6))])
    assert record_type(Everything) == pa.struct(
        [
            ("party", pa.string()),
            ("address", pa.string()),
            ("identifier", pa.string()),
            ("text", pa.string()),
            ("currency", pa.string()),
            ("money", pa.decimal128(24, 6)),
            ("quantity", pa.decimal128(24, 6)),
            ("date", pa.date32()),
            ("yes", pa.bool_()),
            ("colour", pa.string()),
            ("choice", pa.string()),
            ("whole", pa.int64()),
            ("real", pa.float64()),
            ("either", pa.float64()),
            ("inner", inner),
            ("items", pa.list_(inner)),
            ("words", pa.list_(pa.string())),
            ("tags", pa.list_(pa.string())),
            ("url", pa.string()),
            ("uuid", pa.string()),
            ("moment", pa.timestamp("us")),
            ("Net pay", pa.decimal128(24, 6)),
        ]
    )


class Bytes(BaseModel):
    raw: bytes


class Anything(BaseModel):
    table: dict[str, int]


class Node(BaseModel):
    children: list[Node] = []


@pytest.mark.parametrize("model", [Bytes, Anything, Node])
def test_a_field_that_no_column_holds_is_refused_by_name(model: type[BaseModel]) -> None:
    with pytest.raises(SchemaError, match=model.__name__) as caught:
        record_type(model)
    assert caught.value.hint


def stored(value: Any, model: type[BaseModel]) -> tuple[Any, list[Misfit]]:
    misfits: list[Misfit] = []
    return fit(value, record_type(model), "", misfits), misfits


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**17), max_value=10**17))
def test_every_amount_of_18_and_6_digits_is_kept_exactly(amount: Decimal) -> None:
    value, misfits = stored({"price": amount}, Inner)
    assert not misfits
    assert pa.array([value], record_type(Inner)).to_pylist() == [{"price": amount}]


@pytest.mark.parametrize("amount", ["1e18", "-1e18", "0.0000001", "NaN", "Infinity", "1e400"])
def test_an_amount_that_does_not_fit_is_noted_and_never_rounded(amount: str) -> None:
    value, misfits = stored({"price": Decimal(amount)}, Inner)
    assert value == {"price": None}
    assert [misfit.path for misfit in misfits] == ["price"]


@given(st.integers())
def test_a_whole_number_is_kept_or_noted(number: int) -> None:
    value, misfits = stored({"n": number}, Whole)
    fits = -(2**63) <= number < 2**63
    assert value == {"n": number if fits else None}
    assert bool(misfits) != fits


class Whole(BaseModel):
    n: int


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.dates() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(Everything.model_fields)), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*Everything.model_fields, "Net pay"]), anything))
def test_whatever_an_invalid_record_holds_can_be_stored(data: dict[str, Any]) -> None:
    value, _ = stored(data, Everything)
    assert len(pa.array([value], record_type(Everything))) == 1


def test_the_path_of_a_misfit_leads_to_the_leaf() -> None:
    _, misfits = stored({"items": [{"price": Decimal(1)}, {"price": "a lot"}]}, Everything)
    assert [misfit.path for misfit in misfits] == ["items[1].price"]


def test_half_surrogates_become_question_marks() -> None:
    class Name(BaseModel):
        name: Text

    assert stored({"name": "a\udce9b"}, Name) == ({"name": "a?b"}, [])


OLD = pa.struct([("a", pa.string()), ("items", pa.list_(pa.struct([("x", pa.date32())])))])


def test_a_schema_that_only_adds_fields_is_told_from_one_that_clashes() -> None:
    wider = pa.struct([("b", pa.int64()), *OLD])
    deeper = pa.struct([OLD.field("a"), ("items", pa.list_(pa.struct([("x", pa.date32()), ("y", pa.string())])))])
    other = pa.struct([OLD.field("a"), ("items", pa.list_(pa.struct([("x", pa.string())])))])
    assert only_adds(OLD, wider) is None
    assert only_adds(OLD, deeper) is None
    assert only_adds(pa.null(), OLD) is None
    assert only_adds(wider, OLD) == "b"
    assert only_adds(OLD, other) == "items.x"


def test_records_of_several_programs_share_a_type() -> None:
    other = pa.struct([("a", pa.int64()), ("items", pa.string()), ("c", pa.bool_())])
    assert merged(OLD, other) == pa.struct([("a", pa.string()), ("c", pa.bool_())])
    assert merged(OLD, OLD) == OLD
    assert merged(pa.null(), OLD) == OLD
