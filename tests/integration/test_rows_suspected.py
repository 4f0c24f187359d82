"""What is said of rows that seem to be missing: in the dataset, on the terminal, for reviewers, in an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from docflow.cli import main
from docflow.documents.model import Box
from docflow.evaluation.calibration import Calibration
from docflow.evaluation.evaluate import Evaluation
from docflow.evaluation.judging import judge
from docflow.evaluation.report import summary_lines
from docflow.evaluation.truth import Truth
from docflow.extraction.result import MissingRow
from docflow.server.index import Index
from docflow.storage import Dataset, parts
from docflow.storage.reading import read_part
from docflow.storage.rows import result_of
from docflow.storage.store import Store
from tests.integration.reviewing import TOKEN, served
from tests.unit.storage.results import RECORD, Results

LOST = MissingRow("items", 1, Box(10, 120, 200, 132), "Biscuits  3  4.50")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A whole bill, and one that lacks a row."""
    store = Store(tmp_path / "out", Results.bill, "embedded", "rules", "run")
    results = [Results.valid("whole.png", missing_rows=()), Results.valid("short.png", missing_rows=(LOST,))]
    store.write([store.row(result)[1] for result in results], ["run"])
    return tmp_path / "out"


def test_they_are_stored_and_read_back(out: Path) -> None:
    rows = {row["source"]: result_of(row, Results.bill).missing_rows for row in Dataset(out).records("bill")}
    assert rows == {"whole.png": (), "short.png": (LOST,)}
    found = Dataset(out).query("SELECT source FROM bill WHERE len(missing_rows) > 0").to_pylist()
    assert found == [{"source": "short.png"}]


def test_datasets_of_before_there_was_the_column_are_read_all_the_same(out: Path) -> None:
    [part] = parts.part_files(parts.program_folder(out, "bill"))
    table: pa.Table = read_part(part)
    parts.write_part(part, table.drop_columns(["missing_rows"]))
    assert [row["missing_rows"] for row in Dataset(out).records("bill")] == [None, None]
    assert [result_of(row).missing_rows for row in Dataset(out).records("bill")] == [None, None]
    assert [entry.missing_rows for entry in Index(out)] == [0, 0]


def test_such_a_row_needs_a_look_where_that_is_asked() -> None:
    none_fitted = Calibration((), 0.01, "2024-01-01", "0")
    assert none_fitted.apply(Results.valid("short.png", missing_rows=(LOST,))).needs_review is True
    assert none_fitted.apply(Results.valid("whole.png", missing_rows=())).needs_review is None
    not_asked = Calibration((), None, "2024-01-01", "0")
    assert not_asked.apply(Results.valid("short.png", missing_rows=(LOST,))).needs_review is None


def test_show_marks_the_list_and_names_the_line(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*options: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["show", str(out), *options])
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert "1: Tea 2 +?" in shown()
    assert "row suspected missing from items, page 1: Biscuits  3  4.50" in shown("--evidence", "short.png")
    assert "suspected" not in shown("--evidence", "whole.png")


def test_the_review_page_puts_it_first_and_says_where(out: Path) -> None:
    with served(out, out) as link:
        entries = httpx.get(f"{link}api/queue").json()["entries"]
        view = httpx.get(f"{link}api/documents/{entries[0]['key']}").json()
    assert TOKEN in link
    assert [(entry["source"], entry["missing_rows"]) for entry in entries] == [("short.png", 1), ("whole.png", 0)]
    assert view["missing"] == [{"list": "items", "page": 1, "box": [10, 120, 200, 132], "text": LOST.text}]


def test_an_evaluation_says_how_often_it_was_right(out: Path) -> None:
    record = json.loads(json.dumps(RECORD, default=str))
    truth = {**record, "items": [*record["items"], {"name": "Biscuits", "count": "3"}]}
    judged = judge(Dataset(out), [Truth("whole", record, "bill"), Truth("short", truth, "bill")])
    report = Evaluation(judged).as_dict()
    assert report["documents"]["missing_rows"] == {"lacking": 1, "suspected": 1, "rightly": 1}
    assert any("rows are suspected missing in 1, rightly in 1" in line for line in summary_lines(report))
