from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import Result

from docflow.cli.columns import spoken
from docflow.cli.record_table import evidence_table, record_table

Run = Callable[..., Result]


def test_show_has_a_table_a_program_with_the_newest_first(out: Path, docflow: Run) -> None:
    shown = docflow("show", out).output
    assert "bill  2 valid, 1 invalid" in shown
    assert "letter  1 valid" in shown
    assert [shown.index(f"scans/{name}.png") for name in "cba"] == sorted(shown.index(f"scans/{n}.png") for n in "cba")
    assert "2 failed: --failed shows which" in shown
    assert "--evidence SOURCE shows why a record is invalid" in shown


def test_values_that_docflow_is_not_sure_of_are_marked(out: Path, docflow: Run) -> None:
    lines = docflow("show", out, "--program", "bill").output.splitlines()
    assert next(line for line in lines if "b.png" in line).split()[4:6] == ["1234.50", "?"]
    assert next(line for line in lines if "a.png" in line).split()[-1] == "12.50"
    assert "unreadable" in next(line for line in lines if "b.png" in line)


def test_document_text_cannot_steer_the_terminal(out: Path, docflow: Run) -> None:
    for arguments in ((), ("--failed",), ("--evidence", "a.png")):
        shown = docflow("show", out, *arguments).output
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    wide = docflow("show", out, "--evidence", "a.png").output
    assert "\\x1b[31m" in wide
    assert "[bold]" in wide


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_tables_fit_the_terminal(out: Path, docflow: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in ((), ("--failed",)):
        shown = docflow("show", out, *arguments)
        assert shown.exit_code == 0
        assert max(map(len, shown.output.splitlines())) <= columns


def test_columns_without_room_are_named(out: Path, docflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    shown = docflow("show", out, "--program", "bill").output
    assert "no room for: " in shown
    assert "company" in shown.splitlines()[1]


def test_nothing_is_cut_off_a_terminal(out: Path, docflow: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    shown = docflow("show", out, "--program", "bill").output
    assert "2: Tea 2; Cake" in shown
    assert "…" not in shown


def test_limit_shows_the_newest_and_says_that_there_are_more(out: Path, docflow: Run) -> None:
    shown = docflow("show", out, "--program", "bill", "--limit", 1).output
    assert "c.png" in shown
    assert "a.png" not in shown
    assert "the 1 newest of 3 records" in shown


def test_failed_documents_come_with_reason_and_hint(out: Path, docflow: Run) -> None:
    shown = docflow("show", out, "--failed").output
    assert "scans/e.pdf  decode, BrokenDocument" in shown
    assert "it is damaged" in shown
    assert "Get a new copy." in shown
    assert "a.png" not in shown
    limited = docflow("show", out, "--failed", "--limit", 1).output
    assert "the 1 newest of 2 failed" in limited


def test_evidence_tells_for_each_value_the_print_the_place_and_how_sure(out: Path, docflow: Run) -> None:
    lines = docflow("show", out, "--evidence", "scans/b.png").output.splitlines()
    total = next(index for index, line in enumerate(lines) if line.startswith("total"))
    assert lines[total].split() == ["total", "1234.5", "1", "1,2", "3,4", "0.20", "fuzzy"]
    assert lines[total + 1].split() == ["1.234,5"]
    date = next(line for line in lines if line.startswith("date"))
    assert date.split() == ["date", "0.40", "unreadable"]


def test_the_pieces_of_a_value_have_a_line_each_and_the_value_stands_once(out: Path, docflow: Run) -> None:
    lines = docflow("show", out, "--evidence", "scans/a.png").output.splitlines()
    assert sum("10,20 110,40" in line for line in lines) == 1
    assert sum("10,41 110,58" in line for line in lines) == 1
    assert sum("company" in line for line in lines) == 1
    assert "".join(lines).count("Corp") == 1


def test_evidence_is_found_by_the_end_of_the_name_and_a_typo_is_told(out: Path, docflow: Run) -> None:
    assert "scans/c.png  bill, invalid" in docflow("show", out, "--evidence", "c.png").output
    assert "total: is required" in docflow("show", out, "--evidence", "c.png").output
    unknown = docflow("show", out, "--evidence", "scans/x.png")
    assert "no row for scans/x.png" in str(unknown.exception)
    assert getattr(unknown.exception, "hint", "").startswith("Did you mean scans/")
    other = docflow("show", out, "--evidence", "0147.jpg").exception
    assert getattr(other, "hint", "") == "docflow show OUT lists the documents."


def test_an_unknown_program_is_told_which_there_are(out: Path, docflow: Run) -> None:
    failure = docflow("show", out, "--program", "bil").exception
    assert "no rows of 'bil'" in str(failure)
    assert getattr(failure, "hint", "") == "It holds bill, letter."


def test_values_are_spoken_as_people_write_them() -> None:
    from decimal import Decimal

    assert spoken(Decimal("12.500000")) == "12.50"
    assert spoken(Decimal("12.000000")) == "12"
    assert spoken(Decimal("0.125000")) == "0.125"
    assert spoken(Decimal("1200")) == "1200"
    assert spoken(True) == "yes"
    assert spoken([]) == ""
    assert spoken([{"name": "Tea", "price": None}, {"name": "Cake", "price": Decimal(3)}]) == "2: Tea; Cake 3"


def test_where_there_is_no_room_for_all_the_greatest_amount_is_shown_before_others() -> None:
    records = [
        {"shop": "Corner", "day": dt.date(2024, 3, 12), "due": dt.date(2024, 4, 12), "tax": Decimal(n), "sum": total}
        for n, total in ((1, Decimal(11)), (2, Decimal(22)))
    ]
    rows = [{"source": "a.png", "split": None, "status": "valid", "record": one, "evidence": []} for one in records]
    console = Console(width=46, file=io.StringIO(), record=True)
    for part in record_table(rows, 46):
        console.print(part)
    lines = console.export_text().splitlines()
    assert lines[0].split() == ["source", "status", "shop", "day", "tax", "sum"]
    assert lines[-1] == "no room for: due"


def test_a_cell_that_is_cut_keeps_its_marks() -> None:
    rows = [
        {
            "source": "a.png",
            "split": None,
            "status": "valid",
            "record": {
                "shop": "A name that is far too long for this",
                "items": [{"name": "Tea"}, {"name": "Cake" * 9}],
            },
            "evidence": [{"path": path, "value": "x", "confidence": 0.2} for path in ("shop", "items[1].name")],
            "missing_rows": [{"path": "items"}],
        }
    ]
    console = Console(width=60, file=io.StringIO(), record=True)
    console.print(next(iter(record_table(rows, 60))))
    cells = console.export_text().splitlines()[-1]
    assert "… ?  2: Tea;" in cells
    assert cells.endswith("… ? +?")
    assert len(cells) <= 60


def test_the_evidence_of_a_tick_is_its_value_alone_and_fits_80_columns() -> None:
    leaf = {"path": "paid", "value": "true", "raw": "True", "page": None, "x0": None, "confidence": 0.7}
    row = {"source": "a.png", "split": None, "program": "slip", "status": "valid", "engine": "vllm", "model": "m"}
    console = Console(width=80, file=io.StringIO(), record=True)
    for part in evidence_table({**row, "error": None, "evidence": [{**leaf, "found": None, "reason": None}]}):
        console.print(part)
    lines = console.export_text().splitlines()
    assert [line.split() for line in lines[3:-1]] == [["paid", "true", "0.70"]]
    assert lines[-1].startswith("box: ")
