"""Metrics of runs in a file: totals that grow, figures of the last run, whole or not at all."""

from __future__ import annotations

import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from docflow.engines.base import Usage
from docflow.errors import StorageError
from docflow.runs.metrics_file import write_metrics
from docflow.runs.model import Run
from docflow.settings import CostSettings

PRICES = CostSettings(currency="EUR", prompt_million=1.0, output_million=10.0)


def run(program: str = "receipt", **figures: Any) -> Run:
    counts = Counter({"valid": 3, "invalid": 1, "failed": 1})
    given: dict[str, Any] = {
        "counts": counts,
        "usage": Usage(prompt=1_000_000, cached=400, output=100_000, calls=9),
        "seconds": 12.0,
        "working_seconds": 10.0,
        "fallback": 2,
    }
    return Run(id="r", program=program, engine="sglang", runner="direct", **given | figures)


def read(path: Path) -> dict[tuple[str, ...], float]:
    """Every figure, by its name and the values of its labels."""
    families = text_string_to_metric_families(path.read_text())
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_run_is_told_in_figures(tmp_path: Path) -> None:
    path = tmp_path / "new" / "docflow.prom"
    write_metrics(path, run(), PRICES)
    told = read(path)
    assert told["docflow_run_documents_total", "receipt", "valid"] == 3
    assert told["docflow_run_documents_total", "receipt", "failed"] == 1
    assert told["docflow_run_tokens_total", "prompt", "receipt"] == 1_000_000
    assert told["docflow_run_cost_total", "EUR", "receipt"] == pytest.approx(2.0)
    assert told["docflow_run_fallback_total", "receipt"] == 2
    assert told["docflow_run_total", "complete", "receipt"] == 1
    assert told["docflow_run_documents_per_second", "sglang", "receipt"] == 0.5
    assert told["docflow_run_exit_code", "sglang", "receipt"] == 1
    assert "_created" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["docflow.prom"]


def test_nothing_is_said_of_money_without_prices(tmp_path: Path) -> None:
    write_metrics(tmp_path / "docflow.prom", run(), CostSettings())
    assert "cost" not in (tmp_path / "docflow.prom").read_text()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["receipt", 'in\nvoice"\\']), st.integers(0, 50)), min_size=1, max_size=6))
def test_totals_grow_from_run_to_run_and_last_figures_are_the_last_ones(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "docflow.prom"
    for program, failed in runs:
        write_metrics(path, run(program, counts=Counter(failed=failed)), PRICES)
    told = read(path)
    for program in {program for program, _ in runs}:
        failures = [failed for name, failed in runs if name == program]
        assert told["docflow_run_documents_total", program, "failed"] == sum(failures)
        assert told["docflow_run_failed_documents", "sglang", program] == failures[-1]
        assert told["docflow_run_total", "complete", program] == len(failures)


def test_another_engine_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "docflow.prom"
    write_metrics(path, run(), PRICES)
    other = run()
    other.engine = "embedded"
    write_metrics(path, other, PRICES)
    told = read(path)
    assert ("docflow_run_seconds", "embedded", "receipt") in told
    assert ("docflow_run_seconds", "sglang", "receipt") not in told


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"docflow_run_total{", b'a{b="c"} x', b"x" * (2 << 20)])
def test_a_file_that_holds_something_else_is_begun_anew(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "docflow.prom"
    path.write_bytes(content)
    write_metrics(path, run(), PRICES)
    assert read(path)["docflow_run_total", "complete", "receipt"] == 1


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="metrics"):
        write_metrics(tmp_path / "file" / "docflow.prom", run(), PRICES)
