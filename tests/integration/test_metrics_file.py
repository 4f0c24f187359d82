"""--metrics-file, with real runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import docflow.api as api
from docflow.runs import RunOptions
from docflow.settings import load_settings

ROOT = Path(__file__).parents[2]


def figures(path: Path, name: str) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {sample.labels["status"]: sample.value for sample in samples}


def options(tmp_path: Path, metrics: Path) -> RunOptions:
    settings = load_settings({"telemetry.metrics_file": metrics, "extraction.grounding": "text-layer"})
    return RunOptions(sources=(str(tmp_path / "in"),), program="receipt", out=tmp_path / "out", settings=settings)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    document = next((ROOT / "samples" / "starter" / "documents").glob("*.pdf"))
    shutil.copy(document, tmp_path / "in" / "one.pdf")
    (tmp_path / "in" / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing")
    return tmp_path


def test_runs_add_up_in_the_file_of_metrics(inbox: Path) -> None:
    metrics = inbox / "docflow.prom"
    first = api.run(options(inbox, metrics))
    told = figures(metrics, "docflow_run_documents_total")
    assert told == {"valid": first.valid, "invalid": first.invalid, "failed": 1, "skipped": 0}
    assert first.valid + first.invalid == 1
    api.run(options(inbox, metrics))
    assert figures(metrics, "docflow_run_documents_total") == told | {"skipped": 1}


def test_a_run_stands_whatever_becomes_of_its_metrics(inbox: Path) -> None:
    (inbox / "file").touch()
    run = api.run(options(inbox, inbox / "file" / "docflow.prom"))
    assert run.documents == 2
    assert any("metrics cannot be written" in note for note in run.notes)
