"""Boxes that point at the right place."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.documents.model import Box
from docflow.evaluation.places import (
    Piece,
    TrueLine,
    area_of,
    covered,
    iou,
    on_lines,
    read_boxes,
    read_lines,
    shared_area,
)
from docflow.fields import Kind

EDGES = st.integers(0, 20)
BOXES = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), EDGES, EDGES, EDGES, EDGES)
REGIONS = st.lists(st.tuples(st.integers(1, 2), BOXES), max_size=4)


def test_iou_of_two_boxes() -> None:
    # 10 x 10 each, 5 x 10 shared: 50 of 150.
    assert iou([(1, Box(0, 0, 10, 10))], [(1, Box(5, 0, 15, 10))]) == pytest.approx(1 / 3)
    assert iou([(1, Box(0, 0, 10, 10))], [(2, Box(0, 0, 10, 10))]) == 0
    assert iou([], []) == 0


def test_a_value_of_two_lines_is_one_region() -> None:
    lines: list[Piece] = [(1, Box(0, 0, 100, 10)), (1, Box(0, 20, 50, 30))]
    assert area_of(lines) == 1500
    assert iou(lines, lines) == 1
    assert iou(lines, lines[:1]) == pytest.approx(1000 / 1500)


def test_what_boxes_share_counts_once() -> None:
    assert area_of([(1, Box(0, 0, 10, 10)), (1, Box(5, 5, 15, 15))]) == 175
    assert covered([(1, Box(0, 0, 10, 10))], [(1, Box(0, 0, 6, 10)), (1, Box(4, 0, 10, 10))]) == 1


LINES = [
    TrueLine(1, Box(0, 0, 200, 10), "ACME TRADING SDN BHD"),
    TrueLine(1, Box(0, 50, 200, 60), "Total RM 12.50"),
    TrueLine(1, Box(0, 80, 200, 90), "Date: 12/03/2024 10:15"),
]


def test_evidence_on_the_line_that_carries_the_value() -> None:
    name = "Acme Trading Sdn Bhd"
    assert on_lines(Kind.PARTY, name, [(1, Box(0, 0, 180, 10))], LINES) is True
    assert on_lines(Kind.PARTY, name, [(1, Box(0, 50, 200, 60))], LINES) is False
    assert on_lines(Kind.PARTY, "Nobody", [(1, Box(0, 0, 180, 10))], LINES) is None
    assert on_lines(Kind.PARTY, name, [], LINES) is False


def test_an_amount_need_only_be_boxed_itself() -> None:
    assert on_lines(Kind.MONEY, Decimal("12.50"), [(1, Box(140, 50, 200, 60))], LINES) is True
    assert on_lines(Kind.DATE, dt.date(2024, 3, 12), [(1, Box(40, 80, 130, 90))], LINES) is True
    # The same size, but most of it below the line.
    assert on_lines(Kind.MONEY, Decimal("12.50"), [(1, Box(140, 57, 200, 67))], LINES) is False


def test_boxes_are_read_in_every_form() -> None:
    assert read_boxes({"a": [1, 2, 3, 4], "b": [2, 1, 2, 3, 4], "c": [[1, 1, 2, 3, 4], [2, 3, 4, 5]], "d": []}) == {
        "a": [(1, Box(1, 2, 3, 4))],
        "b": [(2, Box(1, 2, 3, 4))],
        "c": [(1, Box(1, 2, 3, 4)), (1, Box(2, 3, 4, 5))],
    }
    assert read_lines([[1, 0, 0, 9, 9, "x"]]) == [TrueLine(1, Box(0, 0, 9, 9), "x")]


@pytest.mark.parametrize("boxes", [[], {"a": [1, 2]}, {"a": "b"}, {"a": [[1, 2, 3, "4"]]}, {"a": [True, 1, 2, 3]}])
def test_a_box_that_is_none_is_refused(boxes: object) -> None:
    with pytest.raises(ValueError, match="box"):
        read_boxes(boxes)


@given(REGIONS, REGIONS)
def test_overlap_lies_between_0_and_1_and_goes_both_ways(one: list[Piece], other: list[Piece]) -> None:
    assert 0 <= iou(one, other) <= 1 + 1e-9
    assert iou(one, other) == pytest.approx(iou(other, one))
    assert shared_area(one, other) <= min(area_of(one), area_of(other)) + 1e-9


@given(REGIONS)
def test_a_region_covers_itself(region: list[Piece]) -> None:
    whole = 1.0 if area_of(region) else 0.0
    assert covered(region, region) == pytest.approx(whole)
    assert iou(region, region) == pytest.approx(whole)
