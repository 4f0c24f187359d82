"""What a run would do and cost, told beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from docflow.cli.app import app
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import NothingToDo
from docflow.runs import execute
from docflow.runs.estimate import estimate
from docflow.settings import load_settings
from tests.integration.test_budget import CountingEngine, folder  # noqa: F401 (a fixture)
from tests.integration.test_refresh import Added, Checked, First, answer, plain
from tests.integration.test_runs import options


def pages_in_one(path: Path, count: int) -> None:
    pages = [Image.new("L", (30, 30 + number), number) for number in range(count)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def asked(*sources: Any, engine: ScriptedEngine | None = None, **how: Any) -> Any:
    settings = load_settings({"extraction.grounding": "off", **how.pop("settings", {})})
    return options(*sources, engine=engine or CountingEngine(), settings=settings, **how)


def test_without_earlier_runs_it_counts_and_asks_and_makes_nothing(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    pages_in_one(folder / "many.tiff", 5)
    pages_in_one(folder / "more.pdf", 3)
    engine = CountingEngine()
    told = estimate(asked(folder, engine=engine, out=tmp_path / "out"))
    assert (told.documents, told.to_do, told.done, told.pages, told.pages_counted) == (14, 14, 0, 20, True)
    assert told.basis == "no earlier runs to go by"
    assert (told.seconds, told.usage, told.cost) == (None, None, None)
    assert engine.requests == []
    assert not (tmp_path / "out").exists()


def test_earlier_runs_tell_what_the_rest_will_take(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "out"
    run = execute(asked(folder, out=out, limit=4))
    told = estimate(asked(folder, out=out, settings={"costs.prompt_million": 1e6 / 90}))
    assert (told.documents, told.done, told.to_do) == (12, 4, 8)
    assert told.usage is not None
    assert (told.usage.prompt, told.usage.output) == (8 * 90, 8 * 10)
    assert told.seconds == pytest.approx(run.working_seconds * 2, abs=0.01)
    assert told.cost == pytest.approx(8)
    assert "4 documents of 1 run" in told.basis


def test_a_program_that_has_changed_is_estimated_with_what_a_refresh_keeps(
    folder: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"

    def told(of: Any, *, refresh: bool) -> Any:
        return estimate(asked(folder, out=out, engine=ScriptedEngine(default=answer), program=of, refresh=refresh))

    execute(asked(folder, out=out, engine=ScriptedEngine(default=answer), program=plain(First), limit=4))
    added = told(plain(Added), refresh=True)
    assert (added.to_do, added.refreshed, added.unasked) == (12, 4, 0)
    assert added.usage == told(plain(Added), refresh=False).usage
    checked = told(plain(Checked), refresh=True)
    assert (checked.to_do, checked.refreshed, checked.unasked) == (12, 4, 4)
    assert checked.usage is not None
    assert checked.usage.prompt == 8 * 100
    assert told(plain(Added), refresh=False).refreshed == 0


def test_nothing_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    with pytest.raises(NothingToDo):
        estimate(asked(tmp_path / "scans"))


def test_the_command_prints_it_and_exits_with_0(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    command = ["extract", str(folder), "--out", str(tmp_path / "out"), "--program", "receipt", "--estimate"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "no earlier runs to go by" in done.output
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (told["to_do"], told["pages"], told["usage"]) == (12, 12, None)
    listed = f"{folder}/00.png\n"
    told = json.loads(CliRunner().invoke(app, ["extract", "-", *command[2:], "--json"], input=listed).stdout)
    assert told["to_do"] == 1
