"""The structure of tables from positions alone: borders between columns, and lines that make a row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from docflow.reading.tables import BodyLine, cut_lanes, group_rows, lane_at


def lines(pattern: str) -> list[BodyLine]:
    """Lines by letters: A figures with text of their own, a figures without, t text; one unit a line."""
    return [BodyLine(n * 10.0, n * 10.0 + 8, letter in "Aa", letter in "At") for n, letter in enumerate(pattern)]


def test_a_border_goes_where_it_cuts_no_word() -> None:
    heads = [(0.0, 40.0), (100.0, 120.0)]
    rows = [[(0.0, 30.0), (35.0, 85.0), (105.0, 120.0)], [(0.0, 60.0), (95.0, 120.0)]]
    (border,) = cut_lanes(heads, rows)
    assert 85 <= border <= 95
    assert [lane_at([border], x) for x in (10.0, 80.0, 110.0)] == [0, 0, 1]


def test_wrapped_descriptions_go_to_the_row_above() -> None:
    assert group_rows(lines("AtAtt")) == [[0, 1], [2, 3, 4]]


def test_descriptions_over_their_figures_go_to_the_row_below() -> None:
    assert group_rows(lines("tatta")) == [[0, 1], [2, 3, 4]]


def test_descriptions_under_their_figures_go_to_the_row_above() -> None:
    assert group_rows(lines("atat")) == [[0, 1], [2, 3]]


def test_a_row_that_lacks_text_takes_what_stands_over_it() -> None:
    assert group_rows(lines("AtaA")) == [[0], [1, 2], [3]]


@given(st.text(alphabet="Aat", max_size=12))
def test_no_line_is_in_two_rows_and_each_row_has_one_anchor(pattern: str) -> None:
    groups = group_rows(lines(pattern))
    used = [index for group in groups for index in group]
    assert len(used) == len(set(used))
    assert [sum(pattern[index] in "Aa" for index in group) for group in groups] == [1] * len(groups)
    assert len(groups) == sum(letter in "Aa" for letter in pattern)
