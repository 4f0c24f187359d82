from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

SCRIPT = Path(__file__).parents[3] / "docs" / "make_cli.py"

_spec = importlib.util.spec_from_file_location("make_cli", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
make_cli = importlib.util.module_from_spec(_spec)
sys.modules["make_cli"] = make_cli
_spec.loader.exec_module(make_cli)

COMMANDS = make_cli.commands()


def test_all_commands_are_there() -> None:
    assert {"extract", "show", "query", "programs", "config", "samples"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_with_examples(name: str) -> None:
    said = COMMANDS[name].__doc__
    assert said
    assert "Example" in said
    assert f"docflow {name}" in said
    for parameter in make_cli.parameters(COMMANDS[name]):
        assert len(parameter.help) > 10, parameter.spelling
        assert parameter.help.endswith((".", "...")), parameter.spelling


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_fits_the_terminal(name: str, docflow: Callable[..., Result]) -> None:
    shown = docflow(*name.split(), "--help")
    assert shown.exit_code == 0
    for parameter in make_cli.parameters(COMMANDS[name]):
        for spelling in parameter.spelling.split()[0].rstrip(".,").split("/"):
            assert spelling in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


def test_the_reference_says_what_the_commands_say() -> None:
    assert make_cli.PAGE.read_text(encoding="utf-8") == make_cli.page(), "run python docs/make_cli.py"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from docflow.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert loaded & {"pydantic", "pydantic_settings", "pyarrow", "duckdb", "numpy", "PIL", "sglang", "prefect"} == set()
    assert "docflow.settings" not in ran.stderr.split()


def test_the_version_is_told(docflow: Callable[..., Result]) -> None:
    assert docflow("--version").output.startswith("docflow 0.")


def test_a_misspelt_command_is_told_the_nearest(docflow: Callable[..., Result]) -> None:
    shown = docflow("extrct")
    assert shown.exit_code == 2
    assert "extract" in shown.output
