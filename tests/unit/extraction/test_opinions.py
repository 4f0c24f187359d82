"""Second opinions: the same engine asked again, and another engine asked what a cheap one is unsure of."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from docflow.engines.base import Answer, LeafHint, Request, WantJson
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import EngineTimeout
from docflow.extraction import Result, extract_document
from docflow.settings import ExtractionSettings
from tests.unit.extraction.test_extract import BILL, STRICT, answer, by_path
from tests.unit.pages import document_of, page_of

LINES = ["ACME TRADING LTD", "Date: 25 DEC 2023", "Blue pen 1.50", "Red pen 2.25", "Cash 10.00", "TOTAL 3.75"]


def hinted(values: dict[str, Any], **confidence: float) -> Answer:
    hints = {path.replace("__", "."): LeafHint(confidence=sure) for path, sure in confidence.items()}
    return Answer(json.dumps(values), hints=hints)


def asked(request: Request) -> list[str]:
    assert isinstance(request.want, WantJson)
    return list(request.want.schema["properties"])


# --- the same engine, once more ---


def verified(first: Any, second: Any, below: float = 0.8) -> tuple[Result[Any], ScriptedEngine]:
    engine = ScriptedEngine([first, second])
    document = document_of(page_of(LINES))
    return extract_document(document, BILL, engine, ExtractionSettings(verify_below=below)), engine


def test_only_unsure_values_are_asked_once_more_in_the_same_conversation() -> None:
    first = hinted(answer(seller="ACME TRADING LTD", total="3.75"), seller=0.99, total=0.6)
    result, engine = verified(first, {"total": "3.75"})
    assert asked(engine.requests[1]) == ["total"]
    assert engine.requests[1].turns[: len(engine.requests[0].turns)] == engine.requests[0].turns
    assert by_path(result.evidence)["total"].confidence == pytest.approx(0.8)
    assert by_path(result.evidence)["seller"].confidence == pytest.approx(0.99)


def test_a_value_that_the_page_bears_out_stands_against_an_invention_and_counts_less() -> None:
    for first, second in (("99.99", "3.75"), ("3.75", "99.99")):
        result, _ = verified(hinted(answer(total=first), total=0.7), {"total": second})
        entry = by_path(result.evidence)["total"]
        assert (entry.value, entry.found) == ("3.75", "exact")
        assert entry.confidence < 0.5


def test_two_values_that_are_both_on_the_page_are_a_conflict() -> None:
    result, _ = verified(answer(total="10.00"), {"total": "3.75"})
    entry = by_path(result.evidence)["total"]
    assert (entry.value, entry.raw, entry.reason) == (None, "10.00 | 3.75", "conflict")


def test_an_invention_that_is_taken_back_is_no_value() -> None:
    result, _ = verified(answer(total="99.99"), {"total": None})
    entry = by_path(result.evidence)["total"]
    assert (entry.value, entry.raw, entry.reason) == (None, "99.99", "conflict")


def test_a_second_opinion_that_is_no_json_changes_nothing() -> None:
    result, _ = verified(hinted(answer(total="3.75"), total=0.6), "I am sure of it")
    assert by_path(result.evidence)["total"].confidence == pytest.approx(0.6)


def test_a_second_reading_that_does_not_pass_is_not_taken() -> None:
    engine = ScriptedEngine([{"code": "QQQQ", "total": None}, {"code": "ACME TRADING"}])
    result = extract_document(document_of(page_of(LINES)), STRICT, engine, ExtractionSettings(verify_below=0.8))
    assert (result.status, result.data) == ("valid", {"code": "QQQQ", "total": None})


def test_what_stays_unreadable_is_not_asked_again_for_a_second_opinion() -> None:
    engine = ScriptedEngine([answer(day="sometime"), {"day": "some day"}])
    result = extract_document(document_of(page_of(LINES)), BILL, engine, ExtractionSettings(verify_below=0.8))
    assert len(engine.requests) == 2
    assert by_path(result.evidence)["day"].reason == "unreadable"


def test_the_cell_of_an_item_is_asked_with_the_row_it_stands_in() -> None:
    first = hinted(answer(items=[{"name": "Red pen", "price": "2.25"}]), **{"items[0].name": 0.95})
    result, engine = verified(first, {"items[0].price": "2.25"})
    assert asked(engine.requests[1]) == ["items[0].price"]
    assert 'in the row with "Red pen"' in engine.requests[1].turns[-1].text
    assert by_path(result.evidence)["items[0].price"].confidence > 0.8


def test_an_engine_that_reads_by_rules_is_not_asked_twice() -> None:
    engine = ScriptedEngine([Answer(json.dumps(answer(total="3.75")), by_rules=True)])
    extract_document(document_of(page_of(LINES)), BILL, engine, ExtractionSettings(verify_below=1.0))
    assert len(engine.requests) == 1


# --- a cheap engine first ---

SURE = {"seller": 0.95, "day": 0.95, "total": 0.95, "count": 0.9}


def cheap_first(cheap: Any, *dear: Any, program: Any = BILL) -> tuple[Result[Any], ScriptedEngine]:
    better = ScriptedEngine(dear, model="large")
    document = document_of(page_of(LINES))
    settings = ExtractionSettings(cheap_first_below=0.8)
    engine = ScriptedEngine([cheap], model="small")
    return extract_document(document, program, better, settings, cheap=engine), better


def test_what_the_cheap_engine_is_sure_of_never_reaches_the_other() -> None:
    values = answer(seller="ACME TRADING LTD", day="25 DEC 2023", total="3.75")
    result, better = cheap_first(hinted(values, **SURE))
    assert better.requests == []
    assert (result.status, result.model, result.requested_model) == ("valid", "small", "large")
    assert (result.usage.calls, result.spared, result.fallback) == (0, 4, False)


def test_only_the_unsure_leaves_are_asked_of_the_other_engine() -> None:
    values = answer(seller="ACME TRADING LTD", day="25 DEC 2023", total="10.00")
    result, better = cheap_first(hinted(values, **{**SURE, "total": 0.4}), {"total": "3.75"})
    assert [asked(request) for request in better.requests] == [["total"]]
    assert [page.number for page in better.requests[0].pages] == [1]
    assert result.data is not None
    assert result.data["total"] == Decimal("3.75")
    assert (result.model, result.usage.calls, result.spared, result.fallback) == ("large", 1, 3, False)


def test_two_engines_that_agree_are_surer() -> None:
    values = answer(seller="ACME TRADING LTD", day="25 DEC 2023", total="3.75")
    result, _ = cheap_first(hinted(values, **{**SURE, "total": 0.6}), {"total": "3.75"})
    assert by_path(result.evidence)["total"].confidence > 0.8


def test_a_null_that_the_cheap_engine_is_unsure_of_is_filled() -> None:
    values = answer(seller="ACME TRADING LTD", total="3.75")
    result, _ = cheap_first(hinted(values, **{**SURE, "day": 0.2}), {"day": "25 DEC 2023"})
    assert by_path(result.evidence)["day"].value == "2023-12-25"


def test_a_leaf_that_does_not_pass_is_asked_of_the_other_engine_however_sure_the_cheap_one_is() -> None:
    sure = {"code": LeafHint(confidence=0.99), "total": LeafHint(confidence=0.99)}
    bad = Answer(json.dumps({"code": "AB", "total": "3.75"}), hints=sure)
    cheap = ScriptedEngine([bad, Answer(json.dumps({"code": "AB"}), hints=sure)])
    better = ScriptedEngine([{"code": "ACME"}])
    settings = ExtractionSettings(cheap_first_below=0.8)
    result = extract_document(document_of(page_of(LINES)), STRICT, better, settings, cheap=cheap)
    assert result.status == "valid"
    assert asked(better.requests[0]) == ["code"]


def test_what_the_other_engine_gives_is_repaired_by_it() -> None:
    values = answer(seller="ACME TRADING LTD", total="3.75")
    result, better = cheap_first(hinted(values, **{**SURE, "day": 0.2}), {"day": "xmas"}, {"day": "25 DEC 2023"})
    assert by_path(result.evidence)["day"].value == "2023-12-25"
    assert result.usage.calls == len(better.requests) == 2


def test_a_cheap_engine_that_fails_leaves_the_whole_document_to_the_other() -> None:
    result, better = cheap_first(EngineTimeout("too slow"), answer(total="3.75"))
    assert result.status == "valid"
    assert asked(better.requests[0]) == ["seller", "day", "total", "count", "items"]
    assert (result.spared, result.usage.calls) == (0, 1)
