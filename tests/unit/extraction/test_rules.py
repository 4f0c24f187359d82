"""Rules among the fields of a record."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.scripted import ScriptedEngine
from docflow.errors import SchemaError
from docflow.extraction import extract_document
from docflow.loading import load_program
from docflow.rules import Rule, rules_of, weighed, weights
from tests.unit.pages import document_of, page_of


def money(text: str) -> Decimal:
    return Decimal(text)


VALUES: dict[tuple[str | int, ...], Any] = {
    ("net",): money("10.00"),
    ("tax",): money("1.90"),
    ("total",): money("11.90"),
    ("items", 0, "amount"): money("4.00"),
    ("items", 1, "amount"): money("6.00"),
    ("start",): dt.date(2024, 1, 1),
    ("end",): dt.date(2024, 2, 1),
    ("nothing",): None,
}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("net + tax = total", True),
        ("total - tax = net", True),
        ("net = total", False),
        ("sum(items.amount) = net", True),
        ("sum(items.amount) + tax = total", True),
        ("start <= end", True),
        ("end <= start", False),
        ("tax <= net", True),
        ("net >= total", False),
    ],
)
def test_a_rule_compares_sums_and_days(rule: str, holds: bool) -> None:
    verdict = Rule.parse(rule).holds(VALUES)
    assert verdict is not None
    assert verdict[0] is holds


@pytest.mark.parametrize("rule", ["net + nothing = total", "sum(items.price) = net", "start = net", "missing = net"])
def test_a_rule_with_a_null_or_of_mixed_kinds_says_nothing(rule: str) -> None:
    assert Rule.parse(rule).holds(VALUES) is None


@pytest.mark.parametrize("text", ["", "net", "net +", "net == total", "net * 2 = total", "a.b = c", "sum(items) = net"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        Rule.parse(text)


@pytest.mark.parametrize("side", ["net ++ tax", "net + - tax", "net +", "--net", "+", "net tax"])
def test_a_sign_without_a_field_is_refused_on_either_side(side: str) -> None:
    for rule in (f"{side} = total", f"total = {side}"):
        with pytest.raises(SchemaError):
            Rule.parse(rule)


def test_a_side_may_begin_with_a_sign() -> None:
    verdict = Rule.parse("-tax + total = + net").holds(VALUES)
    assert verdict == (True, {("tax",), ("total",), ("net",)})


_PIECES = st.sampled_from(["net", "tax", "start", "nothing", "sum(items.amount)", "+", "-", "=", "<=", ">=", " ", "("])


@given(st.text(max_size=40) | st.lists(_PIECES, max_size=8).map(" ".join))
def test_any_text_is_a_rule_over_the_leaves_it_names_or_a_schema_error(text: str) -> None:
    try:
        verdict = Rule.parse(text).holds(VALUES)
    except SchemaError:
        return
    if verdict is not None:
        holds, used = verdict
        assert isinstance(holds, bool)
        assert used
        assert {str(keys[0]) for keys in used} <= set(re.findall(r"\w+", text))


def test_one_broken_rule_outweighs_those_that_hold() -> None:
    said = weights(rules_of({"x-rules": ["net + tax = total", "net = total"]}), VALUES)
    assert said == {("net",): False, ("tax",): True, ("total",): False}


def test_one_alternative_that_holds_is_enough_and_speaks_for_its_own_leaves() -> None:
    assert weights(rules_of({"x-rules": ["net = total or net + tax = total"]}), VALUES) == {
        ("net",): True,
        ("tax",): True,
        ("total",): True,
    }
    assert weights(rules_of({"x-rules": ["net = total or tax = total"]}), VALUES) == {
        ("net",): False,
        ("tax",): False,
        ("total",): False,
    }


def test_an_iban_with_wrong_check_digits_counts_less() -> None:
    said = weights([], {("iban",): "DE89 3704 0044 0532 0130 00", ("other",): "DE88370400440532013000"})
    assert said == {("iban",): True, ("other",): False}


@given(st.floats(0, 1))
def test_a_verdict_moves_a_confidence_its_way_and_keeps_it_a_probability(confidence: float) -> None:
    assert 0 <= weighed(confidence, False) <= round(confidence, 4) + 1e-4
    assert round(confidence, 4) - 1e-4 <= weighed(confidence, True) <= 1
    assert weighed(confidence, None) == confidence


def test_a_sum_that_does_not_add_up_lowers_the_invoices_amounts() -> None:
    page = page_of(["Net 10.00", "VAT 1.90", "Total 11.90", "Sum 19.90"])

    def amounts(total: str) -> dict[str, float]:
        answer = {"amount_untaxed": "10.00", "tax": "1.90", "amount": total}
        result = extract_document(document_of(page), load_program("invoice"), ScriptedEngine([answer]))
        assert result.status == "valid"
        return {entry.path: entry.confidence for entry in result.evidence}

    assert amounts("11.90")["amount"] > amounts("19.90")["amount"]
    assert amounts("11.90")["tax"] > amounts("19.90")["tax"]
