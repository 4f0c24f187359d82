"""Runs that stop when a budget is reached, and go on when they are started again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docflow.cli import options as cli_options
from docflow.engines.base import Answer, Request, Usage
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import ConfigError, UsageError
from docflow.runs import Run, execute
from docflow.runs.ledger import past_run, past_runs
from docflow.settings import load_settings
from docflow.storage import Dataset
from tests.integration.test_runs import ANSWER, options


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(12):
        Image.new("L", (20 + number, 20), number).save(folder / f"{number:02}.png")
    return folder


class CountingEngine(ScriptedEngine):
    """100 tokens a document, and as long as it is told."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(default=ANSWER)
        self._seconds = seconds

    def answer(self, request: Request) -> Answer:
        time.sleep(self._seconds)
        given = super().answer(request)
        return Answer(text=given.text, usage=Usage(prompt=90, output=10, calls=1), engine=given.engine, model="")


def run(folder: Path, out: Path, settings: dict[str, Any] | None = None, engine: ScriptedEngine | None = None) -> Run:
    how = load_settings({"extraction.grounding": "off", **(settings or {})})
    return execute(options(folder, out=out, engine=engine or CountingEngine(), settings=how, concurrency=1))


def test_a_budget_of_documents_is_kept_exactly_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for done in (5, 10):
        stopped = run(folder, out, {"budget.documents": 5})
        assert (stopped.documents, stopped.budget, stopped.exit_code) == (5, "documents (5)", 4)
        assert len(Dataset(out)) == done
    rest = run(folder, out, {"budget.documents": 5})
    assert (rest.documents, rest.skipped, rest.budget, rest.exit_code) == (2, 10, "", 0)
    assert [past.state for past in past_runs(out)] == ["out of budget", "out of budget", "finished"]


def test_a_budget_that_is_just_enough_is_not_reached(folder: Path, tmp_path: Path) -> None:
    assert run(folder, tmp_path / "out", {"budget.documents": 12}).exit_code == 0


def test_a_budget_of_tokens_ends_a_little_above_it(folder: Path, tmp_path: Path) -> None:
    stopped = run(folder, tmp_path / "out", {"budget.tokens": 300})
    assert stopped.budget == "tokens (300)"
    assert 3 <= stopped.documents <= 6  # one in work, one that waits for it, one that is looked at
    assert stopped.usage.prompt + stopped.usage.output == 100 * stopped.documents
    assert past_run(tmp_path / "out", "last").usage == stopped.usage
    assert run(folder, tmp_path / "out").documents == 12 - stopped.documents


def test_a_budget_of_money_follows_the_prices(folder: Path, tmp_path: Path) -> None:
    prices = {"costs.prompt_million": 1e6 / 90, "costs.currency": "CHF"}
    stopped = run(folder, tmp_path / "out", {"budget.money": 4, **prices})
    assert stopped.budget == "money (4 CHF)"
    assert 4 <= stopped.documents <= 7
    with pytest.raises(ConfigError, match="needs prices"):
        run(folder, tmp_path / "out", {"budget.money": 4})


def test_a_budget_of_seconds_keeps_what_was_in_work(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped = run(folder, out, {"budget.seconds": 2}, CountingEngine(seconds=0.6))
    assert stopped.budget == "seconds (2)"
    assert 0 < stopped.documents < 12
    assert len(Dataset(out)) == stopped.documents
    assert json.loads((out / "runs" / f"{stopped.id}.json").read_text())["budget"] == "seconds (2)"


def test_budgets_are_read_as_they_are_typed() -> None:
    assert cli_options.read_budget(["documents=10, tokens=5", "money=2.5"]) == {
        "budget.documents": "10",
        "budget.tokens": "5",
        "budget.money": "2.5",
    }
    assert cli_options.read_budget([]) == {}
    for wrong in ("pages=3", "documents", "=3", ""):
        with pytest.raises(UsageError, match="is no budget"):
            cli_options.read_budget([wrong])
    with pytest.raises(ConfigError, match=r"budget\.documents"):
        load_settings(cli_options.read_budget(["documents=0"]))
