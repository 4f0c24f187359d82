from __future__ import annotations

import datetime as dt
import json
import multiprocessing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.documents.model import Box
from docflow.errors import StorageError, UsageError
from docflow.extraction.result import Evidence
from docflow.fields import locale_named
from docflow.storage import Dataset
from docflow.storage.corrections import CORRECTIONS, Corrections, Said, as_truth, undecided
from docflow.storage.overlay import keys_of, path_of
from docflow.storage.store import Store
from docflow.storage.typed_text import as_text, from_text
from docflow.storage.view import View
from tests.unit.storage.results import Line, Results

TEA = {"name": "Tea", "count": Decimal(2)}
CAKE = {"name": "Cake", "count": Decimal(1)}


def record(**changes: Any) -> dict[str, Any]:
    basis = {"company": "ACME", "date": dt.date(2024, 3, 12), "total": Decimal("12.50"), "items": [TEA, CAKE]}
    return basis | changes


def write(
    out: Path, data: dict[str, Any], *, run: str = "one", source: str = "a.png", content: str = "the bytes"
) -> None:
    store = Store(out, Results.bill, "embedded", run, run)
    evidence = (
        Evidence("company", "ACME", "ACME Ltd", 1, Box(1, 2, 30, 40), "exact", 0.9),
        Evidence("total", str(data["total"]), "12,50", 1, Box(1, 50, 30, 60), "normalised", 0.4),
        Evidence("items[0].count", "2", "2", 1, Box(1, 80, 30, 90), "exact", 0.8),
        Evidence("items[1].count", "1", "1", 1, Box(1, 100, 30, 110), "exact", 0.7),
    )
    result = Results.valid(source, content, data=data, evidence=evidence)
    store.write([store.row(result)[1]], [run])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write(tmp_path / "out", record())
    return tmp_path / "out"


def say(out: Path, path: str, action: Any = "accept", text: str | None = None, **more: Any) -> None:
    corrections = Corrections(out)
    row = next(iter(Dataset(out).records("bill")))
    from docflow.storage.overlay import value_at

    value = value_at(row["record"], keys_of(path))
    seen = None if isinstance(value, dict | list) else as_text(value)
    corrections.add(row, [Said(path, action, text, more.pop("seen", seen))], "Ann", **more)


def corrected(out: Path) -> dict[str, Any]:
    row: dict[str, Any] = next(iter(Dataset(out).records("bill", corrected=True)))
    return row


def test_a_corrected_value_is_typed_and_the_parts_stay_as_they_are(out: Path) -> None:
    parts = {path: path.read_bytes() for path in (out / "records").rglob("*.parquet")}
    say(out, "total", "correct", "1.234,50", locale=locale_named("de_DE"))
    say(out, "date", "absent")
    row = corrected(out)
    assert row["record"]["total"] == Decimal("1234.5")
    assert row["record"]["date"] is None
    entry = next(entry for entry in row["evidence"] if entry["path"] == "total")
    assert (entry["value"], entry["confidence"], entry["found"], entry["x0"]) == ("1234.5", 1.0, None, 1)
    assert {path: path.read_bytes() for path in parts} == parts
    assert next(iter(Dataset(out).records("bill")))["record"]["total"] == Decimal("12.5")


def test_a_file_says_who_when_and_what_and_keeps_what_was_said_before(out: Path) -> None:
    say(out, "total", "correct", "13.50")
    say(out, "total", "accept")
    (file,) = (out / CORRECTIONS).glob("*.json")
    said = json.loads(file.read_text())["corrections"]
    assert [(one["action"], one["old"], one["value"], one["who"]) for one in said] == [
        ("correct", "12.5", "13.5", "Ann"),
        ("accept", "12.5", "12.5", "Ann"),
    ]
    assert dt.datetime.fromisoformat(said[0]["when"]).tzinfo is not None
    assert corrected(out)["record"]["total"] == Decimal("12.5")


def test_what_is_withdrawn_no_longer_counts(out: Path) -> None:
    say(out, "total", "correct", "13.50")
    say(out, "total", "withdraw")
    assert corrected(out)["record"]["total"] == Decimal("12.5")
    assert list(as_truth(out)) == []
    with pytest.raises(UsageError, match="nothing was said"):
        say(out, "total", "withdraw")


@pytest.mark.parametrize(
    ("path", "action", "text", "why"),
    [
        ("total", "correct", "a lot", "no figures"),
        ("total", "correct", "1.234", "can be read as"),
        ("total", "correct", "1234567890123456789", "18 digits"),
        ("total", "correct", "  ", "empty"),
        ("date", "correct", "03/04/2024", "can be read as 2024-0"),
        ("date", "correct", "tomorrow", "no date"),
        ("company", "correct", "A\x1b[2J", "control"),
        ("company", "correct", "A" * 10_001, "10,000"),
        ("nothing", "accept", None, "has no nothing"),
        ("items[7].name", "accept", None, r"has no items\[7\]"),
        ("items[+99999].name", "correct", "Jam", "counts too far"),
        ("items", "absent", None, "group of values"),
        ("items", "accept", None, "value by value"),
        ("items[0]", "correct", "Jam", "group of values"),
        ("..", "accept", None, "no path"),
        ("items[-1].name", "accept", None, "no path"),
        ("total[0]", "accept", None, r"has no total\[0\]"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_stored(
    out: Path, path: str, action: str, text: str | None, why: str
) -> None:
    row = next(iter(Dataset(out).records("bill")))
    corrections = Corrections(out)
    good = Said("company", "accept", None, "ACME")
    seen = {"total": "12.5", "date": "2024-03-12", "company": "ACME"}.get(path)
    with pytest.raises(UsageError, match=why):
        corrections.add(row, [good, Said(path, action, text, seen)], "Ann")  # type: ignore[arg-type]
    assert not list((out / CORRECTIONS).glob("*.json"))


def test_an_answer_about_a_value_that_was_read_again_is_refused(out: Path) -> None:
    with pytest.raises(UsageError, match="read again"):
        say(out, "total", "accept", seen="99")


def test_rows_are_removed_and_added(out: Path) -> None:
    say(out, "items[0]", "absent")
    say(out, "items[+1].name", "correct", "Jam")
    say(out, "items[+1].count", "correct", "3")
    row = corrected(out)
    assert row["record"]["items"] == [CAKE, {"name": "Jam", "count": Decimal(3)}]
    assert [entry["path"] for entry in row["evidence"]] == [
        "company",
        "total",
        "items[0].count",
        "items[1].name",
        "items[1].count",
    ]


def test_corrections_outlive_another_run_and_find_their_row_where_rows_moved(out: Path) -> None:
    say(out, "items[1].count", "correct", "5")
    say(out, "total", "accept")
    write(out, record(total=Decimal("99"), items=[{"name": "Jam", "count": None}, TEA, CAKE]), run="two")
    row = corrected(out)
    assert [item["count"] for item in row["record"]["items"]] == [None, Decimal(2), Decimal(5)]
    assert row["record"]["total"] == Decimal("12.5")


def test_a_correction_of_a_row_that_is_gone_is_kept_and_applied_to_no_other(out: Path) -> None:
    say(out, "items[1].count", "correct", "5")
    write(out, record(items=[TEA, {"name": "Bread", "count": Decimal(3)}]), run="two")
    assert [item["count"] for item in corrected(out)["record"]["items"]] == [Decimal(2), Decimal(3)]
    row = next(iter(Dataset(out).records("bill")))
    assert [lost.path for lost in Corrections(out).applied(row).lost] == ["items[1].count"]


def test_a_document_is_done_when_every_value_is_decided(out: Path) -> None:
    row = next(iter(Dataset(out).records("bill")))
    corrections = Corrections(out)
    open_paths = undecided(row, corrections.applied(row))
    assert open_paths == [
        "company",
        "date",
        "total",
        *(f"items[{i}].{name}" for i in (0, 1) for name in Line.model_fields),
    ]
    say(out, "items[0]", "absent")
    for path in open_paths:
        if not path.startswith("items[0]"):
            say(out, path)
    (reviewed,) = as_truth(out)
    assert reviewed.complete
    assert reviewed.record["items"] == [CAKE]
    assert {"total", "items[0].name", "items[0].count"} < reviewed.decided


def test_truth_says_what_was_right_and_how_sure_docflow_was(out: Path) -> None:
    say(out, "company")
    say(out, "total", "correct", "13.50")
    say(out, "items[1]", "absent")
    (reviewed,) = as_truth(out)
    assert not reviewed.complete
    assert [(leaf.path, leaf.answered, leaf.truth, leaf.confidence, leaf.right) for leaf in reviewed.leaves] == [
        ("company", "ACME", "ACME", 0.9, True),
        ("total", Decimal("12.5"), Decimal("13.5"), 0.4, False),
        ("items[1].name", "Cake", None, None, False),
        ("items[1].count", Decimal(1), None, 0.7, False),
    ]


def test_arrow_and_several_programs_take_corrections_too(out: Path) -> None:
    letters = Store(out, Results.letter, "embedded", "rules", "letters")
    letters.write([letters.row(Results.valid("letter.pdf", of=Results.letter))[1]], ["letters"])
    say(out, "date", "correct", "2024-03-13")
    table = Dataset(out).arrow(corrected=True)  # dates of bills and texts of letters: a common column of text
    dates = {row["program"]: row["record"]["date"] for row in table.select(["program", "record"]).to_pylist()}
    assert dates == {"bill": "2024-03-13", "letter": "spring"}
    assert Dataset(out).arrow("bill", columns=["record"], corrected=True).num_rows == 1


def test_a_query_sees_what_reviewers_corrected_and_what_was_read(out: Path) -> None:
    write(out, record(total=Decimal(1)), run="two", source="b.png", content="other bytes")
    letters = Store(out, Results.letter, "embedded", "rules", "letters")
    letters.write([letters.row(Results.valid("letter.pdf", "the bytes", of=Results.letter))[1]], ["letters"])
    say(out, "total", "correct", "13.50")
    say(out, "date", "absent")
    dataset = Dataset(out)
    totals = dataset.query("SELECT source, record.total, record.date FROM bill ORDER BY source").to_pylist()
    assert totals == [
        {"source": "a.png", "total": Decimal("13.5"), "date": None},
        {"source": "b.png", "total": Decimal(1), "date": dt.date(2024, 3, 12)},
    ]
    query = "SELECT source, program, record.total FROM {} ORDER BY source"
    seen, read = (dataset.query(query.format(view)).to_pylist() for view in ("records", "extracted"))
    assert [row["total"] for row in seen] == [Decimal("13.5"), Decimal(1), None]
    assert [row["total"] for row in read] == [Decimal("12.5"), Decimal(1), None]
    assert [row["source"] for row in seen] == [row["source"] for row in read] == ["a.png", "b.png", "letter.pdf"]


def test_a_query_sees_the_newest_row_of_a_reviewed_document_once(out: Path) -> None:
    say(out, "total", "correct", "13.50")
    store = Store(out, Results.bill, "sglang", "qwen", "two")
    store.write([store.row(Results.valid("a.png", "the bytes", requested_engine="sglang", data=record()))[1]], ["two"])
    rows = Dataset(out).query("SELECT requested_engine, record.total FROM records").to_pylist()
    assert rows == [{"requested_engine": "sglang", "total": Decimal("13.5")}]


def test_a_query_without_corrections_reads_no_row_by_itself(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say(out, "total", "correct", "13.50")
    say(out, "total", "withdraw")
    monkeypatch.setattr(View, "batches", None)
    assert Dataset(out).query("SELECT record.total FROM bill").to_pylist() == [{"total": Decimal("12.5")}]


def test_a_damaged_file_is_named(out: Path) -> None:
    say(out, "total")
    (file,) = (out / CORRECTIONS).glob("*.json")
    file.write_text('{"format": 1, "corrections": [{"path": "../x"}]}')
    with pytest.raises(StorageError, match="no file of corrections"):
        corrected(out)


def _accept(out: Path, path: str) -> None:
    say(out, path)


def test_two_processes_lose_nothing_of_each_other(out: Path) -> None:
    paths = ["company", "total"]
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_accept, args=(out, path)) for path in paths]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    row = next(iter(Dataset(out).records("bill")))
    assert set(Corrections(out).applied(row).placed) == set(paths)


@given(st.decimals(min_value=-(10**17), max_value=10**17, places=6))
def test_amounts_as_text_come_back_the_same(number: Decimal) -> None:
    from docflow.storage.arrow_types import DECIMAL

    assert from_text(as_text(number), DECIMAL) == number


@given(
    st.lists(
        st.one_of(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), st.integers(-999_999, 999_999)), min_size=1, max_size=6
    ).filter(lambda keys: isinstance(keys[0], str))
)
def test_paths_taken_apart_come_back_the_same(keys: list[str | int]) -> None:
    assert keys_of(path_of(keys)) == tuple(keys)


@given(st.text(max_size=40))
def test_any_text_is_a_path_that_comes_back_the_same_or_is_refused(text: str) -> None:
    try:
        keys = keys_of(text)
    except ValueError:
        return
    assert keys_of(path_of(keys)) == keys
