"""What the runs of a dataset did, from its rows and what runs left at their end."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from docflow.engines.base import Usage
from docflow.errors import StorageError, UsageError
from docflow.runs.costs import money
from docflow.runs.ledger import past_run, past_runs
from docflow.settings import CostSettings
from docflow.storage.store import Store
from tests.unit.cli.conftest import docflow  # noqa: F401 (a fixture)
from tests.unit.storage.results import Results

KILLED = "20240312T091000-abc123"
TEN_PAST = dt.datetime(2024, 3, 12, 9, 10, 20, tzinfo=dt.UTC)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run that was killed, of a server and its fallback: it left rows alone."""
    store = Store(tmp_path / "out", Results.bill, "sglang", "tiny", KILLED)
    asked: dict[str, Any] = {
        "requested_engine": "sglang",
        "requested_model": "tiny",
        "created_at": TEN_PAST,
        "seconds": 2.0,
    }
    tokens = Usage(prompt=1000, cached=400, output=50, calls=1)
    results = [
        Results.valid("a.png", engine="sglang", model="tiny", usage=tokens, **asked),
        Results.valid("b.png", engine="sglang", model="tiny", usage=tokens, **asked),
        Results.valid("c.png", engine="vllm", model="other", usage=tokens, fallback=True, **asked),
        Results.failed("d.png", engine="sglang", model="tiny", **asked),
    ]
    store.write([store.row(result)[1] for result in results], ["x"])
    return tmp_path / "out"


def test_a_run_that_was_killed_is_told_from_its_rows(out: Path) -> None:
    [run] = past_runs(out)
    assert (run.id, run.state, run.program, run.engine, run.model) == (KILLED, "unfinished", "bill", "sglang", "tiny")
    assert run.counts == {"valid": 3, "invalid": 0, "failed": 1}
    assert run.usage == Usage(3000, 1200, 150, 3)
    assert (run.seconds, run.work_seconds) == (20.0, 8.0)
    assert [(share.engine, share.fallback, share.documents) for share in run.shares] == [
        ("sglang", False, 3),
        ("vllm", True, 1),
    ]


def test_what_a_run_left_at_its_end_counts_more_than_the_rows_that_are_left(out: Path) -> None:
    kept = {
        "started_at": "2024-03-12T09:10:00+00:00",
        "seconds": 30.0,
        "working_seconds": 25.0,
        "stopped": True,
        "program": "bill",
        "engine": "sglang",
        "counts": {"valid": 3, "failed": 2},
        "skipped": 7,
        "skipped_failed": 1,
        "usage": {"prompt": 5000, "cached": 0, "output": 200, "calls": 6},
    }
    (out / "runs").mkdir()
    (out / "runs" / f"{KILLED}.json").write_text(json.dumps(kept))
    run = past_run(out, "last")
    assert (run.state, run.documents, run.skipped, run.usage.prompt) == ("interrupted", 5, 7, 5000)
    assert run.documents_per_second == pytest.approx(0.2)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"counts": 3}'])
def test_a_damaged_file_of_a_run_costs_nothing_but_what_it_said(out: Path, content: str) -> None:
    (out / "runs").mkdir()
    (out / "runs" / f"{KILLED}.json").write_text(content)
    assert [run.state for run in past_runs(out)] == ["unfinished"]


def test_a_run_is_named_by_how_its_id_begins(out: Path) -> None:
    assert past_run(out, "20240312").id == KILLED
    with pytest.raises(UsageError, match="no run 'nobody'"):
        past_run(out, "nobody")
    with pytest.raises(StorageError):
        past_runs(out / "elsewhere")


def test_money_follows_the_prices_that_are_set() -> None:
    usage = Usage(prompt=2_000_000, cached=1_000_000, output=500_000)
    assert money(CostSettings(), usage, 3600) is None
    assert money(CostSettings(prompt_million=2), usage, 3600) == pytest.approx(4)
    assert money(CostSettings(prompt_million=2, cached_million=0.5, output_million=4), usage, 0) == pytest.approx(4.5)
    assert money(CostSettings(server_hour=3, servers=2), Usage(), 1800) == pytest.approx(3)


def test_the_commands_list_and_show_runs(
    out: Path,
    docflow: Callable[..., Result],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = docflow("runs", out).output
    assert KILLED in listed
    assert "unfinished" in listed
    assert "cost" not in docflow("runs", "show", "last", "--out", out).output
    monkeypatch.setenv("DOCFLOW_COSTS__PROMPT_MILLION", "1000")
    monkeypatch.setenv("DOCFLOW_COSTS__CURRENCY", "CHF")
    shown = docflow("runs", "show", KILLED, "--out", out).output
    assert "3.00 CHF" in shown
    assert "(fallback)" in shown
    told = json.loads(docflow("runs", "show", "last", "--out", out, "--json").stdout)
    assert told["cost_per_valid_record"] == pytest.approx(1.0)
    assert told["tokens"] == {"prompt": 3000, "cached": 1200, "output": 150, "calls": 3}
    assert len(json.loads(docflow("runs", "list", out, "--json").stdout)) == 1


def test_many_rows_are_counted_in_columns(out: Path) -> None:
    [part] = (out / "records" / "program=bill").glob("part-*.parquet")
    table = pq.read_table(part)
    many = pa.concat_tables([table] * 20_000)
    pq.write_table(many, part.with_name("part-many.parquet"))
    began = dt.datetime.now(dt.UTC)
    [run] = past_runs(out)
    assert run.documents == 3 * 20_001 + 1
    assert (dt.datetime.now(dt.UTC) - began).total_seconds() < 5
