"""Values of one kind that say the same, and those that do not."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.evaluation.values import Unreadable, as_text, likeness, read_true, same, squashed
from docflow.fields import Kind, locale_named


@pytest.mark.parametrize(
    ("kind", "true", "got"),
    [
        (Kind.PARTY, "ACME (M) Sdn. Bhd.", "acme m  sdn bhd"),
        (Kind.ADDRESS, "1, High St,\nLeeds", "1 High St. Leeds"),
        (Kind.IDENTIFIER, "INV-001/24", "inv 001 24"),
        (Kind.TEXT, "ﬁne", "fine"),
        (Kind.MONEY, Decimal("12.50"), Decimal("12.500000")),
        (Kind.QUANTITY, Decimal(2), 2),
        (Kind.DATE, dt.date(2024, 3, 1), dt.datetime(2024, 3, 1, 14, 30)),
        (Kind.CURRENCY, "EUR", "eur"),
        (Kind.BOOLEAN, True, True),
        (Kind.TEXT, "✓", "✓ "),
        (Kind.TEXT, None, None),
    ],
)
def test_values_that_say_the_same_are_the_same(kind: Kind, true: Any, got: Any) -> None:
    assert same(kind, true, got)


@pytest.mark.parametrize(
    ("kind", "true", "got"),
    [
        (Kind.PARTY, "ACME Ltd", "ACME Lid"),
        (Kind.MONEY, Decimal("12.50"), Decimal("12.51")),
        (Kind.DATE, dt.date(2024, 3, 1), dt.date(2024, 1, 3)),
        (Kind.BOOLEAN, True, False),
        (Kind.BOOLEAN, False, None),
        (Kind.QUANTITY, Decimal(0), None),
        (Kind.TEXT, None, "x"),
        (Kind.TEXT, "-", "+"),
        (Kind.IDENTIFIER, "0012", "12"),
    ],
)
def test_values_that_differ_are_not_the_same(kind: Kind, true: Any, got: Any) -> None:
    assert not same(kind, true, got)


def test_the_truth_is_read_by_kind_with_json_forms_first() -> None:
    german = locale_named("de_DE")
    assert read_true(Kind.DATE, "2024-03-04", german) == dt.date(2024, 3, 4)
    assert read_true(Kind.DATE, "04.03.24", german) == dt.date(2024, 3, 4)
    assert read_true(Kind.MONEY, 4.11, None) == Decimal("4.11")
    assert read_true(Kind.MONEY, "1.234,56 €", german) == Decimal("1234.56")
    assert read_true(Kind.QUANTITY, "3", None) == Decimal(3)
    assert read_true(Kind.BOOLEAN, "yes", None) is True
    assert read_true(Kind.CHOICE, "SEMI DETACHED", None, ("semi-detached", "flat")) == "semi-detached"
    assert read_true(Kind.TEXT, "  ", None) is None
    assert read_true(Kind.IDENTIFIER, 530848134, None) == "530848134"


@pytest.mark.parametrize(
    ("kind", "value"), [(Kind.DATE, "soon"), (Kind.MONEY, "much"), (Kind.TEXT, {"a": 1}), (Kind.BOOLEAN, "perhaps")]
)
def test_a_true_value_of_another_kind_is_said(kind: Kind, value: Any) -> None:
    with pytest.raises(Unreadable):
        read_true(kind, value, None)


def test_likeness_counts_the_characters_to_change() -> None:
    assert likeness("Main St", "main st") == 1
    assert likeness("abcd", "abxd") == pytest.approx(0.75)
    assert likeness("abcd", None) == 0
    assert likeness(None, None) == 1


def test_numbers_are_written_without_trailing_zeros() -> None:
    assert as_text(Decimal("12.500000")) == "12.5"
    assert as_text(Decimal("100")) == "100"
    assert as_text(dt.date(2024, 1, 2)) == "2024-01-02"
    assert as_text(False) == "false"


@given(st.text(), st.text())
def test_likeness_lies_between_0_and_1_and_goes_both_ways(one: str, other: str) -> None:
    assert 0 <= likeness(one, other) <= 1
    assert likeness(one, other) == pytest.approx(likeness(other, one))
    assert likeness(one, one) == 1


@given(st.text())
def test_squashing_twice_changes_nothing_more(text: str) -> None:
    assert squashed(squashed(text)) == squashed(text)
