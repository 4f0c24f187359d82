"""Long documents: pages asked in windows, whose answers become one record by rule."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
import sglang as sgl
from pydantic import BaseModel, ConfigDict

from docflow.engines.base import Answer, LeafHint, Request, WantChoice, WantJson
from docflow.engines.scripted import ScriptedEngine
from docflow.extraction import Result, extract_document
from docflow.fields import Money
from docflow.program import ask_as, images, program, program_for
from docflow.settings import ExtractionSettings, Merge
from tests.unit.extraction.test_extract import BILL, STRICT, Bill, Item, Strict, answer, by_path
from tests.unit.pages import document_of, page_of

FIRST = ["ACME TRADING LTD", "Blue pen 1.50", "Carried over 40.00"]
SECOND = ["Acme Trading, Ltd.", "Green pen 3.00", "TOTAL 43.00"]


def windows(*replies: Any, merge: Merge = "best", pages: tuple[list[str], ...] = (FIRST, SECOND)) -> Result[Any]:
    document = document_of(*(page_of(lines, number) for number, lines in enumerate(pages, 1)))
    settings = ExtractionSettings(pages_per_call=1, merge=merge)
    return extract_document(document, BILL, ScriptedEngine(replies), settings)


def sure(confidence: float, **values: Any) -> Answer:
    """An answer whose engine gives each of its leaves this confidence."""
    hints = {path: LeafHint(confidence=confidence) for path in values}
    return Answer(json.dumps(answer(**values)), hints=hints)


def test_what_one_window_alone_says_is_taken_with_its_own_page() -> None:
    result = windows(answer(seller="ACME TRADING LTD"), answer(total="43.00"))
    assert result.data is not None
    assert (result.data["seller"], result.data["total"]) == ("ACME TRADING LTD", Decimal("43.00"))
    assert by_path(result.evidence)["total"].page == 2


@pytest.mark.parametrize("merge", ["best", "first", "conflict"])
def test_windows_that_agree_keep_the_surest_reading(merge: Merge) -> None:
    result = windows(sure(0.5, seller="ACME TRADING LTD"), sure(0.9, seller="Acme Trading, Ltd."), merge=merge)
    entry = by_path(result.evidence)["seller"]
    assert entry.reason is None
    assert entry.page == (1 if merge == "first" else 2)


def test_windows_that_disagree_give_the_surer_value_where_one_is_much_surer() -> None:
    result = windows(sure(0.5, total="40.00"), sure(0.95, total="43.00"))
    assert result.data is not None
    assert result.data["total"] == Decimal("43.00")


def test_windows_that_disagree_and_are_equally_sure_are_a_conflict_that_shows_both() -> None:
    result = windows(answer(total="40.00"), answer(total="43.00"))
    entry = by_path(result.evidence)["total"]
    assert (entry.value, entry.raw, entry.reason) == (None, "40.00 | 43.00", "conflict")
    assert result.data is not None
    assert result.data["total"] is None


def test_the_rule_first_takes_the_first_and_the_rule_conflict_takes_none() -> None:
    answers = sure(0.5, total="40.00"), sure(0.95, total="43.00")
    first, neither = windows(*answers, merge="first").data, windows(*answers, merge="conflict").data
    assert first is not None
    assert neither is not None
    assert (first["total"], neither["total"]) == (Decimal("40.00"), None)


def test_lists_are_joined_in_order_in_the_place_the_schema_gives_them() -> None:
    blue, green = {"name": "Blue pen", "price": "1.50"}, {"name": "Green pen", "price": "3.00"}
    result = windows(answer(items=[blue]), answer(items=[green], total="43.00"))
    assert result.record is not None
    assert result.record.items == [
        Item(name="Blue pen", price=Decimal("1.50")),
        Item(name="Green pen", price=Decimal("3.00")),
    ]
    paths = [entry.path for entry in result.evidence]
    assert paths[-4:] == ["items[0].name", "items[0].price", "items[1].name", "items[1].price"]
    assert by_path(result.evidence)["items[1].name"].page == 2


def test_an_item_that_repeats_another_windows_and_is_not_on_its_own_page_is_dropped() -> None:
    blue, green = {"name": "Blue pen", "price": "1.50"}, {"name": "Green pen", "price": "3.00"}
    result = windows(answer(items=[blue]), answer(items=[blue, green]))
    assert result.data is not None
    assert [item["name"] for item in result.data["items"]] == ["Blue pen", "Green pen"]


def test_an_item_that_is_printed_on_two_pages_is_kept_twice() -> None:
    blue = {"name": "Blue pen", "price": "1.50"}
    result = windows(answer(items=[blue]), answer(items=[blue]), pages=(FIRST, [*SECOND, "Blue pen 1.50"]))
    assert result.data is not None
    assert len(result.data["items"]) == 2


def test_a_repair_is_asked_of_the_window_that_answered_under_the_name_it_used() -> None:
    blue = {"name": "Blue pen", "price": "1.50"}
    engine = ScriptedEngine(
        [answer(items=[blue]), answer(items=[{"name": "Green pen", "price": "three"}]), {"items[0].price": "3.00"}]
    )
    document = document_of(page_of(FIRST, 1), page_of(SECOND, 2))
    result = extract_document(document, BILL, engine, ExtractionSettings(pages_per_call=1))
    assert result.data is not None
    assert [item["price"] for item in result.data["items"]] == [Decimal("1.50"), Decimal("3.00")]
    assert [page.number for page in engine.requests[2].pages] == [2]
    assert result.usage.calls == 3


BILL_KIND, STRICT_KIND = program_for(Bill, "bill"), program_for(Strict, "strict")


@program(kinds=[BILL_KIND, STRICT_KIND])
def either(s: Any, pages: Any) -> None:
    s += sgl.user(images(pages) + "What is it?")
    s += sgl.assistant(sgl.select("kind", choices=["bill", "strict"]))
    ask_as(s, BILL_KIND if s["kind"] == "bill" else STRICT_KIND)


def test_a_window_that_looks_like_another_kind_is_asked_again_for_the_chosen_one() -> None:
    kinds = {1: "bill", 2: "strict", 3: "bill"}

    def reply(request: Request) -> Any:
        number = request.pages[0].number
        if isinstance(request.want, WantChoice):
            return kinds[number]
        assert isinstance(request.want, WantJson)
        if "code" in request.want.schema["properties"]:
            return {"code": "ACME", "total": None}
        return answer(total="43.00") if number == 2 else answer()

    engine = ScriptedEngine(default=reply)
    document = document_of(page_of(FIRST, 1), page_of(SECOND, 2), page_of(["Terms"], 3))
    result = extract_document(document, either, engine, ExtractionSettings(pages_per_call=1))
    assert result.program == "bill"
    assert result.data is not None
    assert result.data["total"] == Decimal("43.00")
    assert result.usage.calls == len(engine.requests) == 7


def test_a_required_leaf_in_conflict_makes_the_record_invalid() -> None:
    document = document_of(page_of(["CODE ABCD"], 1), page_of(["CODE EFGH"], 2))
    replies = [{"code": "ABCD", "total": None}, {"code": "EFGH", "total": None}]
    result = extract_document(document, STRICT, ScriptedEngine(replies), ExtractionSettings(pages_per_call=1))
    assert result.status == "invalid"
    assert by_path(result.evidence)["code"].reason == "conflict"


class Account(BaseModel):
    model_config = ConfigDict(json_schema_extra={"x-rules": ["net + tax = total"]})

    net: Money | None = None
    tax: Money | None = None
    total: Money | None = None


@pytest.mark.parametrize(("carried", "total"), [("40.00", Decimal("43.00")), ("43.01", None)])
def test_rules_among_the_fields_tell_a_total_from_a_sum_carried_over(carried: str, total: Decimal | None) -> None:
    pages = [[f"Carried over {carried}"], ["Net 40.00", "Tax 3.00", "Total 43.00"]]
    replies = [
        {"net": None, "tax": None, "total": carried},
        {"net": "40.00", "tax": "3.00", "total": "43.00"},
    ]
    result = extract_document(
        document_of(*(page_of(lines, number) for number, lines in enumerate(pages, 1))),
        program_for(Account, "account"),
        ScriptedEngine(replies),
        ExtractionSettings(pages_per_call=1),
    )
    assert result.data is not None
    assert result.data["total"] == total  # a cent apart is within a rule's tolerance: both fit, nothing tells
