"""Rows of files that were split: what is done, what readers see, and where corrections go."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from docflow.extraction.result import Result
from docflow.program import Program
from docflow.storage import Dataset
from docflow.storage.corrections import CORRECTIONS, Corrections, Said
from docflow.storage.flat import DOCUMENTS, flatten, nested_batches
from docflow.storage.store import Store
from tests.unit.storage.results import Results

NEW_COLUMNS = ["first_page", "last_page", "split", "split_confidence"]
DAY = dt.datetime(2024, 3, 12, tzinfo=dt.UTC)


def store(out: Path, of: Program = Results.bill, *, split: bool = True) -> Store:
    return Store(out, of, "embedded", "rules", "run", split=split)


def add(into: Store, *results: Result[Any]) -> list[Path]:
    rows = [into.row(result)[1] for result in results]
    return into.write(rows, [row["source"] + row["document_id"] for row in rows])


def parts(
    source: str, *ranges: tuple[int, int], content: str = "scan", day: int = 0, **changes: Any
) -> list[Result[Any]]:
    """The results of a file that was split, all of one time."""
    made = DAY + dt.timedelta(days=day)
    given: dict[str, Any] = {"split": len(ranges), "split_confidence": 0.9, "created_at": made} | changes
    return [Results.valid(source, content, first_page=first, last_page=last, **given) for first, last in ranges]


def whole(source: str, content: str = "scan", day: int = 0, **changes: Any) -> Result[Any]:
    made = DAY + dt.timedelta(days=day)
    return Results.valid(source, content, first_page=1, last_page=3, created_at=made, **changes)


def seen(out: Path) -> list[tuple[str, int | None, int | None]]:
    return sorted((row["program"], row["first_page"], row["last_page"]) for row in Dataset(out).records())


def test_a_split_file_is_done_for_runs_that_split_and_only_for_them(tmp_path: Path) -> None:
    add(store(tmp_path), *parts("a.pdf", (1, 1), (2, 3)))
    scan = Results.document_id("scan")
    assert store(tmp_path).is_done("a.pdf", scan)
    assert not store(tmp_path, split=False).is_done("a.pdf", scan)
    add(store(tmp_path, split=False), whole("b.pdf", "other"))
    assert not store(tmp_path).is_done("b.pdf", Results.document_id("other"))


def test_a_split_file_is_not_done_while_one_of_its_documents_failed(tmp_path: Path) -> None:
    good, bad = parts("a.pdf", (1, 1), (2, 3))
    failed = Results.failed(
        "a.pdf", "scan", first_page=2, last_page=3, split=2, split_confidence=0.9, created_at=bad.created_at
    )
    add(store(tmp_path), good, failed)
    again = store(tmp_path)
    assert not again.is_done("a.pdf", good.document_id)
    assert again.has_failed("a.pdf", good.document_id)
    assert not store(tmp_path, split=False).has_failed("a.pdf", good.document_id)
    add(again, *parts("a.pdf", (1, 1), (2, 3), day=1))
    assert again.is_done("a.pdf", good.document_id)
    assert {row["status"] for row in Dataset(tmp_path)} == {"valid"}


def test_a_split_file_is_not_done_when_a_kill_came_between_two_programs_parts(tmp_path: Path) -> None:
    bill, letter = parts("a.pdf", (1, 1), (2, 3), requested_program="either")
    letter = Results.valid(
        "a.pdf",
        "scan",
        of=Results.letter,
        **{name: getattr(letter, name) for name in (*NEW_COLUMNS, "requested_program", "created_at")},
    )
    written = add(store(tmp_path, Results.either), bill, letter)
    assert len(written) == 2
    assert store(tmp_path, Results.either).is_done("a.pdf", bill.document_id)
    assert [one.program for one in store(tmp_path, Results.either).stored_results(bill.document_id)] == [
        "bill",
        "letter",
    ]
    written[1].unlink()
    again = store(tmp_path, Results.either)
    assert not again.is_done("a.pdf", bill.document_id)
    assert again.stored_results(bill.document_id) == []


def test_stored_results_of_a_split_file_are_those_of_one_reading_in_order(tmp_path: Path) -> None:
    later = parts("b.pdf", (1, 2), (3, 3), day=1)
    add(store(tmp_path), *parts("a.pdf", (1, 1), (2, 3)), *reversed(later))
    found = store(tmp_path).stored_results(later[0].document_id)
    assert [(one.source, one.first_page, one.last_page) for one in found] == [("b.pdf", 1, 2), ("b.pdf", 3, 3)]


def test_readers_see_what_the_newest_asking_gave_and_never_a_file_beside_its_parts(tmp_path: Path) -> None:
    add(store(tmp_path, split=False), whole("a.pdf"))
    add(store(tmp_path), *parts("a.pdf", (1, 1), (2, 3), day=1))
    assert seen(tmp_path) == [("bill", 1, 1), ("bill", 2, 3)]
    add(store(tmp_path), *parts("a.pdf", (1, 2), (3, 3), day=2))
    assert seen(tmp_path) == [("bill", 1, 2), ("bill", 3, 3)]
    assert Dataset(tmp_path).query("SELECT count(*) AS n FROM bill").to_pylist() == [{"n": 2}]
    add(store(tmp_path, split=False), whole("a.pdf", day=3))
    assert seen(tmp_path) == [("bill", 1, 3)]


def test_parts_filed_under_other_programs_replace_the_whole_too(tmp_path: Path) -> None:
    asked = {"requested_program": "either"}
    add(store(tmp_path, Results.either, split=False), whole("a.pdf", **asked), whole("b.pdf", "other", **asked))
    letters = parts("a.pdf", (1, 1), (2, 3), day=1, of=Results.letter, **asked)
    add(store(tmp_path, Results.either), *letters)
    assert seen(tmp_path) == [("bill", 1, 3), ("letter", 1, 1), ("letter", 2, 3)]
    assert {row["source"] for row in Dataset(tmp_path).records("bill")} == {"b.pdf"}


def test_a_dataset_without_page_ranges_is_read_and_counts_as_done(tmp_path: Path) -> None:
    [path] = add(store(tmp_path, split=False), whole("a.pdf"))
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(NEW_COLUMNS), path)
    (row,) = Dataset(tmp_path).records()
    assert [row[name] for name in NEW_COLUMNS] == [None] * 4
    assert store(tmp_path, split=False).is_done("a.pdf", Results.document_id("scan"))
    assert not store(tmp_path).is_done("a.pdf", Results.document_id("scan"))
    (stored,) = store(tmp_path, split=False).stored_results(Results.document_id("scan"))
    assert stored.first_page is None
    add(store(tmp_path), *parts("a.pdf", (1, 1), (2, 3), day=1))
    assert seen(tmp_path) == [("bill", 1, 1), ("bill", 2, 3)]


def test_corrections_go_by_the_pages_and_those_of_a_whole_file_by_the_file(tmp_path: Path) -> None:
    add(store(tmp_path), *parts("a.pdf", (1, 1), (2, 3)), *parts("b.pdf", (1, 2), content="single"))
    rows = {row["first_page"]: row for row in Dataset(tmp_path).records() if row["source"] == "a.pdf"}
    Corrections(tmp_path).add(rows[2], [Said("company", "correct", "Brown", seen="ACME")], "Ann")
    add(store(tmp_path), *parts("a.pdf", (1, 1), (2, 3), day=1))
    corrected = {row["first_page"]: row["record"]["company"] for row in Dataset(tmp_path).records(corrected=True)}
    assert corrected == {1: "ACME", 2: "Brown"}
    (single,) = [row for row in Dataset(tmp_path).records() if row["source"] == "b.pdf"]
    Corrections(tmp_path).add(single, [Said("company", "correct", "Green", seen="ACME")], "Ann")
    add(store(tmp_path, split=False), whole("b.pdf", "single", day=1))
    companies = {row["source"]: row["record"]["company"] for row in Dataset(tmp_path).records(corrected=True)}
    assert companies["b.pdf"] == "Green"
    scan, one = Results.document_id("scan"), Results.document_id("single")
    assert {path.name for path in (tmp_path / CORRECTIONS).glob("*.json")} == {
        f"{scan}@2-3.bill.json",
        f"{one}.bill.json",
    }


def test_exported_items_say_the_pages_of_their_document(tmp_path: Path) -> None:
    add(store(tmp_path), *parts("a.pdf", (1, 1), (2, 3)))
    tables = [flatten(batch) for batch in nested_batches(Dataset(tmp_path))]
    for name in (DOCUMENTS, "items"):
        rows = [row for table in tables for row in table[name].to_pylist()]
        assert sorted((row["first_page"], row["last_page"]) for row in rows) == [(1, 1), (2, 3)]


def test_a_chunk_of_both_ways_of_asking_writes_parts_of_its_own(tmp_path: Path) -> None:
    once = add(store(tmp_path, split=False), whole("a.pdf"))
    split = add(store(tmp_path), *[dataclasses.replace(one, split=1) for one in parts("a.pdf", (1, 3))])
    assert set(once).isdisjoint(split)
