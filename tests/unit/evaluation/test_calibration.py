"""Confidence fitted to labelled answers, kept, and applied."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.errors import StorageError
from docflow.evaluation import reliability
from docflow.evaluation.calibration import (
    NEVER,
    Acceptance,
    Calibration,
    Curve,
    EngineCalibration,
    field_of,
    logit,
    rank,
    sigmoid,
)
from docflow.evaluation.fitting import (
    FREEDOMS,
    Answer,
    Freedom,
    fit,
    fit_curves,
    fit_engine,
    leaf_acceptances,
    row_acceptances,
)
from docflow.evaluation.judging import judge
from docflow.evaluation.truth import read_truths
from docflow.storage import Dataset
from docflow.storage.rows import result_of as result_of_row
from tests.unit.evaluation.labelled import answers_that, dataset_of, result_of, truth_of
from tests.unit.storage.results import Results

WIDE = Freedom(0.0, 2.0)


def calibration_with(accept_error: float | None = None, **values: Curve) -> Calibration:
    rows = (Acceptance(0.95, 0.3, 0.005, 0.0), Acceptance(0.8, 0.6, 0.02, 0.03))
    engine = EngineCalibration("bill", "embedded", "rules", 60, values, {"date": Curve(1.0, 3.0, 20, 18)}, rows, rows)
    return Calibration((engine,), accept_error, "2024-01-01", "0")


def test_a_curve_that_changes_nothing_gives_back_what_it_got() -> None:
    assert Curve(1.0, 0.0, 1, 1)(0.8) == pytest.approx(0.8)
    assert sigmoid(logit(0.3)) == pytest.approx(0.3)
    assert sigmoid(-1000.0) == 0


def test_a_rank_counts_equals_by_half_and_is_linear_between() -> None:
    knots = (0.2, 0.6, 0.6, 0.8)
    # Places 0.5, 2, 2 and 3.5 of 4; each half a place further in, of 5.
    assert [rank(value, knots) for value in (0.2, 0.6, 0.8)] == pytest.approx([1.0 / 5, 2.5 / 5, 4.0 / 5])
    assert rank(0.7, knots) == pytest.approx((2.5 + 0.5 + 0.5) / 5)
    assert (rank(0.1, knots), rank(0.9, knots)) == pytest.approx((0.5 / 5, 4.5 / 5))


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_ranks_keep_the_order(knots: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 < rank(low, sorted(knots)) <= rank(high, sorted(knots)) + 1e-12 < 1 + 1e-12


def test_ranks_tell_apart_what_an_engine_pressed_together() -> None:
    # All between 0.98 and 0.99, and the upper half always right: as logits they hardly differ.
    answers = [
        Answer(f"{number:03}.png", "a", False, 0.98 + number * 0.0001, number >= 50 or number % 2 == 0)
        for number in range(100)
    ]
    plain, ranked = (fit_curves(answers, Freedom(1.0, 3.0, how))["a", False] for how in (False, True))
    assert plain(0.989) - plain(0.981) < 0.35 < ranked(0.989) - ranked(0.981)
    fitted = fit_engine("bill", "embedded", "rules", 100, answers, {answer.document for answer in answers})
    assert fitted.held_out["ranked"] == 1


def test_a_field_that_is_often_wrong_is_believed_less_than_one_that_is_not() -> None:
    answers = answers_that("total", 0.98, 0.9, 60) + answers_that("address", 0.75, 0.9, 60, seed=2)
    curves = fit_curves(answers, WIDE)
    assert curves["total", False](0.9) == pytest.approx(0.98, abs=0.02)
    assert curves["address", False](0.9) == pytest.approx(0.75, abs=0.03)
    assert (curves["total", False].answers, curves["total", False].right) == (60, 59)


def test_without_freedom_all_fields_share_one_curve() -> None:
    answers = answers_that("total", 1.0, 0.9, 40) + answers_that("address", 0.6, 0.9, 40)
    curves = fit_curves(answers, Freedom(0.0, 0.0))
    assert curves["total", False](0.9) == pytest.approx(curves["address", False](0.9))
    assert curves["total", False](0.9) == pytest.approx(0.8, abs=0.02)


def test_a_field_with_few_answers_stays_near_the_others() -> None:
    answers = answers_that("total", 0.9, 0.9, 100) + answers_that("rare", 0.0, 0.9, 2)
    assert fit_curves(answers, Freedom(0.0, 0.5))["rare", False](0.9) > 0.6


def test_nulls_have_curves_of_their_own() -> None:
    answers = answers_that("tax", 0.5, 0.9, 40) + answers_that("tax", 0.95, 0.1, 40, null=True)
    curves = fit_curves(answers, WIDE)
    assert curves["tax", True](0.1) == pytest.approx(0.95, abs=0.03)
    assert curves["tax", False](0.9) == pytest.approx(0.5, abs=0.05)


ANSWERS = st.lists(
    st.builds(
        Answer, st.sampled_from("abcdefgh"), st.sampled_from("xyz"), st.booleans(), st.floats(0, 1), st.booleans()
    )
)


@given(ANSWERS, st.sampled_from(FREEDOMS), st.floats(0, 1), st.floats(0, 1))
def test_more_raw_confidence_never_means_less(
    answers: list[Answer], freedom: Freedom, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    for curve in fit_curves(answers, freedom).values():
        assert 0 <= curve(low) <= curve(high) + 1e-9 <= 1 + 1e-9


def test_fitting_lowers_the_calibration_error_on_documents_left_out() -> None:
    answers = [
        answer
        for seed, (field, truly) in enumerate((("a", 0.99), ("b", 0.9), ("c", 0.7), ("d", 0.8)))
        for answer in answers_that(field, truly, 0.94, 80, seed)
    ]
    fitted = fit_engine("bill", "embedded", "rules", 80, answers, {answer.document for answer in answers})
    before, after = fitted.held_out["ece_before"], fitted.held_out["ece"]
    assert before is not None
    assert after is not None
    assert after < before / 2


def test_the_same_documents_give_the_same_calibration() -> None:
    answers = answers_that("a", 0.9, 0.8, 40) + answers_that("b", 0.7, 0.9, 40)
    valid = {answer.document for answer in answers}
    assert fit_engine("p", "e", "m", 40, answers, valid) == fit_engine("p", "e", "m", 40, list(answers), valid)


# --- thresholds ---


def test_a_threshold_accepts_as_much_as_the_errors_allow() -> None:
    judged = [reliability.Judged(0.999, True)] * 50 + [reliability.Judged(0.9, True)] * 9
    judged += [reliability.Judged(0.9, False)] + [reliability.Judged(0.4, False)] * 40
    acceptances = leaf_acceptances(judged)
    assert [(one.threshold, one.coverage) for one in acceptances] == [(0.999, 0.5), (0.9, 0.6), (0.4, 1.0)]
    assert acceptances[1].observed == pytest.approx(1 / 60)
    assert acceptances[1].expected == pytest.approx((50 * 0.001 + 10 * 0.1) / 60)
    engine = EngineCalibration("p", "e", "m", 60, leaves=acceptances, rows=acceptances)
    assert engine.leaf_threshold(0.01) == 0.999
    assert engine.row_threshold(0.02) == 0.9
    assert engine.leaf_threshold(0.0001) == NEVER


def test_rows_are_accepted_by_their_least_sure_leaf_and_only_when_valid() -> None:
    answers = [Answer(name, field, False, 0.9, True) for name in ("good", "half", "bad") for field in ("a", "b")]
    sure = {"good": (0.99, 0.98), "half": (0.99, 0.5), "bad": (0.99, 0.99)}
    held_out = [
        reliability.Judged(sure[answer.document][answer.field == "b"], answer.document != "half") for answer in answers
    ]
    acceptances = row_acceptances(answers, held_out, valid={"good", "half"})
    assert [(one.threshold, round(one.coverage, 2), one.observed) for one in acceptances] == [
        (0.98, 0.33, 0.0),
        (0.5, 0.67, 0.5),
    ]


# --- applying ---


def test_applying_twice_is_applying_once() -> None:
    calibration = calibration_with(total=Curve(0.5, 1.0, 60, 55))
    result = result_of("a.png", 0.9)
    once = calibration.apply(result)
    leaf = {entry.path: entry for entry in once.evidence}
    assert leaf["total"].confidence == pytest.approx(sigmoid(0.5 * logit(0.9) + 1.0), abs=1e-4)
    assert leaf["total"].raw_confidence == 0.9
    assert leaf["company"].confidence == 0.9
    assert leaf["company"].raw_confidence is None
    assert calibration.apply(once) == once
    assert once.needs_review is None


def test_a_null_is_judged_by_the_curve_for_nulls() -> None:
    result = calibration_with(date=Curve(1.0, -9.0, 9, 0)).apply(result_of("a.png", date=None))
    [date] = [entry for entry in result.evidence if entry.path == "date"]
    assert date.confidence == pytest.approx(sigmoid(logit(0.1) + 3.0), abs=1e-4)


def test_another_engine_or_model_keeps_its_confidence() -> None:
    calibration = calibration_with(0.01, total=Curve(0.5, 1.0, 60, 55))
    other = dataclasses.replace(result_of("a.png"), model="another")
    applied = calibration.apply(other)
    assert applied.evidence == other.evidence
    assert applied.needs_review is None


def test_rows_below_the_threshold_need_review_and_invalid_ones_always() -> None:
    sure = calibration_with(0.01, total=Curve(0.0, 5.0, 60, 60))
    unsure = calibration_with(0.01, total=Curve(0.0, 2.0, 60, 50))
    assert sure.apply(result_of("a.png")).needs_review is False
    assert unsure.apply(result_of("a.png")).needs_review is True
    assert unsure.apply(result_of("a.png"), accept_error=0.05).needs_review is False
    assert sure.apply(result_of("a.png"), accept_error=0.001).needs_review is True
    invalid = dataclasses.replace(result_of("a.png"), status="invalid", record=None)
    assert sure.apply(invalid).needs_review is True
    assert sure.apply(Results.failed("b.png")).needs_review is True
    assert calibration_with(None).apply(invalid).needs_review is None


def test_marks_and_raw_confidence_are_stored_and_read_back(tmp_path: Path) -> None:
    calibration = calibration_with(0.01, total=Curve(0.0, 5.0, 60, 60))
    marked = calibration.apply(result_of("a.png", 0.7))
    [row] = Dataset(dataset_of(tmp_path, marked)).records()
    assert row["needs_review"] is False
    again = result_of_row(row, Results.bill)
    assert again.evidence == marked.evidence
    assert calibration.apply(again).evidence == marked.evidence


def test_items_share_the_curve_of_their_column() -> None:
    assert field_of("items[12].parts[0].name") == "items[].parts[].name"
    calibration = calibration_with(**{"items[].name": Curve(0.0, 0.0, 60, 30)})
    [name] = [entry for entry in calibration.apply(result_of("a.png")).evidence if entry.path == "items[0].name"]
    assert name.confidence == 0.5


# --- keeping ---


def test_a_calibration_is_kept_as_json_that_a_person_can_read(tmp_path: Path) -> None:
    calibration = calibration_with(0.01, total=Curve(0.5, 1.0, 60, 55, (0.7, 0.9)))
    calibration.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    assert Calibration.beside(tmp_path) == calibration
    assert Calibration.beside(tmp_path / "nowhere") is None
    content = json.loads((tmp_path / "calibration.json").read_text())
    curve = {"slope": 0.5, "intercept": 1.0, "answers": 60, "right": 55, "knots": [0.7, 0.9]}
    assert content["engines"][0]["values"]["total"] == curve


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "engines": [{}]}'])
def test_a_damaged_or_newer_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(StorageError):
        Calibration.beside(tmp_path)


def labelled(tmp_path: Path, count: int) -> tuple[Path, Path]:
    results: list[Any] = [result_of(f"{n:02}.png", 0.9, company="Acme" if n % 4 else "Nil") for n in range(count)]
    out = dataset_of(tmp_path / "out", *results)
    return out, truth_of(tmp_path / "truth", {f"{n:02}": {"company": "Acme", "total": "12.5"} for n in range(count)})


def test_a_dataset_is_fitted_by_program_engine_and_model(tmp_path: Path) -> None:
    out, truth = labelled(tmp_path, 40)
    calibration, unfitted = fit(judge(Dataset(out), read_truths(truth)), 0.02)
    [engine] = calibration.engines
    assert (engine.program, engine.engine, engine.model, engine.documents) == ("bill", "embedded", "rules", 40)
    assert engine.values["company"](0.9) == pytest.approx(0.75, abs=0.05)
    assert engine.values["total"](0.9) > 0.95
    assert set(engine.values) == {"company", "total"}
    assert unfitted == []
    assert calibration.accept_error == 0.02


def test_too_few_documents_are_not_fitted(tmp_path: Path) -> None:
    out, truth = labelled(tmp_path, 5)
    calibration, [few] = fit(judge(Dataset(out), read_truths(truth)))
    assert calibration.engines == ()
    assert few.documents == 5
