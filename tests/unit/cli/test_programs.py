from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from docflow.programs import load_program, names
from typer.testing import Result

Run = Callable[..., Result]


def test_every_built_in_program_is_listed_with_a_description(docflow: Run) -> None:
    lines = docflow("programs").output.splitlines()
    for name in names():
        (line,) = (line for line in lines if line.startswith(f"{name} "))
        assert len(line.removeprefix(name).strip()) > 20


def test_a_program_shows_fields_kinds_meaning_instructions_and_version(docflow: Run) -> None:
    shown = docflow("programs", "receipt").output
    assert load_program("receipt").version in shown
    assert "receipt.py" in shown
    total = next(line for line in shown.splitlines() if line.startswith("total"))
    assert total.split()[1] == "money"
    assert "items[].description" in shown
    assert "Give null for what" in shown


def test_a_program_that_chooses_names_what_it_chooses_among(docflow: Run) -> None:
    assert "receipt, invoice, form" in docflow("programs", "auto").output


def test_a_schema_can_be_looked_into(tmp_path: Path, docflow: Run) -> None:
    schema = tmp_path / "lease.schema.json"
    schema.write_text(
        json.dumps({"type": "object", "properties": {"rent": {"type": "number", "description": "a [month]"}}})
    )
    shown = docflow("programs", "--schema", schema).output
    assert shown.startswith("lease")
    assert "a [month]" in shown


def test_a_misspelt_program_is_told_the_nearest(docflow: Run) -> None:
    failure = docflow("programs", "recipt").exception
    assert "Did you mean 'receipt'?" in getattr(failure, "hint", "")


def test_samples_are_written_and_the_next_command_is_named(tmp_path: Path, docflow: Run) -> None:
    folder = tmp_path / "my samples"
    shown = docflow("samples", folder).output
    assert "next  docflow extract '" in shown.replace("\n", "")
    assert any((folder / "documents").iterdir())
