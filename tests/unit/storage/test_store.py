from __future__ import annotations

import dataclasses
import datetime as dt
import errno
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from docflow.errors import SchemaError, StorageError
from docflow.extraction.result import Result
from docflow.fields.kinds import Money, Party
from docflow.program import Program, program
from docflow.storage import Dataset, parts
from docflow.storage.store import Store
from tests.unit.storage.results import RECORD, Results

COLUMNS = [
    *("document_id", "source", "media_type", "pages"),
    *("program", "program_version", "requested_program"),
    *("engine", "model", "requested_engine", "requested_model", "attempts", "fallback"),
    *("status", "record", "evidence", "missing_rows", "answer", "error", "usage"),
    *("grounding", "first_page", "last_page", "split", "split_confidence"),
    *("needs_review", "refreshed_from", "seconds", "run_id", "docflow_version", "created_at"),
]


def open_store(out: Path, of: Program = Results.bill, engine: str = "embedded", run: str = "run-1") -> Store:
    return Store(out, of, engine, "rules", run)


def add(store: Store, *results: Result[Any]) -> list[Path]:
    rows = [store.row(result)[1] for result in results]
    return store.write(rows, [row["source"] + row["document_id"] for row in rows])


def rows_of(out: Path) -> list[dict[str, Any]]:
    return list(Dataset(out).records())


def test_a_row_has_exactly_the_columns_of_the_format(tmp_path: Path) -> None:
    [path] = add(open_store(tmp_path), Results.valid("a.png"))
    assert path.parent == tmp_path / "records" / "program=bill"
    file = pq.ParquetFile(path)
    assert file.schema_arrow.names == COLUMNS
    assert file.schema_arrow.metadata[b"docflow.format"] == b"1"
    assert b'"total"' in file.schema_arrow.metadata[b"docflow.program_schema"]
    [row] = file.read().to_pylist()
    assert row["record"] == RECORD
    assert row["pages"] == [
        {"page": 1, "width": 600.0, "height": 800.0, "unit": "px", "rotation": 0, "text_layer": False}
    ]
    assert row["evidence"][0] == {
        "path": "total",
        "value": "12.50",
        "raw": "12,50",
        "page": 1,
        "x0": 1.0,
        "y0": 2.0,
        "x1": 30.0,
        "y1": 40.0,
        "found": "normalised",
        "confidence": 0.9,
        "reason": None,
        "raw_confidence": None,
    }
    assert (row["error"], row["answer"], row["run_id"], row["source"]) == (None, None, "run-1", "a.png")


def test_readers_with_and_without_hive_partitions_agree(tmp_path: Path) -> None:
    add(open_store(tmp_path), Results.valid("a.png"))
    add(open_store(tmp_path, Results.letter), Results.valid("b.png", of=Results.letter))
    direct = ds.dataset(tmp_path / "records" / "program=bill", format="parquet").to_table()
    hive = ds.dataset(tmp_path / "records", format="parquet", partitioning="hive").to_table(
        columns=["program", "source"]
    )
    assert direct["program"].to_pylist() == ["bill"]
    assert sorted(hive.to_pylist(), key=lambda row: row["source"]) == [
        {"program": "bill", "source": "a.png"},
        {"program": "letter", "source": "b.png"},
    ]


def test_done_is_a_row_for_the_same_document_program_version_and_engine(tmp_path: Path) -> None:
    known = Results.document_id("a.png")
    invalid = dataclasses.replace(Results.valid("b.png"), status="invalid", record=None)
    add(open_store(tmp_path), Results.valid("a.png"), invalid, Results.failed("c.png"))
    store = open_store(tmp_path)
    assert store.is_done("a.png", known)
    assert store.is_done("b.png", Results.document_id("b.png"))
    assert not store.is_done("other.png", known)
    assert store.is_done_elsewhere(known)
    assert not store.is_done("c.png", Results.document_id("c.png"))
    assert store.has_failed("c.png", Results.document_id("c.png"))
    assert not open_store(tmp_path, engine="sglang").is_done("a.png", known)
    assert not open_store(tmp_path, Results.letter).is_done_elsewhere(known)
    newer = dataclasses.replace(Results.bill, function=lambda s, pages: None)
    assert not open_store(tmp_path, newer).is_done("a.png", known)


def test_what_has_failed_follows_what_is_written(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    known = Results.document_id("a.png")
    assert not store.has_failed("a.png", known)
    add(store, Results.failed("a.png"))
    assert store.has_failed("a.png", known)
    add(store, Results.valid("a.png"))
    assert not store.has_failed("a.png", known)


def test_a_row_that_auto_chose_is_done_for_auto_only(tmp_path: Path) -> None:
    chosen = Results.valid("a.png", requested_program="either")
    early = Results.failed("b.png", of=Results.either)
    add(open_store(tmp_path, Results.either), chosen, early)
    assert [row["program"] for row in Dataset(tmp_path).records("bill")] == ["bill"]
    assert [row["status"] for row in Dataset(tmp_path).records("either")] == ["failed"]
    assert open_store(tmp_path, Results.either).is_done("a.png", chosen.document_id)
    assert not open_store(tmp_path).is_done("a.png", chosen.document_id)
    assert open_store(tmp_path, Results.either).has_failed("b.png", early.document_id)


def test_a_chunk_that_is_done_again_overwrites_itself(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = add(store, Results.valid("a.png"), Results.valid("b.png"))
    assert add(store, Results.valid("b.png"), Results.valid("a.png")) == first
    assert len(parts.part_files(tmp_path / "records" / "program=bill")) == 1
    assert len(rows_of(tmp_path)) == 2


def test_failed_rows_live_apart_and_go_when_the_documents_succeed(tmp_path: Path) -> None:
    written = add(open_store(tmp_path), Results.valid("a.png"), Results.failed("b.png"), Results.failed("c.png"))
    assert sorted(path.name.split("-")[0] for path in written) == ["failed", "part"]
    store = open_store(tmp_path)
    add(store, Results.valid("b.png", "repaired"))
    assert sorted((row["source"], row["status"]) for row in rows_of(tmp_path)) == [
        ("a.png", "valid"),
        ("b.png", "valid"),
        ("c.png", "failed"),
    ]
    add(store, Results.valid("c.png"))
    names = [path.name for path in parts.part_files(tmp_path / "records" / "program=bill")]
    assert len(names) == 3
    assert all(name.startswith("part-") for name in names)


def test_what_failed_before_the_choice_goes_when_the_document_finds_its_kind(tmp_path: Path) -> None:
    add(open_store(tmp_path, Results.either), Results.failed("b.png", of=Results.either))
    add(open_store(tmp_path, Results.either), Results.valid("b.png", requested_program="either"))
    assert [(row["program"], row["status"]) for row in rows_of(tmp_path)] == [("bill", "valid")]


def test_a_document_that_fails_again_has_one_failed_row(tmp_path: Path) -> None:
    add(open_store(tmp_path), Results.failed("a.png"), Results.failed("b.png"))
    add(open_store(tmp_path), Results.failed("a.png"))
    assert sorted(row["source"] for row in rows_of(tmp_path)) == ["a.png", "b.png"]


def test_a_result_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    kept = Results.valid("a.png")
    add(open_store(tmp_path), kept)
    store = open_store(tmp_path)
    assert store.stored_results(kept.document_id) == [kept]
    assert store.stored_results("0" * 64) == []


def test_an_amount_that_does_not_fit_makes_the_row_invalid_and_is_kept_in_its_answer(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    result, row = store.row(Results.valid("a.png", data={**RECORD, "total": Decimal("1e19")}))
    assert result.status == row["status"] == "invalid"
    assert "total" in row["error"]["message"]
    assert "1E+19" in row["answer"]
    store.write([row], ["a"])
    [stored] = rows_of(tmp_path)
    assert stored["record"]["total"] is None
    assert stored["record"]["company"] == "ACME"


def test_an_invalid_record_is_stored_as_far_as_its_types_go(tmp_path: Path) -> None:
    data = {"company": "ACME", "date": "no day", "items": [{"name": "Tea", "count": "many"}], "unknown": 1}
    add(open_store(tmp_path), dataclasses.replace(Results.valid("a.png"), status="invalid", record=None, data=data))
    [row] = rows_of(tmp_path)
    assert row["status"] == "invalid"
    assert row["record"] == {
        "company": "ACME",
        "date": None,
        "total": None,
        "items": [{"name": "Tea", "count": None}],
    }


class WiderBill(Results.bill.model):  # type: ignore[misc, name-defined]
    tip: Money | None = None


class OtherBill(BaseModel):
    company: Party | None = None
    total: Party | None = None


@program(WiderBill, name="bill")
def wider_bill(s: Any, pages: Any) -> None:
    s += "Read this bill."


@program(OtherBill, name="bill")
def other_bill(s: Any, pages: Any) -> None:
    s += "Read this bill."


def test_a_schema_that_only_adds_fields_reads_back_with_the_old_rows(tmp_path: Path) -> None:
    add(open_store(tmp_path), Results.valid("a.png"))
    add(open_store(tmp_path, wider_bill), Results.valid("b.png", of=wider_bill, data={"tip": Decimal(1)}))
    tips = {row["source"]: row["record"]["tip"] for row in Dataset(tmp_path).records("bill")}
    assert tips == {"a.png": None, "b.png": Decimal(1)}
    query = Dataset(tmp_path).query("SELECT source, record.tip FROM bill ORDER BY source")
    assert query.to_pylist() == [{"source": "a.png", "tip": None}, {"source": "b.png", "tip": Decimal(1)}]


@pytest.mark.parametrize("clashing", [other_bill, Results.bill])
def test_another_schema_under_a_used_name_is_refused(tmp_path: Path, clashing: Program) -> None:
    add(open_store(tmp_path, wider_bill), Results.valid("a.png", of=wider_bill))
    with pytest.raises(SchemaError, match="bill") as caught:
        open_store(tmp_path, clashing)
    assert "--name" in caught.value.hint


def test_a_new_dataset_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    [path] = add(open_store(out), Results.valid("a.png"))
    assert [oct(p.stat().st_mode & 0o777) for p in (out, out / "records", path.parent)] == ["0o700"] * 3
    assert path.stat().st_mode & 0o077 == 0


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StorageError, match="not a folder"):
        open_store(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_an_out_without_rights_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        open_store(tmp_path / "out")


@contextmanager
def small_files() -> Iterator[None]:
    """A process that may write no file above 4 KiB: what a full disk does, without filling one.

    Not a fixture: the test runner itself may be writing its log to a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_part_that_cannot_be_written_leaves_the_dataset_as_it_was(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    add(store, Results.valid("a.png"))
    with pytest.raises(StorageError) as caught, small_files():
        add(store, *(Results.valid(f"{n}.png", answer=os.urandom(200).hex()) for n in range(50)))
    assert caught.value.hint
    assert [row["source"] for row in rows_of(tmp_path)] == ["a.png"]
    assert not list((tmp_path / "records").rglob("*.tmp"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_while_a_part_is_synced_leaves_the_dataset_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = open_store(tmp_path)
    add(store, Results.valid("a.png"))

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StorageError) as caught:
        add(store, Results.valid("b.png"))
    assert caught.value.retryable == (number == errno.EIO)
    assert [row["source"] for row in rows_of(tmp_path)] == ["a.png"]
    assert not list((tmp_path / "records").rglob("*.tmp"))


def test_what_a_kill_left_beside_the_parts_is_swept_and_files_of_others_stay(tmp_path: Path) -> None:
    left = [tmp_path / folder / ".one.json.77-0123abcd.tmp" for folder in (".", "runs", "corrections")]
    others = [tmp_path / ".draft.tmp", tmp_path / "mine" / ".one.json.77-0123abcd.tmp", tmp_path / "runs" / "one.json"]
    for path in (*left, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    fresh = tmp_path / "runs" / ".two.json.78-0123abcd.tmp"
    fresh.touch()
    parts.prepare(tmp_path)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in (*others, fresh))


def test_leftover_temporary_files_are_swept_once_they_are_old(tmp_path: Path) -> None:
    add(open_store(tmp_path), Results.valid("a.png"))
    folder = tmp_path / "records" / "program=bill"
    old, fresh = folder / ".part-1.parquet.9-a.tmp", folder / ".part-2.parquet.9-b.tmp"
    old.write_bytes(b"PAR1")
    fresh.write_bytes(b"PAR1")
    day_ago = time.time() - 86_400
    os.utime(old, (day_ago, day_ago))
    assert len(rows_of(tmp_path)) == 1
    open_store(tmp_path)
    assert (old.exists(), fresh.exists()) == (False, True)


KILLED = """
import os, sys
from pathlib import Path
from docflow.storage import parts
replace = Path.replace
Path.replace = lambda self, target: os.kill(os.getpid(), 9)
parts.write_whole(Path(sys.argv[1]), b"half a part")
"""


def test_a_kill_between_writing_and_renaming_leaves_no_part(tmp_path: Path) -> None:
    add(open_store(tmp_path), Results.valid("a.png"))
    target = tmp_path / "records" / "program=bill" / "part-x.parquet"
    child = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert child.returncode == -9
    assert not target.exists()
    assert len(list(target.parent.glob(".*.tmp"))) == 1
    assert len(rows_of(tmp_path)) == 1


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    [path] = add(open_store(tmp_path), Results.valid("a.png"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=path.name):
        open_store(tmp_path)
    with pytest.raises(StorageError, match=path.name):
        rows_of(tmp_path)


def test_a_part_that_is_damaged_while_a_run_uses_it_is_named(tmp_path: Path) -> None:
    kept = Results.valid("a.png")
    [path] = add(open_store(tmp_path), kept)
    store = open_store(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=path.name):
        store.stored_results(kept.document_id)


def test_a_newer_row_format_is_refused(tmp_path: Path) -> None:
    [path] = add(open_store(tmp_path), Results.valid("a.png"))
    table = pq.ParquetFile(path).read()
    pq.write_table(table.replace_schema_metadata({b"docflow.format": b"2"}), path)
    with pytest.raises(StorageError, match="format 2"):
        open_store(tmp_path)


def test_two_runs_can_write_to_one_dataset(tmp_path: Path) -> None:
    one, two = open_store(tmp_path, run="one"), open_store(tmp_path, run="two")
    add(one, Results.valid("a.png"), Results.failed("b.png"))
    add(two, Results.valid("c.png"))
    add(one, Results.valid("b.png"))
    assert sorted((row["source"], row["run_id"]) for row in rows_of(tmp_path)) == [
        ("a.png", "one"),
        ("b.png", "one"),
        ("c.png", "two"),
    ]


def test_a_row_carries_its_time_in_utc(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 3, 12, 9, tzinfo=dt.timezone(dt.timedelta(hours=9)))
    [path] = add(open_store(tmp_path), Results.valid("a.png", created_at=moment))
    table = pq.ParquetFile(path).read(["created_at"])
    assert table.schema.field("created_at").type == pa.timestamp("us", "UTC")
    assert table["created_at"][0].as_py() == moment
