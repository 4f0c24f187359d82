"""Rows that answer each other, whatever their order."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from docflow.evaluation.alignment import Row, align, best_assignment, cells_agreeing

ROWS = st.lists(
    st.fixed_dictionaries({"a": st.sampled_from([None, 1, 2, 3]), "b": st.sampled_from([None, "x", "y"])}), max_size=6
)


def agreeing(true: list[Row], got: list[Row]) -> int:
    return sum(cells_agreeing(true[i], got[j]) for i, j in align(true, got))


def test_rows_are_found_in_another_order_with_one_missing_and_one_too_many() -> None:
    true = [{"name": "tea", "price": 2}, {"name": "milk", "price": 1}, {"name": "bread", "price": 3}]
    got = [{"name": "bread", "price": 3}, {"name": "salt", "price": 9}, {"name": "tea", "price": 7}]
    assert align(true, got) == [(0, 2), (2, 0)]


def test_a_row_is_not_taken_by_a_worse_match() -> None:
    # By itself the first row likes the first answer as well as the second; the second row has no other.
    true = [{"a": 1, "b": 5}, {"a": 1, "b": 2}]
    got = [{"a": 1, "b": 2}, {"a": 1, "b": 9}]
    assert align(true, got) == [(0, 1), (1, 0)]


def test_equal_rows_are_paired_in_their_order() -> None:
    rows: list[Row] = [{"a": 1}, {"a": 1}, {"a": 1}]
    assert align(rows, rows) == [(0, 0), (1, 1), (2, 2)]


def test_rows_that_share_nothing_are_not_paired() -> None:
    assert align([{"a": 1}], [{"a": 2}]) == []
    assert align([{"a": None}], [{"a": None}]) == []
    assert align([], [{"a": 1}]) == []


@given(ROWS, ROWS)
def test_no_pairing_agrees_in_more_cells(true: list[Row], got: list[Row]) -> None:
    small, large = sorted((len(true), len(got)))
    swapped = len(true) > len(got)
    best = max(
        sum(
            cells_agreeing(true[j if swapped else i], got[i if swapped else j])
            for i, j in zip(range(small), order, strict=True)
        )
        for order in itertools.permutations(range(large), small)
    )
    assert agreeing(true, got) == best


@given(ROWS, ROWS, st.randoms())
def test_the_order_of_rows_does_not_change_how_many_cells_agree(true, got, random) -> None:  # type: ignore[no-untyped-def]
    before = agreeing(true, got)
    random.shuffle(true)
    random.shuffle(got)
    assert agreeing(true, got) == before


@given(ROWS)
def test_a_list_agrees_with_itself_wholly(rows: list[Row]) -> None:
    printed = sum(value is not None for row in rows for value in row.values())
    assert agreeing(rows, rows) == printed


@given(ROWS, ROWS)
def test_pairs_are_one_to_one(true: list[Row], got: list[Row]) -> None:
    pairs = align(true, got)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_assignment_has_the_greatest_sum(gains: list[list[int]]) -> None:
    gain = np.array(gains, dtype=float)
    got = sum(gain[i, j] for i, j in best_assignment(gain))
    assert got == max(
        sum(gain[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(4), len(gains))
    )
