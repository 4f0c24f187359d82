"""Rows of a dataset judged by their truth, and what the report says of them."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from docflow.errors import UsageError
from docflow.evaluation.evaluate import Evaluation, figure
from docflow.evaluation.judging import Judged, judge
from docflow.evaluation.truth import read_truths
from docflow.storage import Dataset
from docflow.storage.store import Store
from tests.unit.evaluation.labelled import dataset_of, result_of, truth_of
from tests.unit.storage.results import Results

TRUE: dict[str, Any] = {
    "company": "Acme",
    "date": "2024-03-12",
    "total": "12.50",
    "items": [{"name": "tea", "count": 2}],
}


def judged(out: Path, truth: Path, **how: Any) -> Judged:
    return judge(Dataset(out), read_truths(truth), **how)


def test_every_leaf_is_judged_with_its_confidence_and_place(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"), result_of("b.png", 0.6, total=Decimal(13), date=None))
    boxes = {"total": [1, 0, 40, 50, 50], "company": [1, 0, 0, 30, 10], "date": [2, 0, 20, 50, 30]}
    truth = truth_of(tmp_path / "truth", {"a": {"record": TRUE, "boxes": boxes}, "b": {"record": TRUE, "boxes": boxes}})
    report = Evaluation(judged(out, truth)).as_dict()
    assert report["documents"]["scored"] == 2
    assert report["documents"]["all_right"] == 1
    assert report["fields"]["total"]["recall"] == 0.5
    assert report["fields"]["date"]["counts"]["missed"] == 1
    assert report["fields"]["date"]["precision"] == 1
    assert report["lists"]["items"]["rows_right"] == 1
    # Of each document 3 leaves have a box; of 6, 5 are given, and right are a: 3, b: company.
    assert report["grounding"]["counts"] == {"boxed": 6, "given": 5, "right": 4, "with_lines": 0}
    # The total's box is right; of the company's region the truth is less than half; the date is on another page.
    assert report["grounding"]["box_f1"] == pytest.approx(2 * 1 / (5 + 6), abs=1e-4)
    assert report["grounding"]["page_f1"] == pytest.approx(2 * 3 / (5 + 6), abs=1e-4)
    assert report["grounding"]["covering_of_right"] == 0.75
    # mean of company 1, date 2/3, total 1/2 and the list's cells 1
    assert report["mean"] == pytest.approx((1 + 2 / 3 + 1 / 2 + 1) / 4, abs=1e-4)
    assert report["confidence"]["answers"] == 10
    misses = {(miss["truth"], miss["field"]): miss for miss in report["misses"]}
    assert misses["b", "total"]["true"] == "12.5"
    assert misses["b", "total"]["got"] == "13"
    assert misses["b", "total"]["confidence"] == 0.6
    assert misses["b", "date"]["verdict"] == "missed"
    json.dumps(report)


def test_a_truth_without_a_row_counts_as_missed_and_a_row_without_truth_does_not_count(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"), result_of("other.png", total=Decimal(1)))
    truth = truth_of(tmp_path / "truth", {"a": TRUE, "never-seen": {"total": "3", "company": None}})
    report = Evaluation(judged(out, truth)).as_dict()
    assert report["documents"]["without_truth"] == 1
    assert report["documents"]["statuses"] == {"valid": 1, "no row": 1}
    assert report["fields"]["total"]["counts"]["missed"] == 1
    assert report["fields"]["company"]["counts"]["absent"] == 0


def test_failed_documents_count_as_missed_and_known_bad_ones_apart(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"), Results.failed("b.png"), Results.failed("c.png"))
    truth = truth_of(tmp_path / "truth", {"a": TRUE, "b": TRUE, "c": {"record": None, "program": "bill"}})
    made = judged(out, truth)
    assert [document.status for document in made.documents] == ["valid", "failed"]
    assert made.unreadable == [("c", "failed")]
    assert Evaluation(made).fields["total"].recall == 0.5


def test_the_newest_row_of_a_source_counts(tmp_path: Path) -> None:
    early = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    old = result_of("a.png", total=Decimal(1))
    out = dataset_of(tmp_path / "out", Results.valid("a.png", data=old.data, created_at=early))
    store = Store(out, Results.bill, "embedded", "other-model", "run-2")
    store.write([store.row(result_of("a.png"))[1]], ["again"])
    report = Evaluation(judged(out, truth_of(tmp_path / "truth", {"a": {"total": "12.5"}}))).as_dict()
    assert report["fields"]["total"]["recall"] == 1


def test_the_truth_says_which_program_is_meant(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"))
    store = Store(out, Results.letter, "embedded", "rules", "run-2")
    store.write([store.row(Results.valid("a.png", of=Results.letter))[1]], ["letter"])
    truth = truth_of(tmp_path / "truth", {"a": {"program": "letter", "record": {"sender": "Bob"}}})
    [document] = judged(out, truth).documents
    assert document.program == "letter"
    bare = truth_of(tmp_path / "bare", {"a": {"company": "Acme"}})
    [document] = judged(out, bare, program="bill").documents
    assert (document.program, document.outcome.correct) == ("bill", True)
    with pytest.raises(UsageError, match="no rows of 'receipt'"):
        judged(out, bare, program="receipt")


def test_a_document_filed_under_another_program_counts_as_missed(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"), result_of("b.png"))
    store = Store(out, Results.letter, "embedded", "rules", "run-2")
    store.write([store.row(Results.valid("c.png", of=Results.letter))[1]], ["letter"])
    truth = truth_of(tmp_path / "truth", {"a": TRUE, "c": {"program": "bill", "record": {"total": "1"}}})
    statuses = {document.truth: document.status for document in judged(out, truth).documents}
    assert statuses == {"a": "valid", "c": "no row"}


def test_unknown_fields_and_unreadable_values_are_in_the_report(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"))
    truth = truth_of(tmp_path / "truth", {"a": {"total": "12.5", "colour": "red", "date": "some day"}})
    report = Evaluation(judged(out, truth)).as_dict()
    assert report["unknown_fields"] == {"colour": 1}
    assert report["bad_values"][0]["field"] == "date"
    assert list(report["fields"]) == ["total"]


def test_truth_about_other_documents_is_refused(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"))
    with pytest.raises(UsageError, match="no truth file is about"):
        judged(out, truth_of(tmp_path / "truth", {"z": TRUE}))


def test_true_lines_stand_in_for_boxes(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"))
    lines = [[1, 0, 0, 120, 10, "Acme"], [1, 0, 200, 60, 210, "Total 12.50"]]
    truth = truth_of(tmp_path / "truth", {"a": {"record": {"company": "Acme", "total": "12.50"}, "lines": lines}})
    # The company's box lies on its line; the total's is 150 units above the only line that carries it.
    assert Evaluation(judged(out, truth)).as_dict()["grounding"]["lines_of_right"] == 0.5


def test_groups_count_once_however_many_documents_they_have(tmp_path: Path) -> None:
    good = [result_of(f"good-{number}.png") for number in range(3)]
    out = dataset_of(tmp_path / "out", *good, result_of("bad.png", company="Nil", total=Decimal(0)))
    truth = {f"good-{number}": {"company": "Acme", "total": "12.50"} for number in range(3)}
    made = Evaluation(judged(out, truth_of(tmp_path / "t", {**truth, "bad": {"company": "Other", "total": "9"}})))
    assert made.fields["total"].recall == 0.75
    assert made.mean_over_groups("company") == 0.5


def test_figures_have_names(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"))
    report = Evaluation(judged(out, truth_of(tmp_path / "truth", {"a": TRUE}))).as_dict()
    for name in (
        "mean",
        "total",
        "total.recall",
        "items",
        "items.rows_right",
        "documents.all_right",
        "items[].name.f1",
    ):
        assert figure(report, name) == 1, name
    assert figure(report, "grounding.box_f1") is None
    for name in ("totl", "total.speed", "programs", "confidence.bins", "documents.statuses"):
        with pytest.raises(KeyError):
            figure(report, name)
