from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import Result

from docflow.storage.cells import csv_value, json_value

Run = Callable[..., Result]


def test_the_answer_is_a_table_for_people(out: Path, docflow: Run) -> None:
    lines = docflow("query", out, "SELECT source, record.total FROM bill ORDER BY source").output.splitlines()
    assert lines[0].split() == ["source", "total"]
    assert lines[2].split() == ["scans/a.png", "12.50"]
    assert "\x1b" not in docflow("query", out, "SELECT record.company FROM bill").output


def test_csv_is_csv_and_runs_no_formula(out: Path, docflow: Run) -> None:
    shown = docflow("query", out, "SELECT '=1+1' AS text, 1.50 AS number, record.items FROM bill", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(shown)))
    assert len(rows) == 5
    assert {row["text"] for row in rows} == {"'=1+1"}
    assert {row["number"] for row in rows} == {"1.5"}
    assert [{"name": "Tea", "count": 2.0}, {"name": "Cake", "count": None}] in [
        json.loads(row["items"] or "null") for row in rows
    ]


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd|x", "\t=1", "-A1"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert csv_value(text) == f"'{text}"


@pytest.mark.parametrize("text", ["+41 44 123 45 67", "-12.50", "-1'234.50", "a=b", ""])
def test_telephone_numbers_and_amounts_stay_as_they_are(text: str) -> None:
    assert csv_value(text) == text


def test_json_is_a_line_a_row(out: Path, docflow: Run) -> None:
    shown = docflow("query", out, "SELECT source, record, created_at FROM bill ORDER BY source", "--json").stdout
    rows = [json.loads(line) for line in shown.splitlines()]
    assert [row["source"] for row in rows][:3] == ["scans/a.png", "scans/b.png", "scans/c.png"]
    assert rows[0]["record"]["date"] == "2024-03-12"
    assert rows[0]["record"]["total"] == 12.5


def test_amounts_that_floating_point_cannot_hold_stay_exact() -> None:
    assert json_value(Decimal("12.500000")) == 12.5
    assert json_value(Decimal("123456789012345678.123456")) == "123456789012345678.123456"


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_wide_answers_fit_the_terminal_and_name_what_is_left_out(
    out: Path, docflow: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = docflow("query", out, "SELECT * FROM records").output.splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("no room for: ") for line in lines)


def test_an_answer_without_rows_still_names_its_columns(out: Path, docflow: Run) -> None:
    shown = docflow("query", out, "SELECT source, program FROM records WHERE status = 'none'")
    assert shown.output.splitlines()[0].split() == ["source", "program"]


def test_long_answers_say_that_there_is_more(out: Path, docflow: Run) -> None:
    assert "200 of 1,000 rows" in docflow("query", out, "SELECT * FROM range(1000)").output


def test_sql_that_does_not_run_is_a_usage_error(out: Path, docflow: Run) -> None:
    assert "does not run" in str(docflow("query", out, "SELEC 1").exception)
    unknown = docflow("query", out, "SELECT total FROM bill").exception
    assert "reached as record.NAME" in getattr(unknown, "hint", "")
    assert "--csv and --json" in str(docflow("query", out, "SELECT 1", "--csv", "--json").exception)


def test_a_whole_record_is_shown_with_the_names_of_its_fields(out: Path, docflow: Run) -> None:
    shown = docflow("query", out, "SELECT record FROM bill ORDER BY source").output
    assert "company: " in shown
    assert "total: " in shown
