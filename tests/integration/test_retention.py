"""What is kept for a time only: documents, words, summaries of runs, parts that were merged."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image
from pydantic import BaseModel
from typer.testing import CliRunner

from docflow.cli.app import app
from docflow.engines.scripted import ScriptedEngine
from docflow.fields.kinds import Money
from docflow.reading.cache import WordsCache
from docflow.runs import RunOptions, execute
from docflow.runs.forgetting import forget_older, older_than
from docflow.runs.retention import tidy
from docflow.settings import Settings, load_settings
from docflow.storage import Dataset
from docflow.storage.compacting import compact
from docflow.storage.store import Store
from tests.unit.storage.results import Results

DAY = 86_400.0


def ago(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) - dt.timedelta(days=days)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Old rows, new rows, a document with both, and two files that could not be read."""
    out = tmp_path / "out"
    store = Store(out, Results.bill, "embedded", "rules", "one")
    results = [
        Results.valid("old.png", created_at=ago(100)),
        Results.valid("new.png", created_at=ago(1)),
        Results.valid("moved-old.png", "moved", created_at=ago(100)),
        Results.valid("moved-new.png", "moved", created_at=ago(1)),
        Results.failed("unread-old.png", document_id="", created_at=ago(100)),
        Results.failed("unread-new.png", document_id="", created_at=ago(1)),
    ]
    for result in results:
        store.write([store.row(result)[1]], [result.source])
    return out


def sources(out: Path) -> list[str]:
    return sorted(row["source"] for row in Dataset(out))


@pytest.mark.parametrize("merged", [False, True])
def test_documents_of_which_nothing_newer_is_said_are_forgotten(out: Path, tmp_path: Path, merged: bool) -> None:
    if merged:
        compact(out)
    there = older_than(out, 90 * DAY)
    assert there.sources == ("old.png", "unread-old.png")
    gone = forget_older(out, 90 * DAY, tmp_path / "cache")
    assert (gone.rows, gone.sources) == (2, there.sources)
    assert sources(out) == ["moved-new.png", "moved-old.png", "new.png", "unread-new.png"]
    assert forget_older(out, 90 * DAY, tmp_path / "cache").nothing


def test_nothing_goes_where_nothing_is_set(out: Path, tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path / "cache")
    before = sources(out)
    assert tidy(out, settings) == []
    assert sources(out) == before


def test_what_is_set_goes(out: Path, tmp_path: Path) -> None:
    cache = WordsCache(tmp_path / "cache", "reader", 10)
    for document in ("long ago", "today"):
        cache.put(document, 1, (), 1.0)
    [old] = (tmp_path / "cache" / "words").glob(f"*/{cache._path('long ago', 1).name}")
    os.utime(old, (0, 0))
    runs = [out / "runs" / f"{when:%Y%m%dT%H%M%S}-abcdef.json" for when in (ago(40), ago(2))]
    runs[0].parent.mkdir()
    for path in (*runs, out / "runs" / "mine.json"):
        path.write_text("{}")
    settings = load_settings(
        {
            "cache_dir": str(tmp_path / "cache"),
            "retention.documents_days": 90,
            "retention.words_days": 30,
            "retention.runs_days": 30,
        }
    )
    notes = tidy(out, settings)
    assert [note.split(" of ")[0] for note in notes] == ["removed: 2 rows", "removed: 1 page", "removed: 1 summary"]
    assert "old.png" not in sources(out)
    assert cache.get("long ago", 1) is None
    assert cache.get("today", 1) is not None
    assert [path.exists() for path in runs] == [False, True]
    assert (out / "runs" / "mine.json").exists()


class Ticket(BaseModel):
    total: Money | None = None


def test_a_run_applies_what_is_set_at_its_end(out: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "scan.png")
    settings = load_settings({"retention.documents_days": 90, "extraction.grounding": "off"})
    engine = ScriptedEngine(default={"total": "1.00"})
    run = execute(
        RunOptions(sources=(tmp_path / "scan.png",), program=Ticket, engine=engine, settings=settings, out=out)
    )
    assert any("retention.documents_days" in note for note in run.notes)
    assert "old.png" not in sources(out)
    assert "scan.png" in sources(out)


def test_the_command_shows_asks_and_removes(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCFLOW_CACHE_DIR", str(tmp_path / "cache"))
    shown = CliRunner().invoke(app, ["forget", "--older-than", "90d", "--out", str(out), "--dry-run"])
    assert shown.exit_code == 0
    assert "Would remove 2 rows of 1 document" in shown.output
    refused = CliRunner().invoke(app, ["forget", "--older-than", "90d", "--out", str(out)])
    assert refused.exit_code != 0
    both = CliRunner().invoke(app, ["forget", "old.png", "--older-than", "90d", "--out", str(out), "--yes"])
    assert both.exit_code != 0
    assert "old.png" in sources(out)
    done = CliRunner().invoke(app, ["forget", "--older-than", "90d", "--out", str(out), "--yes"])
    assert "Removed 2 rows" in done.output
    assert "old.png" not in sources(out)


def test_compact_says_what_it_did(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCFLOW_CACHE_DIR", str(tmp_path / "cache"))
    would = CliRunner().invoke(app, ["compact", str(out), "--dry-run"])
    assert "Would merge 6 parts of 6 into 2: 6 rows" in would.output
    done = CliRunner().invoke(app, ["compact", str(out)])
    assert done.exit_code == 0
    assert re.search(r"Merged 6 parts of 6 into 2: 6 rows, [1-9][\d.]+ KiB now [1-9][\d.]+ KiB\.", done.output)
    assert "6 parts that were merged wait" in done.output
    again = json.loads(CliRunner().invoke(app, ["compact", str(out), "--grace", "0", "--json"]).stdout)
    assert (again["merged"], again["removed"], again["waiting"]) == (0, 6, 0)
    assert len(sources(out)) == 6
