from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from docflow.errors import StorageError, UsageError
from docflow.storage import Dataset
from docflow.storage.store import Store
from tests.unit.storage.results import Results

MORNING = dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC)
EVENING = dt.datetime(2024, 1, 1, 20, tzinfo=dt.UTC)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two bills, one of them read again by a newer run with another engine; a letter; a failed document."""
    bills = Store(tmp_path, Results.bill, "embedded", "rules", "one")
    old = [Results.valid("a.png", created_at=MORNING), Results.valid("b.png", created_at=MORNING)]
    bills.write([bills.row(result)[1] for result in old], ["one"])
    again = Store(tmp_path, Results.bill, "sglang", "qwen", "two")
    new = Results.valid("a.png", created_at=EVENING, requested_engine="sglang", data={"company": "New"})
    again.write([again.row(new)[1]], ["two"])
    letters = Store(tmp_path, Results.letter, "embedded", "rules", "three")
    mixed = [Results.valid("c.png", of=Results.letter), Results.failed("d.png", of=Results.letter)]
    letters.write([letters.row(result)[1] for result in mixed], ["three"])
    return tmp_path


def test_readers_see_the_newest_row_of_each_key(out: Path) -> None:
    dataset = Dataset(out)
    assert dataset.programs == ["bill", "letter"]
    assert len(dataset) == 4
    assert dict(dataset.counts()) == {("bill", "valid"): 2, ("letter", "valid"): 1, ("letter", "failed"): 1}
    companies = {row["source"]: row["record"]["company"] for row in dataset.records("bill")}
    assert companies == {"a.png": "New", "b.png": "ACME"}
    assert dataset.arrow("bill").num_rows == 2
    assert dataset.arrow("bill", columns=["source"]).column_names == ["source"]
    assert dataset.query("SELECT count(*) AS n FROM records").to_pylist() == [{"n": 4}]
    newest = dataset.query("SELECT record.company FROM bill WHERE source = 'a.png'")
    assert newest.to_pylist() == [{"company": "New"}]


def test_records_of_several_programs_come_in_one_table(out: Path) -> None:
    record = Dataset(out).arrow().schema.field("record").type
    assert {field.name: field.type for field in record}["date"] == pa.string()
    dates = {row["source"]: (row["record"] or {}).get("date") for row in Dataset(out)}
    assert dates["b.png"] == "2024-03-12"
    assert dates["c.png"] == "spring"
    assert dates["d.png"] is None


def test_one_program_keeps_its_real_types(out: Path) -> None:
    sums = Dataset(out).query("SELECT sum(record.total) AS total, max(record.date) AS last FROM bill")
    assert sums.to_pylist() == [{"total": Decimal("12.5"), "last": dt.date(2024, 3, 12)}]


def test_a_data_frame_has_a_row_a_document(out: Path) -> None:
    pytest.importorskip("pandas")
    frame = Dataset(out).pandas("letter")
    assert sorted(frame["status"]) == ["failed", "valid"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM nowhere",
        "SELEC",
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY records TO 'stolen.csv'",
        "ATTACH 'other.db'",
        "SET enable_external_access = true",
        "INSERT INTO records SELECT * FROM records",
    ],
)
def test_a_query_that_is_wrong_or_reaches_out_is_refused(
    out: Path, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        Dataset(out).query(sql)
    assert "bill" in caught.value.hint
    assert not (tmp_path / "stolen.csv").exists()


def test_a_folder_without_records_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no dataset"):
        Dataset(tmp_path)


def test_a_program_without_rows_is_named(out: Path) -> None:
    with pytest.raises(UsageError, match="invoice"):
        Dataset(out).arrow("invoice")


def test_programs_whose_names_differ_in_case_alone_can_be_asked(tmp_path: Path) -> None:
    for name in ("bill", "Bill", "Records"):
        program = dataclasses.replace(Results.bill, name=name)
        store = Store(tmp_path, program, "embedded", "rules", "one")
        result = Results.valid(f"{name}.png", program=name, requested_program=name)
        store.write([store.row(result)[1]], [name])
    dataset = Dataset(tmp_path)
    assert dataset.query("select count(*) n from records")["n"].to_pylist() == [3]
    assert dataset.query("select source from bill")["source"].to_pylist() == ["Bill.png"]
