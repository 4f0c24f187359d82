"""Scores from counts, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.evaluation.comparing import LeafOutcome, ListOutcome, Verdict
from docflow.evaluation.scoring import FieldScore, ListScore, PlaceScore, mean, total
from docflow.fields import Kind

VALUES: dict[Verdict, tuple[Any, Any]] = {
    "right": ("tea", "Tea"),
    "wrong": ("abcd", "abxd"),
    "missed": ("tea", None),
    "invented": (None, "tea"),
    "absent": (None, None),
}


def leaf(verdict: Verdict, path: str | None = "f", true_path: str | None = "f") -> LeafOutcome:
    return LeafOutcome("f", Kind.TEXT, path, true_path, *VALUES[verdict], verdict)


def score_of(verdicts: Sequence[Verdict]) -> FieldScore:
    score = FieldScore()
    for verdict in verdicts:
        score.add(leaf(verdict))
    return score


def test_precision_recall_and_abstention_are_what_they_should_be() -> None:
    score = score_of(["right"] * 6 + ["wrong"] * 2 + ["missed"] * 2 + ["absent"] * 3 + ["invented"])  # type: ignore[operator]
    assert (score.printed, score.given, score.absent) == (10, 9, 4)
    assert score.precision == pytest.approx(6 / 9)
    assert score.recall == pytest.approx(6 / 10)
    assert score.f1 == pytest.approx(2 * (6 / 9) * 0.6 / (6 / 9 + 0.6))
    assert score.abstention == pytest.approx(3 / 4)
    figures = score.as_dict()
    assert figures["exact"] == 0
    assert figures["likeness"] == pytest.approx((6 * 1 + 2 * 0.75) / 10)


def test_a_cell_of_a_row_too_many_is_invented_but_no_null_was_asked_for() -> None:
    score = FieldScore()
    score.add(leaf("invented", path="items[2].f", true_path=None))
    assert (score.absent, score.invented, score.precision, score.abstention) == (0, 1, 0, None)


def test_nothing_has_no_score() -> None:
    score = FieldScore()
    assert (score.precision, score.recall, score.f1, score.abstention) == (None, None, None, None)
    assert mean([None, 0.5, 1.0]) == 0.75
    assert mean([None]) is None


def test_rows_are_scored_whole() -> None:
    score = ListScore()
    score.add(ListOutcome("items", rows=4, got=5, found=3, right=2))
    score.add(ListOutcome("items", rows=1, got=1, found=1, right=1))
    figures = score.as_dict(score_of(["right", "right", "wrong", "missed"]))
    assert figures["rows_found"] == pytest.approx(4 / 5)
    assert figures["rows_right"] == pytest.approx(3 / 5)
    assert figures["row_precision"] == pytest.approx(3 / 6)
    assert figures["row_f1"] == pytest.approx(6 / 11, abs=1e-4)
    assert figures["cells_right"] == 0.5


def test_places_count_only_where_the_place_is_known() -> None:
    figures = PlaceScore(boxed=10, given=8, right=6, at_box=3, at_page=6, covering=4).as_dict()
    assert figures["box_f1"] == pytest.approx(6 / 18, abs=1e-4)
    assert figures["page_f1"] == pytest.approx(12 / 18, abs=1e-4)
    assert figures["box_of_right"] == 0.5
    assert figures["lines_of_right"] is None


VERDICTS = st.lists(st.sampled_from(["right", "wrong", "missed", "invented", "absent"]))


@given(VERDICTS)
def test_scores_lie_between_0_and_1(verdicts: list[Verdict]) -> None:
    score = score_of(verdicts)
    for figure in (score.precision, score.recall, score.f1, score.abstention):
        assert figure is None or 0 <= figure <= 1


@given(VERDICTS, VERDICTS)
def test_scores_of_parts_add_up(one: list[Verdict], other: list[Verdict]) -> None:
    added, whole = total([score_of(one), score_of(other)]), score_of(one + other)
    assert (added.printed, added.right, added.given, added.absent) == (
        whole.printed,
        whole.right,
        whole.given,
        whole.absent,
    )
    assert added.f1 == whole.f1
