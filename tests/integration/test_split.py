"""Files that hold several documents, made with ReportLab: one row a document, from extract to eval and review."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from typer.testing import CliRunner

import docflow
from docflow.cli.app import app
from docflow.evaluation.judging import judge
from docflow.evaluation.truth import read_truths
from docflow.runs import Progress
from docflow.server.index import Index
from docflow.server.views import document_view, entry_view
from docflow.storage.corrections import Corrections, Said

CAFE = ["Corner Cafe", "RECEIPT", "Receipt no: R-1042", "Date: 03/05/2024", "Latte  3.20", "Total  3.20", "Cash  5.00"]
SHOP = ["Harbour Books", "RECEIPT", "Receipt no: 77-310", "Date: 04/05/2024", "Atlas  28.00", "Total  28.00"]
GARAGE = ["Hillside Garage", "RECEIPT", "Receipt no: G9001", "Date: 12/06/2024", "Tyre  80.00", "Page 1 of 2"]
GARAGE_2 = ["Brought forward  80.00", "Oil  20.00", "Total  100.00", "Page 2 of 2"]


def write(path: Path, *pages: list[str]) -> Path:
    canvas = Canvas(str(path), pagesize=(420, 595), invariant=1)
    for lines in pages:
        for number, line in enumerate(lines):
            label, _, amount = line.partition("  ")
            canvas.drawString(50, 540 - 22 * number, label)
            canvas.drawRightString(370, 540 - 22 * number, amount)
        canvas.showPage()
    canvas.save()
    return path


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return write(tmp_path / "in" / "batch.pdf", CAFE, GARAGE, GARAGE_2, [], SHOP)


def extract(source: Path, out: Path | None = None, **how: Any) -> docflow.Run:
    return docflow.extract(source, program="receipt", out=out, runner="direct", **{"split": True, **how})


def rows(out: Path) -> list[dict[str, Any]]:
    return sorted(docflow.open(out), key=lambda row: (row["source"], row["first_page"] or 0))


def ranges(out: Path) -> list[tuple[str, int | None, int | None]]:
    return [(row["source"], row["first_page"], row["last_page"]) for row in rows(out)]


BATCH = [("batch.pdf", 1, 1), ("batch.pdf", 2, 3), ("batch.pdf", 5, 5)]


def test_each_document_of_a_file_becomes_a_row_with_the_pages_of_the_file(batch: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    run = extract(batch, tmp_path / "out", progress=told.append)
    assert (run.documents, run.files, told[-1].done, told[-1].total) == (3, 1, 1, 1)
    assert ranges(tmp_path / "out") == BATCH
    cafe, garage, shop = rows(tmp_path / "out")
    assert [str(row["record"]["total"]) for row in (cafe, garage, shop)] == ["3.200000", "100.000000", "28.000000"]
    places = {entry["path"]: entry["page"] for entry in garage["evidence"]}
    assert (places["date"], places["total"]) == (2, 3)
    assert [page["page"] for page in garage["pages"]] == [2, 3]
    assert all(row["split"] == 3 and 0.5 < row["split_confidence"] <= 1 for row in (cafe, garage, shop))


def test_without_out_the_results_come_one_by_one(batch: Path) -> None:
    assert [(result.first_page, result.last_page) for result in extract(batch).results] == [(1, 1), (2, 3), (5, 5)]
    found = list(docflow.iter_records(batch, program="receipt", split=True))
    assert [result.first_page for result in found] == [1, 2, 5]


def test_a_run_goes_on_where_an_earlier_one_stopped(batch: Path, tmp_path: Path) -> None:
    write(batch.parent / "later.pdf", SHOP, CAFE)
    out = tmp_path / "out"
    assert extract(batch.parent, out, limit=1).files == 1
    second = extract(batch.parent, out)
    assert (second.skipped, second.files, second.documents) == (1, 1, 2)
    assert ranges(out) == [*BATCH, ("later.pdf", 1, 1), ("later.pdf", 2, 2)]
    assert extract(batch.parent, out).files == 0


def test_the_same_bytes_under_two_names_are_split_once(batch: Path, tmp_path: Path) -> None:
    shutil.copy(batch, batch.parent / "copy.pdf")
    out = tmp_path / "out"
    extract(batch.parent, out)
    shutil.copy(batch, batch.parent / "third.pdf")  # whose rows are copies of stored ones
    run = extract(batch.parent, out)
    assert run.skipped == 2
    assert ranges(out) == [
        (name, first, last) for name in ("batch.pdf", "copy.pdf", "third.pdf") for _, first, last in BATCH
    ]
    (batch_rows, third_rows) = ([row for row in rows(out) if row["source"] == n] for n in ("batch.pdf", "third.pdf"))
    assert [row["record"] for row in batch_rows] == [row["record"] for row in third_rows]
    assert len({row["created_at"] for row in third_rows}) == 1


def test_a_run_that_splits_and_one_that_does_not_replace_each_other(batch: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(batch, out, split=False)
    assert ranges(out) == [("batch.pdf", 1, 5)]
    assert extract(batch, out).documents == 3
    assert ranges(out) == BATCH
    assert extract(batch, out, split=False).skipped == 1


def test_files_that_cannot_be_read_fail_and_one_of_a_single_page_is_one_document(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source / "one.pdf", CAFE)
    (source / "broken.pdf").write_bytes((source / "one.pdf").read_bytes()[:200])
    run = extract(source, out)
    assert (run.valid, run.failed, run.files) == (1, 1, 2)
    broken, one = rows(out)
    assert (broken["status"], broken["first_page"], broken["last_page"], broken["split"]) == ("failed", None, None, 0)
    assert (one["first_page"], one["last_page"], one["split"], one["split_confidence"]) == (1, 1, 1, 1.0)
    again = extract(source, out)
    assert (again.skipped, again.skipped_failed, again.files) == (1, 1, 0)


def test_a_correction_of_one_document_survives_a_rerun_and_is_shown_with_its_pages(batch: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(batch, out)
    garage = rows(out)[1]
    before = garage["record"]["company"]
    Corrections(out).add(garage, [Said("company", "correct", "Hillside Garage Ltd", seen=before)], "Ann")
    extract(batch, out, split=False)
    for part in (out / "records").rglob("*.parquet"):
        part.unlink()
    extract(batch, out)
    index = Index(out)
    views = {entry.pages: document_view(entry, index.row(entry), index.corrections) for entry in index}
    assert {entry_view(entry)["part"] for entry in index} == {"p. 1", "p. 2-3", "p. 5"}
    assert {pages: view["state"] for pages, view in views.items()} == {(1, 1): "todo", (2, 3): "partly", (5, 5): "todo"}
    assert [page["number"] for page in views[2, 3]["pages"]] == [2, 3]
    corrected = {row["first_page"]: row["record"]["company"] for row in docflow.open(out).records(corrected=True)}
    assert corrected[2] == "Hillside Garage Ltd"
    assert corrected[1] != corrected[2]


def test_truth_of_one_document_in_a_file_has_its_pages_in_its_name(batch: Path, tmp_path: Path) -> None:
    out, truth = tmp_path / "out", tmp_path / "truth"
    extract(batch, out)
    truth.mkdir()
    for name, total in (("batch.p1", "3.20"), ("batch.p2-3", "100.00"), ("batch.p5-6", "28.00")):
        (truth / f"{name}.json").write_text(json.dumps({"total": total}))
    judged = judge(docflow.open(out), read_truths(truth), program="receipt")
    verdicts = {document.truth: document.leaves[0].outcome.verdict for document in judged.documents}
    assert (verdicts["batch.p1"], verdicts["batch.p2-3"]) == ("right", "right")
    assert verdicts["batch.p5-6"] != "right"  # no document of the file has just these pages


def test_a_document_is_shown_by_the_name_that_the_table_gives_it(batch: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract(batch.parent, out)
    for name, shown in {"batch.pdf p. 2-3": ["2-3"], "batch.pdf p. 5": ["5"], "batch.pdf": ["1", "2-3", "5"]}.items():
        lines = CliRunner().invoke(app, ["show", str(out), "--evidence", name]).output.splitlines()
        heads = [line.split() for line in lines if line.startswith("batch.pdf")]
        assert [head[2] for head in heads] == shown
    assert "no row for batch.pdf p. 2" in str(
        CliRunner().invoke(app, ["show", str(out), "--evidence", "batch.pdf p. 2"]).exception
    )


def test_a_tiff_of_blank_pages_is_one_document(tmp_path: Path) -> None:
    page = Image.new("L", (300, 400), 250)
    page.save(tmp_path / "blank.tiff", save_all=True, append_images=[page])
    (result,) = extract(tmp_path / "blank.tiff").results
    assert (result.first_page, result.last_page, result.split) == (1, 2, 1)
