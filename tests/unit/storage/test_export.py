from __future__ import annotations

import csv
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field

from docflow.errors import UsageError
from docflow.fields import Money, Text
from docflow.program import program
from docflow.storage import Dataset
from docflow.storage.cells import could_be_formula
from docflow.storage.corrections import Corrections, Said
from docflow.storage.excel import _sheet_name
from docflow.storage.export import export
from docflow.storage.store import Store
from tests.unit.storage.results import Results

FORMULA = '=HYPERLINK("http://x","y")'


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    store = Store(out, Results.bill, "embedded", "rules", "one")
    hostile = {
        "company": FORMULA,
        "date": dt.date(2024, 3, 12),
        "total": Decimal("1234.5"),
        "items": [{"name": "+1+cmd|x", "count": Decimal(2)}, {"name": "Tea\nwith milk", "count": None}],
    }
    plain = {"company": "ACME", "date": dt.date(1899, 12, 31), "total": Decimal("123456789012345678.5"), "items": []}
    results = [Results.valid("a.png", data=hostile), Results.valid("b.png", data=plain), Results.failed("c.png")]
    store.write([store.row(result)[1] for result in results], ["one"])
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["source"])


def test_csv_has_a_row_a_document_and_a_second_file_of_items(out: Path, tmp_path: Path) -> None:
    done = export(Dataset(out), tmp_path / "x.csv", "csv")
    assert done.rows == {"x.csv": 3, "x.items.csv": 2}
    first, second, failed = rows_of(tmp_path / "x.csv")
    assert (first["company"], first["total"], first["date"]) == (f"'{FORMULA}", "1234.5", "2024-03-12")
    assert (second["total"], second["reviewed"]) == ("123456789012345678.5", "false")
    assert (failed["status"], failed["company"], failed["confidence"]) == ("failed", "", "")
    items = rows_of(tmp_path / "x.items.csv")
    assert [(item["source"], item["row"], item["name"], item["count"]) for item in items] == [
        ("a.png", "1", "'+1+cmd|x", "2"),
        ("a.png", "2", "Tea\nwith milk", ""),
    ]


def test_excel_has_typed_cells_and_no_formula(out: Path, tmp_path: Path) -> None:
    export(Dataset(out), tmp_path / "x.xlsx", "xlsx", program="bill")
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    assert book.sheetnames == ["documents", "items"]
    head, *rows = book["documents"].iter_rows()
    rows.sort(key=lambda row: str(row[0].value))
    first = {str(title.value): cell for title, cell in zip(head, rows[0], strict=True)}
    second = {str(title.value): cell for title, cell in zip(head, rows[1], strict=True)}
    assert first["company"].value == FORMULA
    assert first["company"].data_type == "s"
    assert first["company"].quotePrefix
    assert first["date"].value == dt.datetime(2024, 3, 12)
    assert (first["total"].value, first["total"].number_format) == (1234.5, "#,##0.00####")
    assert second["total"].value == "123456789012345678.5"  # more digits than a spreadsheet keeps
    assert second["date"].value == "1899-12-31"
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f" or cell.hyperlink]


def test_excel_takes_control_characters_and_texts_that_are_too_long(tmp_path: Path) -> None:
    store = Store(tmp_path / "out", Results.bill, "embedded", "rules", "one")
    data = {
        "company": "A" * 40_000,
        "date": None,
        "total": None,
        "items": [{"name": "\x01\u202eb<&\x1f", "count": None}],
    }
    store.write([store.row(Results.valid("a.png", data=data))[1]], ["one"])
    done = export(Dataset(tmp_path / "out"), tmp_path / "x.xlsx", "xlsx")
    assert done.notes == ["1 texts were cut to the 32,767 characters that a cell holds"]
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    company = next(c.column for c in book["documents"][1] if c.value == "company")
    assert len(book["documents"].cell(2, company).value) == 32_767


def test_json_lines_hold_the_record_with_its_lists(out: Path, tmp_path: Path) -> None:
    export(Dataset(out), tmp_path / "x.jsonl", "jsonl", status="valid")
    first, second = (json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines())
    assert first["record"]["items"][0] == {"name": "+1+cmd|x", "count": 2.0}
    assert second["record"]["total"] == "123456789012345678.500000"


def test_flat_parquet_keeps_the_types(out: Path, tmp_path: Path) -> None:
    export(Dataset(out), tmp_path / "x.parquet", "parquet-flat")
    table = pq.read_table(tmp_path / "x.parquet")
    assert str(table.schema.field("total").type) == "decimal128(24, 6)"
    assert str(table.schema.field("date").type) == "date32[day]"
    assert pq.read_table(tmp_path / "x.items.parquet")["name"].to_pylist() == ["+1+cmd|x", "Tea\nwith milk"]


def test_corrections_are_applied_unless_told_otherwise(out: Path, tmp_path: Path) -> None:
    row = next(row for row in Dataset(out).records("bill") if row["source"] == "b.png")
    said = [
        Said("company", "correct", "ACME Ltd", "ACME"),
        Said("date", "absent", None, "1899-12-31"),
        Said("total", "correct", "10", "123456789012345678.5"),
        Said("items", "accept"),
    ]
    Corrections(out).add(row, said, "Ann")
    export(Dataset(out), tmp_path / "x.csv", "csv")
    second = rows_of(tmp_path / "x.csv")[1]
    assert [second[name] for name in ("company", "date", "total", "reviewed")] == ["ACME Ltd", "", "10", "true"]
    export(Dataset(out), tmp_path / "x.csv", "csv", corrected=False)
    second = rows_of(tmp_path / "x.csv")[1]
    assert [second[name] for name in ("company", "total", "reviewed")] == ["ACME", "123456789012345678.5", "true"]


class Part(BaseModel):
    code: Text | None = None


class Piece(BaseModel):
    price: Money | None = None
    parts: list[Part] = Field(default_factory=list)


class Seller(BaseModel):
    name: Text | None = None


class Order(BaseModel):
    source: Text | None = None
    seller: Seller | None = None
    tags: list[str] = Field(default_factory=list)
    pieces: list[Piece] = Field(default_factory=list)


@program(Order)
def order(s: Any, pages: Any) -> None:
    s += "Read this order."


def test_groups_lists_in_lists_and_clashing_names_have_their_place(tmp_path: Path) -> None:
    store = Store(tmp_path / "out", order, "embedded", "rules", "one")
    orders: list[dict[str, Any]] = [
        {"source": "shop", "seller": {"name": "Ann"}, "tags": ["x", "y"], "pieces": []},
        {
            "source": None,
            "seller": None,
            "tags": [],
            "pieces": [
                {"price": Decimal(1), "parts": [{"code": "a"}, {"code": "b"}]},
                {"price": Decimal(2), "parts": [{"code": "c"}]},
            ],
        },
    ]
    results = [Results.valid(f"{i}.png", of=order, data=data, evidence=()) for i, data in enumerate(orders)]
    store.write([store.row(result)[1] for result in results], ["one"])
    done = export(Dataset(tmp_path / "out"), tmp_path / "x.csv", "csv")
    assert done.rows == {"x.csv": 2, "x.tags.csv": 2, "x.pieces.csv": 2, "x.pieces.parts.csv": 3}
    assert [(row["record.source"], row["seller.name"]) for row in rows_of(tmp_path / "x.csv")] == [
        ("shop", "Ann"),
        ("", ""),
    ]
    assert [row["value"] for row in rows_of(tmp_path / "x.tags.csv")] == ["x", "y"]
    inner = rows_of(tmp_path / "x.pieces.parts.csv")
    assert [(row["row"], row["row of pieces.parts"], row["code"]) for row in inner] == [
        ("1", "1", "a"),
        ("1", "2", "b"),
        ("2", "1", "c"),
    ]


def test_an_export_that_fails_leaves_the_old_file(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.xlsx").write_text("old")
    monkeypatch.setattr("docflow.storage.excel.SHEET_ROWS", 2)
    with pytest.raises(UsageError, match="at most"):
        export(Dataset(out), tmp_path / "x.xlsx", "xlsx")
    assert (tmp_path / "x.xlsx").read_text() == "old"
    assert not list(tmp_path.glob(".x*"))


def test_sheet_names_are_ones_that_excel_takes() -> None:
    taken: set[str] = set()
    names = [_sheet_name(name, taken) for name in ("items", "Items", "a/b[c]", "x" * 40, "x" * 41, "History")]
    assert len({name.lower() for name in names}) == 6
    assert all(len(name) <= 31 and not set(name) & set("[]:*?/\\'") for name in names)
    assert "history" not in taken


@pytest.mark.parametrize("text", ["=1", "@x", "\t=1", "\r=1", "-A1", "+A1"])
def test_texts_that_a_spreadsheet_could_run_are_known(text: str) -> None:
    assert could_be_formula(text)
