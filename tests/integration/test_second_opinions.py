"""--verify and --cheap-first through a whole run, with an engine whose replies come from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reportlab.pdfgen.canvas import Canvas

from docflow.errors import ConfigError
from docflow.extraction import Result
from docflow.runs import Run, RunOptions, execute
from docflow.settings import ExtractionSettings, Settings

LINES = ["ACME TRADING LTD", "12 High Street", "Receipt", "Date: 25/12/2023", "Blue pen 1.50", "TOTAL 1.50"]


def _receipt(path: Path) -> Path:
    canvas = Canvas(str(path), pagesize=(300, 200))
    for number, line in enumerate(LINES):
        canvas.drawString(20, 170 - 20 * number, line)
    canvas.save()
    return path


def _engine(path: Path, *replies: dict[str, object]) -> str:
    path.write_text("".join(f"{json.dumps(reply)}\n" for reply in replies), encoding="utf-8")
    return f"scripted={path}"


def _schema(path: Path) -> str:
    leaf = {"type": ["number", "null"], "x-kind": "money"}
    path.write_text(json.dumps({"type": "object", "properties": {"total": leaf}}), encoding="utf-8")
    return str(path)


def _run(in_tmp: Path, engine: str, **extraction: float) -> tuple[Run, Result[Any]]:
    options = RunOptions(
        sources=(_receipt(in_tmp / "receipt.pdf"),),
        schema=_schema(in_tmp / "bill.schema.json"),
        engine=engine,
        runner="direct",
        settings=Settings(extraction=ExtractionSettings(**extraction)),  # type: ignore[arg-type]
    )
    results: list[Result[Any]] = []
    run = execute(options, on_result=results.append)
    return run, results[0]


def test_cheap_first_says_what_the_other_engine_was_not_needed_for(in_tmp: Path) -> None:
    engine = _engine(in_tmp / "replies.jsonl", {"total": "1.50"})
    run, result = _run(in_tmp, engine, cheap_first_below=0.01)
    assert (result.engine, result.requested_engine, result.usage.calls) == ("embedded", "scripted", 0)
    assert run.spared == {"documents": 1, "all documents": 1, "leaves": 1, "all leaves": 1}
    assert "not needed for 1 of 1 documents and 1 of 1 values" in run.notes[-1]
    run, result = _run(in_tmp, engine, cheap_first_below=1.0)
    assert (result.engine, result.usage.calls) == ("scripted", 1)
    assert (run.spared["documents"], run.spared["leaves"]) == (0, 0)


def test_cheap_first_with_the_cheap_engine_alone_is_refused(in_tmp: Path) -> None:
    with pytest.raises(ConfigError, match="the cheap one"):
        _run(in_tmp, "embedded", cheap_first_below=0.8)


def test_verify_asks_once_more_for_what_is_unsure(in_tmp: Path) -> None:
    engine = _engine(in_tmp / "replies.jsonl", {"total": "1.50"})
    _, once = _run(in_tmp, engine)
    _, twice = _run(in_tmp, engine, verify_below=0.8)
    assert (once.usage.calls, twice.usage.calls) == (1, 2)
    assert twice.evidence[0].confidence > once.evidence[0].confidence
