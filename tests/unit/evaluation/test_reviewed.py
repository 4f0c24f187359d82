"""What reviewers said, as truth."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from docflow.evaluation.evaluate import Evaluation
from docflow.evaluation.judging import judge
from docflow.evaluation.truth import read_truths, reviewed_truths
from docflow.storage import Dataset
from docflow.storage.corrections import Corrections, Said
from tests.unit.evaluation.labelled import dataset_of, result_of, truth_of


def review(out: Path, source: str, *said: tuple[str, Any, str | None, str | None]) -> None:
    [row] = [row for row in Dataset(out).records("bill") if row["source"] == source]
    Corrections(out).add(row, [Said(path, action, text, seen) for path, action, text, seen in said], "Ann")


def test_only_what_was_decided_is_judged(tmp_path: Path) -> None:
    out = dataset_of(tmp_path, result_of("a.png"), result_of("b.png"))
    review(out, "a.png", ("total", "correct", "13.00", "12.5"), ("company", "accept", None, "ACME"))
    [truth] = reviewed_truths(out)
    assert truth.record == {"company": "ACME", "total": Decimal("13.000000")}
    evaluation = Evaluation(judge(Dataset(out), [truth]))
    assert {name: score.recall for name, score in evaluation.fields.items()} == {"company": 1, "total": 0}
    assert evaluation.judged.without_truth == 1


def test_a_document_that_was_reviewed_wholly_is_judged_wholly(tmp_path: Path) -> None:
    out = dataset_of(tmp_path, result_of("a.png"))
    review(
        out,
        "a.png",
        ("company", "accept", None, "ACME"),
        ("date", "absent", None, "2024-03-12"),
        ("total", "accept", None, "12.5"),
        ("items[0].name", "accept", None, "Tea"),
        ("items[0].count", "correct", "3", "2"),
    )
    evaluation = Evaluation(judge(Dataset(out), reviewed_truths(out)))
    assert evaluation.fields["date"].invented == 1
    assert evaluation.fields["items[].count"].wrong == 1
    assert evaluation.fields["items[].name"].right == 1


def test_a_truth_file_counts_more_than_a_correction(tmp_path: Path) -> None:
    out = dataset_of(tmp_path / "out", result_of("a.png"))
    review(out, "a.png", ("total", "correct", "13.00", "12.5"))
    files = read_truths(truth_of(tmp_path / "truth", {"a": {"total": "12.50"}}))
    [document] = judge(Dataset(out), files + reviewed_truths(out)).documents
    assert document.outcome.correct
