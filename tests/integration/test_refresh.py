"""A program that has changed: what is asked again of documents that were read before, and what is kept."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sglang as sgl
from PIL import Image
from pydantic import BaseModel, Field, model_validator

from docflow.engines.base import Answer, Request, Usage, WantJson
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import SchemaError
from docflow.fields.kinds import Money, Party, Text
from docflow.program import Program, images, instructions, program, schema_of
from docflow.runs import RunOptions, execute
from docflow.settings import load_settings
from docflow.storage import Dataset

ANSWERS = {"company": "ACME", "total": "12.50", "cashier": "Kim", "date": "1 May 2024", "tip": "1.00"}


class First(BaseModel):
    company: Party | None = None
    total: Money | None = Field(None, description="what is paid")


class Added(First):
    cashier: Text | None = Field(None, description="who took the money")


class Described(BaseModel):
    company: Party | None = None
    total: Money | None = Field(None, description="what is paid, after tax")


class Strict(Added):
    @model_validator(mode="after")
    def _named(self) -> Strict:
        if self.company == "ACME" and self.cashier == "Kim":
            raise ValueError("nobody called Kim works there")
        return self


class Checked(First):
    @model_validator(mode="after")
    def _paid(self) -> Checked:
        if self.total is not None and self.total < 0:
            raise ValueError("less than nothing is paid")
        return self


class Less(BaseModel):
    company: Party | None = None


def plain(model: type[BaseModel]) -> Program:
    """One question, in words of its own."""

    @program(model, name="ticket")
    def ticket(s: Any, pages: Any) -> None:
        s += sgl.system("You are careful.\n" + instructions(model))
        s += sgl.user(images(pages) + "Read this ticket.")
        s += sgl.assistant(sgl.gen("record", json_schema=schema_of(model)))

    return ticket


def twice(model: type[BaseModel]) -> Program:
    """Two questions: what is asked second depends on the first answer."""

    @program(model, name="ticket")
    def ticket(s: Any, pages: Any) -> None:
        s += sgl.system(instructions(model))
        s += sgl.user(images(pages) + "What shop is it?")
        s += sgl.assistant(sgl.gen("shop"))
        s += sgl.user("Read the ticket of " + s["shop"])
        s += sgl.assistant(sgl.gen("record", json_schema=schema_of(model)))

    return ticket


def other_words(model: type[BaseModel]) -> Program:
    @program(model, name="ticket")
    def ticket(s: Any, pages: Any) -> None:
        s += sgl.system(instructions(model))
        s += sgl.user(images(pages) + "Read this ticket, please.")
        s += sgl.assistant(sgl.gen("record", json_schema=schema_of(model)))

    return ticket


def keys(request: Request) -> list[str]:
    return list(request.want.schema["properties"]) if isinstance(request.want, WantJson) else []


def answer(request: Request) -> Answer:
    """What was asked for, at ten tokens a field."""
    import json

    asked = keys(request)
    text = json.dumps({key: ANSWERS[key] for key in asked}) if asked else "ACME"
    return Answer(text, usage=Usage(prompt=100, output=10 * len(asked), calls=1), engine="scripted", model="scripted")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40 + number, 30), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


class Trial:
    """One folder that versions of a program read after each other."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder, self.out = folder, out
        self.engine = ScriptedEngine()

    def run(self, of: Program, *, refresh: bool = True) -> Any:
        self.engine = ScriptedEngine(default=answer)
        settings = load_settings({"extraction.grounding": "off"})
        how = RunOptions(
            sources=(self.folder,),
            program=of,
            engine=self.engine,
            settings=settings,
            out=self.out,
            refresh=refresh,
        )
        return execute(how)

    @property
    def asked(self) -> list[list[str]]:
        return [keys(request) for request in self.engine.requests]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(Dataset(self.out).records("ticket"))


@pytest.fixture
def trial(folder: Path, tmp_path: Path) -> Trial:
    return Trial(folder, tmp_path / "out")


def test_only_a_new_field_is_asked_for_and_paid(trial: Trial) -> None:
    trial.run(plain(First))
    before = {row["source"]: row for row in trial.rows}
    run = trial.run(plain(Added))
    assert trial.asked == [["cashier"]] * 3
    assert (run.usage.prompt, run.usage.output, run.usage.calls) == (300, 30, 3)
    rows = trial.rows
    assert len(rows) == 3
    for row in rows:
        assert row["record"] == {"company": "ACME", "total": Decimal("12.5"), "cashier": "Kim"}
        assert row["program_version"] == plain(Added).version
        assert row["refreshed_from"] == plain(First).version == before[row["source"]]["program_version"]
        assert row["usage"] == {"prompt": 100, "cached": 0, "output": 10, "calls": 1}
        assert [entry["path"] for entry in row["evidence"]] == ["company", "total", "cashier"]
        assert row["evidence"][:2] == before[row["source"]]["evidence"]
        assert row["status"] == "valid"


def test_the_words_around_the_question_stay(trial: Trial) -> None:
    trial.run(plain(First))
    trial.run(plain(Added))
    [request, *_] = trial.engine.requests
    said = str(request)
    assert "You are careful." in said
    assert "Read this ticket." in said
    assert "who took the money" in said
    assert "what is paid" not in said


def test_a_refreshed_dataset_has_nothing_to_do(trial: Trial) -> None:
    trial.run(plain(First))
    trial.run(plain(Added))
    assert trial.run(plain(Added)).skipped == 3
    assert trial.asked == []


def test_without_refresh_everything_is_asked(trial: Trial) -> None:
    trial.run(plain(First))
    trial.run(plain(Added), refresh=False)
    assert trial.asked == [["company", "total", "cashier"]] * 3
    assert {row["refreshed_from"] for row in trial.rows} == {None}


def test_a_field_that_is_described_anew_is_asked_again(trial: Trial) -> None:
    trial.run(plain(First))
    trial.run(plain(Described))
    assert trial.asked == [["total"]] * 3


def test_a_model_that_only_checks_more_asks_nothing(trial: Trial) -> None:
    trial.run(plain(First))
    run = trial.run(plain(Checked))
    assert trial.asked == []
    assert (run.valid, run.usage.calls) == (3, 0)
    assert {row["refreshed_from"] for row in trial.rows} == {plain(First).version}


@pytest.mark.parametrize("changed", [other_words(First), other_words(Added), twice(Added)])
def test_other_words_of_the_prompt_ask_for_everything(trial: Trial, changed: Program) -> None:
    trial.run(plain(First))
    trial.run(changed)
    assert [key for key in trial.asked[-1] if key != "cashier"] == ["company", "total"]
    assert {row["refreshed_from"] for row in trial.rows} == {None}


def test_a_program_of_several_questions_is_asked_as_a_whole(trial: Trial) -> None:
    trial.run(twice(First))
    trial.run(twice(Added))
    assert sorted(trial.asked) == sorted([[], ["company", "total", "cashier"]] * 3)
    assert {row["refreshed_from"] for row in trial.rows} == {None}


def test_where_both_do_not_go_together_the_document_is_asked_as_a_whole_and_all_is_paid(trial: Trial) -> None:
    trial.run(plain(First))
    trial.run(plain(Strict))
    assert trial.asked.count(["cashier"]) == 3
    assert trial.asked.count(["company", "total", "cashier"]) == 6  # and once more each, for the repair
    for row in trial.rows:
        assert row["refreshed_from"] is None
        assert row["status"] == "invalid"
        assert row["usage"]["calls"] == 3


def test_a_field_that_is_gone_is_refused_as_ever(trial: Trial) -> None:
    trial.run(plain(First))
    with pytest.raises(SchemaError, match="total"):
        trial.run(plain(Less))


def test_rows_that_were_merged_are_refreshed_by_what_their_own_version_asked(trial: Trial) -> None:
    trial.run(plain(First))
    (trial.folder / "3.png").write_bytes((trial.folder / "0.png").read_bytes() + b"\0")
    trial.run(plain(Added))
    Dataset(trial.out).compact(grace_seconds=0)

    class Tipped(Added):
        tip: Money | None = None

    trial.run(plain(Tipped))
    assert trial.asked == [["tip"]] * 4
    assert {row["refreshed_from"] for row in trial.rows} == {plain(Added).version}
    assert all(row["record"]["tip"] == 1 and row["record"]["cashier"] == "Kim" for row in trial.rows)
