"""A record against its truth, leaf by leaf and row by row."""

from __future__ import annotations

import copy
import datetime as dt
from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from docflow.evaluation.comparing import RecordOutcome, TruthNotes, compare, typed_truth
from docflow.fields import locale_named
from docflow.program import record_schema
from docflow.schemas import model_of

SCHEMA = record_schema(
    model_of(
        {
            "type": "object",
            "properties": {
                "shop": {"type": "string", "x-kind": "party"},
                "day": {"type": "string", "format": "date"},
                "total": {"type": "string", "x-kind": "money"},
                "paid": {"type": "boolean"},
                "place": {"type": "object", "properties": {"city": {"type": "string"}}},
                "tags": {"type": "array", "items": {"type": "string"}},
                "items": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string"},
                            "price": {"type": "string", "x-kind": "money"},
                            "parts": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                },
            },
        },
        "bill",
    )
)


def outcome_of(truth: dict[str, Any], data: dict[str, Any] | None) -> RecordOutcome:
    notes = TruthNotes()
    typed = typed_truth(SCHEMA, truth, None, notes)
    assert not notes.unknown
    assert not notes.unreadable
    return compare(SCHEMA, typed, data)


def verdicts(outcome: RecordOutcome) -> dict[str, str]:
    return {leaf.path or f"({leaf.true_path})": leaf.verdict for leaf in outcome.leaves}


def test_each_leaf_gets_the_verdict_it_deserves() -> None:
    truth = {"shop": "Acme", "day": "2024-05-01", "total": "9.50", "paid": None, "place": {"city": None}}
    data = {"shop": "ACME", "day": dt.date(2024, 5, 2), "total": None, "paid": True, "place": {"city": None}}
    assert verdicts(outcome_of(truth, data)) == {
        "shop": "right",
        "day": "wrong",
        "total": "missed",
        "paid": "invented",
        "place.city": "absent",
    }


def test_what_the_truth_does_not_name_is_not_judged() -> None:
    assert verdicts(outcome_of({"shop": "Acme"}, {"shop": "Acme", "total": Decimal(1)})) == {"shop": "right"}
    assert verdicts(outcome_of({}, {"shop": "Acme"})) == {}


def test_rows_in_another_order_are_compared_with_their_own() -> None:
    truth = {"items": [{"name": "tea", "price": "2"}, {"name": "milk", "price": "1.10"}, {"name": "oil", "price": "5"}]}
    data = {
        "items": [
            {"name": "Milk", "price": Decimal("1.10"), "parts": []},
            {"name": "tea", "price": Decimal("2.50"), "parts": []},
            {"name": "salt", "price": Decimal(4), "parts": []},
        ]
    }
    outcome = outcome_of(truth, data)
    assert verdicts(outcome) == {
        "items[1].name": "right",
        "items[1].price": "wrong",
        "items[0].name": "right",
        "items[0].price": "right",
        "(items[2].name)": "missed",
        "(items[2].price)": "missed",
        "items[2].name": "invented",
        "items[2].price": "invented",
    }
    [rows] = outcome.lists
    assert (rows.field, rows.rows, rows.got, rows.found, rows.right) == ("items", 3, 3, 2, 1)


def test_cells_that_no_true_row_names_are_not_judged_in_rows_too_many() -> None:
    outcome = outcome_of({"items": [{"name": "tea"}]}, {"items": [{"name": "x", "price": Decimal(1), "parts": []}]})
    assert Counter(leaf.field for leaf in outcome.leaves) == {"items[].name": 2}


def test_an_empty_true_list_makes_every_row_an_invention() -> None:
    outcome = outcome_of({"items": []}, {"items": [{"name": "x", "price": Decimal(1), "parts": ["a"]}]})
    assert verdicts(outcome) == {
        "items[0].name": "invented",
        "items[0].price": "invented",
        "items[0].parts[0]": "invented",
    }


def test_lists_of_plain_values_and_lists_in_rows_are_compared_too() -> None:
    truth = {"tags": ["b", "a"], "items": [{"name": "kit", "parts": ["nut", "bolt"]}]}
    data = {"tags": ["a", "c"], "items": [{"name": "kit", "price": None, "parts": ["bolt"]}]}
    assert verdicts(outcome_of(truth, data)) == {
        "tags[0]": "right",
        "(tags[0])": "missed",
        "tags[1]": "invented",
        "items[0].name": "right",
        "items[0].parts[0]": "right",
        "(items[0].parts[0])": "missed",
    }


def test_without_a_record_everything_printed_is_missed_and_nothing_is_credited() -> None:
    outcome = outcome_of({"shop": "Acme", "total": None}, None)
    assert verdicts(outcome) == {"shop": "missed"}


def test_unknown_fields_and_values_of_another_kind_are_noted() -> None:
    notes = TruthNotes()
    truth = {"shop": "Acme", "day": "some day", "colour": "red", "items": [{"nme": "tea"}], "place": "Bern"}
    typed = typed_truth(SCHEMA, truth, locale_named("en_GB"), notes)
    assert typed == {"shop": "Acme", "items": [{}]}
    assert sorted(notes.unknown) == ["colour", "items[].nme", "place"]
    [(field, why)] = notes.unreadable
    assert field == "day"
    assert "some day" in why


def test_exactness_and_likeness_follow_the_kind() -> None:
    outcome = outcome_of({"shop": "ACME Ltd", "total": "9.50"}, {"shop": "Acme ltd", "total": Decimal("9.5")})
    shop, total = outcome.leaves
    assert (shop.verdict, shop.exact, shop.likeness) == ("right", False, 1.0)
    assert (total.verdict, total.exact, total.likeness) == ("right", True, 1.0)


WORDS = st.sampled_from(["tea", "milk", "oil", "salt"])
PRICES = st.one_of(st.none(), st.decimals(0, 9, places=2))
RECORDS = st.fixed_dictionaries(
    {
        "shop": st.one_of(st.none(), WORDS),
        "total": PRICES,
        "tags": st.lists(WORDS, max_size=3),
        "items": st.lists(
            st.fixed_dictionaries({"name": WORDS, "price": PRICES, "parts": st.lists(WORDS, max_size=2)}), max_size=4
        ),
    }
)


def as_truth(record: dict[str, Any]) -> dict[str, Any]:
    truth = copy.deepcopy(record)
    truth["total"] = None if truth["total"] is None else str(truth["total"])
    for item in truth["items"]:
        item["price"] = None if item["price"] is None else str(item["price"])
    return truth


@given(RECORDS)
def test_a_record_that_is_its_truth_is_right_everywhere(record: dict[str, Any]) -> None:
    outcome = outcome_of(as_truth(record), record)
    assert outcome.correct
    assert all(rows.rows == rows.got == rows.found == rows.right for rows in outcome.lists)


@given(RECORDS, RECORDS)
def test_every_value_is_judged_once(true: dict[str, Any], got: dict[str, Any]) -> None:
    outcome = outcome_of(as_truth(true), got)
    paths = [leaf.path for leaf in outcome.leaves if leaf.path and leaf.given]
    assert len(paths) == len(set(paths))
    true_paths = [leaf.true_path for leaf in outcome.leaves if leaf.true_path and leaf.printed]
    assert len(true_paths) == len(set(true_paths))
    names = [item["name"] for item in true["items"]]
    assert sum(leaf.printed for leaf in outcome.leaves if leaf.field == "items[].name") == len(names)


@given(RECORDS, RECORDS, st.randoms())
def test_the_order_of_the_answered_rows_does_not_matter(true, got, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = copy.deepcopy(got)
    random.shuffle(shuffled["items"])
    random.shuffle(shuffled["tags"])

    def counts(data: dict[str, Any]) -> tuple[int, int]:
        outcome = outcome_of(as_truth(true), data)
        cells = [leaf for leaf in outcome.leaves if leaf.field in ("items[].name", "items[].price", "tags[]")]
        return sum(leaf.verdict == "right" for leaf in cells), sum(leaf.printed for leaf in cells)

    assert counts(got) == counts(shuffled)
