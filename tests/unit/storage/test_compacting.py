"""Parts are merged while others write and read: nothing is lost, nothing is seen twice, nothing waits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from docflow.errors import StorageError
from docflow.extraction.result import Result
from docflow.fields.kinds import Money
from docflow.program import Program, program
from docflow.runs.forgetting import forget
from docflow.storage import Dataset, compacting, parts, snapshots
from docflow.storage.compacting import compact
from docflow.storage.replaced import remove_replaced
from docflow.storage.snapshots import Snapshot, commit, newest_snapshot
from docflow.storage.store import Store
from tests.unit.storage.results import Results

BEGIN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def open_store(out: Path, of: Program = Results.bill, engine: str = "embedded") -> Store:
    return Store(out, of, engine, "rules", "run")


def add(store: Store, *results: Result[Any], chunk: str | None = None) -> list[Any]:
    rows = [store.row(result)[1] for result in results]
    return store.write(rows, [chunk] if chunk else [row["source"] for row in rows])


def many(out: Path, count: int = 12) -> None:
    """So many parts of two documents each, and as many of one that failed."""
    store = open_store(out)
    for number in range(count):
        add(
            store,
            Results.valid(f"{number:03}-a.png"),
            Results.valid(f"{number:03}-b.png"),
            Results.failed(f"{number:03}-c.png"),
        )


def files(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("*.parquet"))


def live(out: Path) -> list[str]:
    return sorted(path.name for path in parts.part_files(parts.program_folder(out, "bill")))


def holding(out: Path, source: str) -> list[Path]:
    """The files, whether they count or not, that hold something of a document."""
    return [
        path
        for path in out.rglob("*")
        if path.is_file()
        and (
            source in pq.ParquetFile(path).read(["source"])["source"].to_pylist()
            if path.suffix == ".parquet"
            else source.encode() in path.read_bytes()
        )
    ]


def seen(out: Path) -> list[tuple[str, str]]:
    return sorted((row["source"], row["status"]) for row in Dataset(out))


def test_many_parts_become_one_and_hold_the_same_rows(tmp_path: Path) -> None:
    many(tmp_path)
    before = sorted(Dataset(tmp_path).records(), key=lambda row: row["source"])
    done = compact(tmp_path)
    assert (done.parts, done.merged, done.written, done.rows, done.dropped) == (24, 24, 2, 36, 0)
    assert done.waiting == 24
    assert len(live(tmp_path)) == 2
    assert sorted(Dataset(tmp_path).records(), key=lambda row: row["source"]) == before
    [merged] = tmp_path.rglob("part-merged-*.parquet")
    assert pq.read_schema(merged).metadata[b"docflow.program_schema"]
    assert pq.ParquetFile(merged).read(["source"])["source"].to_pylist() == sorted(
        source for source, status in seen(tmp_path) if status == "valid"
    )


def test_merging_again_has_nothing_to_do(tmp_path: Path) -> None:
    many(tmp_path)
    compact(tmp_path)
    before = newest_snapshot(tmp_path).number
    done = compact(tmp_path)
    assert (done.merged, done.written) == (0, 0)
    assert newest_snapshot(tmp_path).number == before


def test_old_parts_stay_for_the_grace_time_and_then_go(tmp_path: Path) -> None:
    many(tmp_path)
    compact(tmp_path, grace_seconds=3600)
    assert len(files(tmp_path)) == 26
    assert remove_replaced(tmp_path, 3600) == 0
    assert remove_replaced(tmp_path, 0) == 24
    assert len(files(tmp_path)) == 2
    assert newest_snapshot(tmp_path).replaced == {}
    assert len(seen(tmp_path)) == 36


def test_a_dry_run_changes_nothing_and_counts_the_same(tmp_path: Path) -> None:
    many(tmp_path)
    add(open_store(tmp_path, engine="other"), Results.valid("000-a.png", requested_engine="other"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    would = compact(tmp_path, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    done = compact(tmp_path)
    assert (would.merged, would.written, would.rows, would.dropped) == (25, 2, 36, 1)
    assert (done.merged, done.written, done.rows, done.dropped) == (25, 2, 36, 1)


def test_rows_that_newer_ones_stand_in_for_are_left_out(tmp_path: Path) -> None:
    add(open_store(tmp_path), Results.valid("a.png", created_at=BEGIN), Results.valid("b.png", created_at=BEGIN))
    add(open_store(tmp_path, engine="other"), Results.valid("a.png", requested_engine="other"))
    assert compact(tmp_path, grace_seconds=0).dropped == 1
    [path] = tmp_path.rglob("*.parquet")
    rows = pq.ParquetFile(path).read(["source", "requested_engine"]).to_pylist()
    assert sorted((row["source"], row["requested_engine"]) for row in rows) == [
        ("a.png", "other"),
        ("b.png", "embedded"),
    ]


def test_parts_are_filled_up_to_the_size_that_is_asked_for(tmp_path: Path) -> None:
    many(tmp_path, 8)
    size = max(path.stat().st_size for path in tmp_path.rglob("part-*.parquet"))
    done = compact(tmp_path, part_bytes=3 * size, grace_seconds=0)
    assert 2 <= sum(name.startswith("part-merged") for name in files(tmp_path)) <= 4
    assert done.rows == 24


def test_what_is_done_and_what_failed_is_known_after_merging(tmp_path: Path) -> None:
    many(tmp_path, 4)
    kept = Results.valid("001-a.png")
    compact(tmp_path, grace_seconds=0)
    store = open_store(tmp_path)
    assert store.is_done("001-a.png", kept.document_id)
    assert store.has_failed("001-c.png", Results.document_id("001-c.png"))
    [again] = store.stored_results(kept.document_id)
    assert again.source == "001-a.png"


def test_a_document_that_succeeds_leaves_the_merged_part_of_the_failed(tmp_path: Path) -> None:
    many(tmp_path, 3)
    store = open_store(tmp_path)  # knows the parts of before
    compact(tmp_path)
    add(store, Results.valid("001-c.png"))
    [failed] = [path for path in parts.part_files(parts.program_folder(tmp_path, "bill")) if parts.is_failed(path)]
    assert "merged" in failed.name
    assert pq.ParquetFile(failed).read(["source"])["source"].to_pylist() == ["000-c.png", "002-c.png"]
    assert ("001-c.png", "valid") in seen(tmp_path)
    assert ("001-c.png", "failed") not in seen(tmp_path)


@pytest.mark.parametrize("grace", [0, 3600])
def test_a_chunk_that_is_done_again_after_it_was_merged_counts(tmp_path: Path, grace: float) -> None:
    store = open_store(tmp_path)
    add(store, Results.valid("a.png"), chunk="one")
    add(store, Results.valid("b.png"))
    compact(tmp_path, grace_seconds=grace)
    add(store, Results.valid("a.png", model="newer"), chunk="one")
    remove_replaced(tmp_path, 0)
    assert {row["source"]: row["model"] for row in Dataset(tmp_path)} == {"a.png": "newer", "b.png": "rules"}


def test_the_same_rows_written_again_after_they_were_merged_are_seen_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    result = Results.valid("a.png")
    add(store, result, chunk="one")
    add(store, Results.valid("b.png"))
    compact(tmp_path)
    add(store, result, chunk="one")
    assert seen(tmp_path) == [("a.png", "valid"), ("b.png", "valid")]
    counted = Dataset(tmp_path).query("SELECT source, count(*) AS n FROM bill GROUP BY ALL ORDER BY 1")
    assert counted.to_pylist() == [{"source": "a.png", "n": 1}, {"source": "b.png", "n": 1}]
    assert compact(tmp_path, grace_seconds=0).dropped == 1
    assert seen(tmp_path) == [("a.png", "valid"), ("b.png", "valid")]


def test_a_dataset_that_was_copied_is_read_as_before(tmp_path: Path) -> None:
    """A copy has other times: what was merged counts again, beside the merged part."""
    many(tmp_path, 3)
    compact(tmp_path)
    before = seen(tmp_path)
    for path in tmp_path.rglob("*.parquet"):
        os.utime(path, (1, 1))
    assert len(live(tmp_path)) == 8
    assert seen(tmp_path) == before
    assert len(Dataset(tmp_path)) == len(Dataset(tmp_path).query("SELECT * FROM bill")) == 9
    compact(tmp_path, grace_seconds=0)
    assert len(live(tmp_path)) == 2
    assert seen(tmp_path) == before


def test_a_part_that_is_written_to_while_it_is_merged_is_left_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    add(store, Results.valid("a.png"), chunk="one")
    add(store, Results.valid("b.png"))
    write = compacting._write

    def meanwhile(*given: Any) -> int:
        rows = write(*given)
        add(store, Results.valid("a.png", model="a newer one"), chunk="one")
        return rows

    monkeypatch.setattr(compacting, "_write", meanwhile)
    done = compact(tmp_path)
    assert (done.merged, done.changed) == (0, 2)
    assert not any("merged" in name for name in files(tmp_path))
    assert {row["source"]: row["model"] for row in Dataset(tmp_path)} == {"a.png": "a newer one", "b.png": "rules"}


def test_what_is_forgotten_while_it_is_merged_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path, 3)
    write = compacting._write

    def meanwhile(*given: Any) -> int:
        rows = write(*given)
        forget(tmp_path, "001-a.png", tmp_path / "cache")
        return rows

    monkeypatch.setattr(compacting, "_write", meanwhile)
    compact(tmp_path)
    assert not any(source == "001-a.png" for source, _ in seen(tmp_path))
    assert holding(tmp_path, "001-a.png") == []
    monkeypatch.undo()
    compact(tmp_path)
    assert len(seen(tmp_path)) == 8


def test_what_is_forgotten_goes_at_once_from_parts_that_wait(tmp_path: Path) -> None:
    many(tmp_path, 3)
    compact(tmp_path)
    assert len(holding(tmp_path, "001-a.png")) == 2
    gone = forget(tmp_path, Results.document_id("001-a.png"), tmp_path / "cache")
    assert gone.rows == 1
    assert holding(tmp_path, "001-a.png") == []
    assert len(seen(tmp_path)) == 8


def test_what_a_killed_compaction_left_is_forgotten_too(tmp_path: Path) -> None:
    many(tmp_path, 3)
    folder = parts.program_folder(tmp_path, "bill")
    [kept, *_] = [path for path in parts.part_files(folder) if not parts.is_failed(path)]
    source = pq.ParquetFile(kept).read(["source"])["source"][0].as_py()
    left = [folder / f"part-merged-{'0' * 32}.parquet", folder / f".part-merged-{'0' * 32}.parquet.x1.tmp"]
    for path in left:
        path.write_bytes(kept.read_bytes())
    assert left[0].name not in live(tmp_path)
    assert len(seen(tmp_path)) == 9
    forget(tmp_path, source, tmp_path / "cache")
    assert not any(path.exists() for path in left)


def test_of_two_compactions_of_the_same_parts_one_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path, 3)
    before = seen(tmp_path)
    write = compacting._write
    others = []

    def meanwhile(*given: Any) -> int:
        rows = write(*given)
        if not others:
            others.append(None)
            others.append(compact(tmp_path))
        return rows

    monkeypatch.setattr(compacting, "_write", meanwhile)
    done = compact(tmp_path, grace_seconds=0)
    assert (others[1].merged, done.merged, done.changed) == (6, 0, 6)
    assert len(files(tmp_path)) == len(live(tmp_path)) == 2
    assert seen(tmp_path) == before


def test_snapshots_are_numbered_and_the_slower_of_two_looks_again(tmp_path: Path) -> None:
    met = []

    def change(newest: Snapshot) -> Snapshot:
        met.append(newest.number)
        if len(met) == 1:  # somebody else is faster
            commit(tmp_path, lambda other: dataclasses.replace(other, merged=other.merged | {"theirs"}))
        return dataclasses.replace(newest, merged=newest.merged | {"mine"})

    made = commit(tmp_path, change)
    assert made is not None
    assert met == [0, 1]
    assert (made.number, newest_snapshot(tmp_path).merged) == (2, {"mine", "theirs"})


def test_a_damaged_snapshot_is_named(tmp_path: Path) -> None:
    many(tmp_path, 2)
    compact(tmp_path)
    path = max((tmp_path / "snapshots").glob("*.json"))
    path.write_text("{")
    with pytest.raises(StorageError, match=path.name):
        seen(tmp_path)


def test_where_there_is_no_dataset_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no dataset"):
        compact(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


# --- a program that gains a field ---------------------------------------------------------------------------------


class Tipped(Results.bill.model):  # type: ignore[misc, name-defined]
    tip: Money | None = None


@program(Tipped, name="bill")
def tipped(s: Any, pages: Any) -> None:
    s += "Read this bill."


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A part of before a field was added, and one of after."""
    out = tmp_path / "grown"
    first = add(open_store(out), Results.valid("a.png"))
    while True:  # plain readers take the columns of the first part: it has to be the older one
        store = open_store(out, tipped)
        [path] = add(store, Results.valid("b.png", of=tipped, data={"tip": Decimal(1)}), chunk=str(random.random()))
        if path > first[0]:
            return out
        path.unlink()


def test_docflow_reads_old_and_new_rows_together(grown: Path) -> None:
    tips = {row["source"]: row["record"]["tip"] for row in Dataset(grown).records("bill")}
    assert tips == {"a.png": None, "b.png": Decimal(1)}
    rows = Dataset(grown).query("SELECT source, record.tip FROM bill ORDER BY 1").to_pylist()
    assert rows == [{"source": "a.png", "tip": None}, {"source": "b.png", "tip": Decimal(1)}]


def test_plain_readers_drop_the_new_field_in_silence(grown: Path) -> None:
    folder = grown / "records" / "program=bill"
    table = ds.dataset(folder, format="parquet").to_table()
    assert all("tip" not in row for row in table["record"].to_pylist())
    rows = duckdb.sql(f"SELECT record FROM '{folder}/*.parquet'").fetchall()
    assert all("tip" not in record for (record,) in rows)


def test_duckdb_reads_the_new_field_where_it_is_told_to_unite_the_names(grown: Path) -> None:
    glob = grown / "records" / "program=bill" / "*.parquet"
    rows = duckdb.sql(f"SELECT source, record.tip FROM read_parquet('{glob}', union_by_name = true) ORDER BY 1")
    assert rows.fetchall() == [("a.png", None), ("b.png", Decimal(1))]


def test_pyarrow_reads_the_new_field_where_it_is_given_both_schemas(grown: Path) -> None:
    paths = [str(path) for path in (grown / "records" / "program=bill").glob("*.parquet")]
    schema = pa.unify_schemas([pq.read_schema(path) for path in paths], promote_options="permissive")
    rows = ds.dataset(paths, schema=schema).to_table().to_pylist()
    assert {row["source"]: row["record"]["tip"] for row in rows} == {"a.png": None, "b.png": Decimal(1)}


def test_a_plain_glob_sees_merged_rows_twice_until_the_grace_time_ends_and_can_be_told_not_to(tmp_path: Path) -> None:
    many(tmp_path, 3)
    add(open_store(tmp_path), Results.failed("000-a.png", model="failed since"))
    compact(tmp_path)
    glob = tmp_path / "records" / "program=bill" / "*.parquet"
    assert len(duckdb.sql(f"SELECT * FROM '{glob}'").fetchall()) > 9
    newest = """
        QUALIFY created_at = max(created_at) OVER (PARTITION BY source, document_id)
            AND row_number() OVER (PARTITION BY source, document_id, first_page, created_at) = 1
    """
    rows = duckdb.sql(f"SELECT source, status FROM read_parquet('{glob}', union_by_name = true) {newest}").fetchall()
    assert sorted(rows) == seen(tmp_path)
    compact(tmp_path, grace_seconds=0)
    assert sorted(duckdb.sql(f"SELECT source, status FROM '{glob}'").fetchall()) == seen(tmp_path)


def test_merged_rows_have_all_fields_for_every_reader(grown: Path) -> None:
    compact(grown, grace_seconds=0)
    rows = duckdb.sql(f"SELECT source, record.tip FROM '{grown}/records/*/*.parquet' ORDER BY 1").fetchall()
    assert rows == [("a.png", None), ("b.png", Decimal(1))]
    [path] = grown.rglob("*.parquet")
    versions = pq.read_schema(path).metadata[b"docflow.versions"].decode()
    assert Results.bill.version in versions
    assert tipped.version in versions


# --- in any order -------------------------------------------------------------------------------------------------

SOURCES = ["a.png", "b.png", "c.png"]
STEP = st.one_of(
    st.tuples(st.just("valid"), st.lists(st.sampled_from(SOURCES), min_size=1, unique=True), st.booleans()),
    st.tuples(st.just("failed"), st.lists(st.sampled_from(SOURCES), min_size=1, unique=True), st.booleans()),
    st.tuples(st.just("compact"), st.sampled_from([0.0, 3600.0]), st.booleans()),
    st.tuples(st.just("copy"), st.none(), st.booleans()),
    st.tuples(st.just("forget"), st.sampled_from(SOURCES), st.booleans()),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=8))
def test_the_newest_row_of_each_document_is_seen_once_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any, bool]]
) -> None:
    out = tmp_path_factory.mktemp("steps")
    stores = [open_store(out), open_store(out)]
    expected: dict[str, tuple[str, str]] = {}
    add(stores[0], Results.valid("0.png"))
    expected["0.png"] = ("valid", "rules")
    for number, (what, about, which) in enumerate(steps):
        store = stores[which]
        if what in ("valid", "failed"):
            make = Results.valid if what == "valid" else Results.failed
            add(store, *(make(source, model=str(number)) for source in about))
            expected |= {source: (what, str(number)) for source in about}
        elif what == "compact":
            compact(out, grace_seconds=about)
        elif what == "copy":
            for path in out.rglob("*.parquet"):
                os.utime(path, (number, number))
        else:
            forget(out, about, out / "cache")
            expected.pop(about, None)
        rows = list(Dataset(out))
        assert {row["source"]: (row["status"], row["model"]) for row in rows} == expected
        assert len(rows) == len(expected) == len(Dataset(out).query("SELECT 1 FROM records"))


# --- at the same time ---------------------------------------------------------------------------------------------


def test_readers_writers_and_compactions_go_on_at_once(tmp_path: Path) -> None:
    """Every document that was there stays to be seen, once, by those who read all along."""
    many(tmp_path, 4)
    known = {source for source, status in seen(tmp_path) if status == "valid"}
    done = threading.Event()
    faults: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            while not done.is_set():
                work()
        except BaseException as error:
            faults.append(error)
            done.set()

    def read() -> None:
        sources = Counter(row["source"] for row in Dataset(tmp_path))
        assert max(sources.values()) == 1
        assert known <= set(sources)

    def ask() -> None:
        rows = Dataset(tmp_path).query("SELECT source, count(*) AS n FROM records GROUP BY ALL").to_pylist()
        assert {row["n"] for row in rows} == {1}
        assert known <= {row["source"] for row in rows}

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (read, ask, read)]
    for _ in range(2):
        threads.append(threading.Thread(target=guarded, args=(lambda: compact(tmp_path, grace_seconds=0),)))
    for thread in threads:
        thread.start()
    store = open_store(tmp_path)
    for number in range(25):
        add(store, Results.valid(f"new-{number}.png"), Results.failed(f"bad-{number}.png"))
        add(store, Results.valid(f"bad-{number}.png"))
        if done.is_set():
            break
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(seen(tmp_path)) == 12 + 50


CHILD = """
import sys
from pathlib import Path
from docflow.storage.compacting import compact
while True:
    print("begins", flush=True)
    compact(Path(sys.argv[1]), grace_seconds=0, part_bytes=int(sys.argv[2]))
"""


def test_a_compaction_that_is_killed_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    many(tmp_path, 10)
    wanted = seen(tmp_path)
    size = max(path.stat().st_size for path in tmp_path.rglob("part-*.parquet"))
    moments = random.Random(7)
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(4 * size)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(moments.uniform(0, 0.2))  # whatever it is at then
            child.send_signal(signal.SIGKILL)
        assert seen(tmp_path) == wanted
        add(open_store(tmp_path), Results.valid("more.png"), Results.failed("less.png"))
        wanted = sorted({*wanted, ("more.png", "valid"), ("less.png", "failed")})
        assert seen(tmp_path) == wanted
    compact(tmp_path, grace_seconds=0)
    assert seen(tmp_path) == wanted


# --- who may read it ----------------------------------------------------------------------------------------------


def test_everything_in_out_is_its_owners_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = os.umask(0)
    try:
        many(out, 3)
        compact(out)
        forget(out, "001-a.png", tmp_path / "cache")
        compact(out, grace_seconds=0)
    finally:
        os.umask(before)
    modes = {path.relative_to(out): path.stat().st_mode & 0o777 for path in (out, *out.rglob("*"))}
    assert {path: mode for path, mode in modes.items() if mode & 0o077} == {}
    assert snapshots.SNAPSHOTS in {path.parts[0] for path in modes if path.parts}
