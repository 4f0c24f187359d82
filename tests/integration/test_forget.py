"""Forgetting a document removes all that is kept of it, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import docflow.storage.seen as seen_files
from docflow.cli.app import app
from docflow.documents.sources import SourceItem
from docflow.errors import StorageError
from docflow.reading.cache import WordsCache
from docflow.runs.forgetting import forget, matches
from docflow.storage import Dataset
from docflow.storage.corrections import Corrections, Said
from docflow.storage.store import Store
from tests.unit.storage.results import Results

NAMES = ("a.png", "copy.png", "b.png")
ID = Results.document_id("same")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    cache = WordsCache(tmp_path / "cache", "reader", 10)
    for page in (1, 2):
        cache.put(ID, page, (), 1.0)
    cache.put(Results.document_id("b.png"), 1, (), 1.0)
    return tmp_path / "cache"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three rows in one part, two of them of the same bytes; a failed document; what else is kept of them."""
    out = tmp_path / "out"
    store = Store(out, Results.bill, "embedded", "rules", "one")
    results = [
        Results.valid("a.png", "same"),
        Results.valid("copy.png", "same"),
        Results.valid("b.png"),
        Results.failed("broken.png"),
    ]
    store.write([store.row(result)[1] for result in results], ["x"])
    rows = list(Dataset(out).records())
    corrections = Corrections(out)
    for row in rows:
        if row["source"] in ("a.png", "b.png"):
            corrections.add(row, [Said("company", "accept", seen="ACME")], "me")
    seen = seen_files.Seen(out)
    for name in NAMES:
        seen.remember(
            SourceItem(name, Path(f"/{name}"), stamp="s"), Results.document_id("b.png") if name == "b.png" else ID
        )
    seen.save()
    (out / "runs").mkdir()
    given = {"sources": ["/scans/a.png", "/scans/b.png", "/scans"]}
    (out / "runs" / "one.json").write_text(json.dumps(given))
    (out / "runs" / "two.json").write_text("nonsense")
    return out


def sources(out: Path) -> list[str]:
    return sorted(row["source"] for row in Dataset(out).records())


def test_a_document_goes_from_every_place_and_its_neighbours_stay(out: Path, cache: Path) -> None:
    gone = forget(out, ID, cache)
    assert (gone.rows, gone.pages, gone.corrections, gone.index, gone.runs, gone.shared) == (2, 2, 1, 2, 1, 0)
    assert sources(out) == ["b.png", "broken.png"]
    assert Corrections(out).document_ids == [Results.document_id("b.png")]
    assert WordsCache(cache, "reader", 10).get(ID, 1) is None
    assert WordsCache(cache, "reader", 10).get(Results.document_id("b.png"), 1) is not None
    left = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    for name in (ID.encode(), b"a.png", b"copy.png"):
        assert name not in left
    assert json.loads((out / "runs" / "one.json").read_text())["sources"] == ["(forgotten)", "/scans/b.png", "/scans"]


def test_forgetting_again_removes_nothing(out: Path, cache: Path) -> None:
    forget(out, ID, cache)
    assert forget(out, ID, cache).nothing
    assert forget(out, "a.png", cache).nothing


def test_a_source_goes_and_the_same_bytes_under_another_name_stay(out: Path, cache: Path) -> None:
    gone = forget(out, "copy.png", cache)
    assert (gone.rows, gone.pages, gone.corrections, gone.shared) == (1, 0, 0, 1)
    assert sources(out) == ["a.png", "b.png", "broken.png"]
    last = forget(out, "a.png", cache)
    assert (last.rows, last.pages, last.corrections, last.shared) == (1, 2, 1, 0)


def test_a_failed_document_is_forgotten_and_its_empty_part_goes(out: Path, cache: Path) -> None:
    assert forget(out, "broken.png", cache).rows == 1
    assert not list((out / "records").rglob("failed-*.parquet"))
    assert matches(out, "broken.png").nothing


def test_a_forgotten_document_is_to_do_again(out: Path, cache: Path) -> None:
    forget(out, "b.png", cache)
    store = Store(out, Results.bill, "embedded", "rules", "two")
    assert not store.is_done("b.png", Results.document_id("b.png"))
    assert store.is_done("a.png", ID)


def test_where_there_is_no_dataset_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no dataset"):
        forget(tmp_path / "nowhere", ID, tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_the_command_wants_an_answer_and_says_what_it_removed(
    out: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCFLOW_CACHE_DIR", str(cache))
    refused = CliRunner().invoke(app, ["forget", "a.png", "--out", str(out)])
    assert refused.exit_code != 0
    assert len(sources(out)) == 4
    done = CliRunner().invoke(app, ["forget", ID, "--out", str(out), "--yes"])
    assert done.exit_code == 0
    assert "Removed 2 rows, 2 pages of words, 1 file of corrections, 2 entries of the index." in done.output
    again = CliRunner().invoke(app, ["forget", ID, "--out", str(out), "--yes"])
    assert again.exit_code == 0
    assert "There is nothing of" in again.output
    told = CliRunner().invoke(app, ["forget", "b.png", "--out", str(out), "--yes", "--json"])
    assert json.loads(told.stdout)["rows"] == 1
