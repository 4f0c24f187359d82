"""Programs by name, by path, and from schemas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from docflow.errors import ProgramError, SchemaError
from docflow.loading import load_program, names

OWN = """
import sglang as sgl
from pydantic import BaseModel
from docflow.fields import Text
from docflow.program import images, instructions, program, schema_of

class Ticket(BaseModel):
    seat: Text | None = None

@program(Ticket)
def ticket(s, pages):
    s += sgl.user(images(pages) + "Read this ticket.")
    s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Ticket)))
"""


def test_the_built_in_programs_load_by_name() -> None:
    assert names() == ["auto", "form", "invoice", "receipt"]
    assert [load_program(name).name for name in names()] == names()


def test_an_unknown_name_says_what_was_probably_meant() -> None:
    with pytest.raises(ProgramError) as caught:
        load_program("reciept")
    assert "Did you mean 'receipt'" in caught.value.hint


def test_a_users_file_gives_its_program_and_its_models(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    assert load_program(f"{path}:ticket").name == "ticket"
    assert load_program(f"{path}:Ticket").name == "ticket"
    assert load_program(f"{path}:ticket", name="boarding").name == "boarding"
    with pytest.raises(ProgramError) as caught:
        load_program(f"{path}:tickets")
    assert "ticket" in caught.value.hint


def test_a_users_module_loads_by_its_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_programs_for_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_program("own_programs_for_test:ticket").name == "ticket"
    assert load_program(schema="own_programs_for_test:Ticket").name == "ticket"


def test_a_file_that_raises_or_is_missing_is_a_program_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("1 / 0")
    with pytest.raises(ProgramError, match="ZeroDivisionError"):
        load_program(f"{path}:x")
    with pytest.raises(ProgramError, match="no file"):
        load_program(f"{tmp_path}/none.py:x")
    with pytest.raises(ProgramError, match="cannot be imported"):
        load_program("no_such_package.here:x")


def test_a_schema_file_names_its_program_by_its_stem(tmp_path: Path) -> None:
    path = tmp_path / "lease.schema.json"
    path.write_text(json.dumps({"type": "object", "properties": {"rent": {"type": "number"}}}))
    assert load_program(schema=str(path)).name == "lease"
    assert load_program(schema=str(path), name="flat").name == "flat"
    with pytest.raises(ProgramError, match="cannot name"):
        load_program(schema=str(path), name="../up")


def test_a_program_or_a_schema_is_wanted_one_of_the_two() -> None:
    with pytest.raises(ProgramError):
        load_program()
    with pytest.raises(ProgramError):
        load_program("receipt", schema="x.json")
    with pytest.raises(SchemaError):
        load_program(schema="none.json")


def test_a_pydantic_model_is_a_program_of_its_own() -> None:
    class BoardingPass(BaseModel):
        seat: str | None = None

    assert load_program(BoardingPass).name == "boarding_pass"


@pytest.mark.parametrize(
    "rules", [3, ["net plus tax"], ["net + tx = total"], ["sum(items.amount) = net"], ["sum(items.pric) = net"]]
)
def test_rules_that_are_off_are_said_when_the_program_is_loaded(tmp_path: Path, rules: object) -> None:
    money = {"x-kind": "money"}
    items = {"type": "array", "items": {"type": "object", "properties": {"price": money}}}
    schema = {"properties": {"net": money, "tax": money, "total": money, "items": items}}
    path = tmp_path / "bill.json"
    path.write_text(json.dumps(schema | {"x-rules": ["net + tax = total", "sum(items.price) = net"]}))
    assert len(load_program(schema=str(path)).rules) == 2
    path.write_text(json.dumps(schema | {"x-rules": rules}))
    with pytest.raises(SchemaError):
        load_program(schema=str(path))
