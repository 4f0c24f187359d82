"""Calibration error and risk, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.evaluation.reliability import (
    Judged,
    area_under_risk,
    bins_of,
    brier,
    calibration_error,
    coverage_at,
    error_at,
    even_bins_of,
    risk_curve,
)

ANSWERS = st.lists(st.builds(Judged, st.floats(0, 1), st.booleans()), min_size=1)


def test_calibration_error_weighs_each_bin_by_its_answers() -> None:
    answers = [Judged(0.95, True)] * 6 + [Judged(0.95, False)] * 2 + [Judged(0.15, False)] * 2
    # 8 answers said 0.95 and 0.75 were right; 2 said 0.15 and none was.
    assert calibration_error(bins_of(answers)) == pytest.approx(0.8 * 0.20 + 0.2 * 0.15)
    assert brier(answers) == pytest.approx((6 * 0.05**2 + 2 * 0.95**2 + 2 * 0.15**2) / 10)


def test_a_confidence_of_one_lies_in_the_last_bin() -> None:
    [only] = bins_of([Judged(1.0, True), Judged(0.91, True)])
    assert only.count == 2


def test_even_bins_keep_equals_together() -> None:
    answers = [Judged(0.9, True)] * 7 + [Judged(number / 100, False) for number in range(3)]
    assert sorted(group.count for group in even_bins_of(answers, 5)) == [1, 2, 7]


def test_risk_counts_equals_at_once() -> None:
    answers = [Judged(0.9, True), Judged(0.8, True), Judged(0.8, False), Judged(0.1, False)]
    curve = risk_curve(answers)
    assert [(point.threshold, point.coverage, point.error) for point in curve] == [
        (0.9, 0.25, 0.0),
        (0.8, 0.75, pytest.approx(1 / 3)),
        (0.1, 1.0, 0.5),
    ]
    assert coverage_at(curve, 0.01) == 0.25
    assert coverage_at(curve, 0.4) == 0.75
    assert area_under_risk(curve) == pytest.approx(0.25 * 0 + 0.5 / 3 + 0.25 * 0.5)


def test_the_error_at_a_coverage_within_equals_is_their_share() -> None:
    answers = [Judged(0.9, True), Judged(0.8, True), Judged(0.8, False), Judged(0.1, False)]
    assert error_at(answers, 0.25) == 0
    assert error_at(answers, 0.5) == pytest.approx(0.5 / 2)
    assert error_at(answers, 1.0) == 0.5
    assert error_at([], 0.5) is None


@given(ANSWERS)
def test_errors_lie_between_0_and_1(answers: list[Judged]) -> None:
    for figure in (
        calibration_error(bins_of(answers)),
        calibration_error(even_bins_of(answers)),
        brier(answers),
        error_at(answers, 0.5),
        area_under_risk(risk_curve(answers)),
    ):
        assert figure is not None
        assert -1e-9 <= figure <= 1 + 1e-9


@given(ANSWERS)
def test_bins_lose_no_answer(answers: list[Judged]) -> None:
    assert sum(group.count for group in bins_of(answers)) == len(answers)
    assert sum(group.count for group in even_bins_of(answers)) == len(answers)


@given(ANSWERS)
def test_coverage_grows_and_ends_with_everything(answers: list[Judged]) -> None:
    curve = risk_curve(answers)
    coverages = [point.coverage for point in curve]
    assert coverages == sorted(coverages)
    assert coverages[-1] == 1
    assert curve[-1].error == pytest.approx(sum(not answer.right for answer in answers) / len(answers))


@given(st.lists(st.booleans(), min_size=1))
def test_answers_that_know_are_perfectly_calibrated(rights: list[bool]) -> None:
    answers = [Judged(float(right), right) for right in rights]
    assert calibration_error(bins_of(answers)) == 0
    assert brier(answers) == 0
