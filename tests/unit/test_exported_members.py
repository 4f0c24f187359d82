from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import docflow
from docflow import errors


def test_every_exported_name_is_there_and_comes_from_its_home() -> None:
    for name in docflow.__all__:
        assert getattr(docflow, name).__name__.removeprefix("docflow.") == name or name in KINDS
    assert sorted(docflow.__all__) == docflow.__all__
    assert dir(docflow) == docflow.__all__


KINDS = {"Address", "Currency", "Date", "Identifier", "Money", "Party", "Quantity", "Text"}


def test_every_error_is_exported() -> None:
    tree = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert tree <= set(docflow.__all__)


def test_what_type_checkers_see_is_what_is_exported() -> None:
    source = ast.parse(Path(docflow.__file__).read_text(encoding="utf-8"))
    [checked] = [node for node in source.body if isinstance(node, ast.If)]
    seen = {name.name for node in checked.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert seen == set(docflow.__all__)


def test_importing_docflow_imports_nothing_heavy() -> None:
    code = (
        "import docflow, sys\n"
        "heavy = {'pydantic', 'pyarrow', 'sglang', 'prefect', 'numpy', 'PIL', 'duckdb', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_decorator_stays_reachable_once_its_module_is_imported() -> None:
    code = (
        "import docflow.program\n"
        "from docflow import program\n"
        "from docflow.program import Program\n"
        "assert callable(program) and docflow.program is program and isinstance(Program, type)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
