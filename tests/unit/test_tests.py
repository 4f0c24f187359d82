from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tests

SAYING_NO = {"raises", "warns", "fail", "wait"}
"""Calls that fail a test by themselves; ``wait`` is what the browser's tests have for an assertion."""


def test_every_test_can_fail() -> None:
    folder = Path(tests.__file__).parent
    found = 0
    for path in sorted(folder.rglob("test_*.py")):
        for test in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                found += 1
                assert any(map(can_fail, [*ast.walk(test), *shared(test, path)])), f"{path}: {test.name}"
    assert found > 500


def can_fail(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        # subprocess.run(..., check=True)
        return name in SAYING_NO or any(keyword.arg == "check" for keyword in node.keywords)
    return isinstance(node, ast.Assert | ast.Raise)


def shared(test: ast.FunctionDef, path: Path) -> Iterator[ast.AST]:
    """What the functions do that a test calls in a module beside its own: assertions that several tests make."""
    for call in ast.walk(test):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
        ):
            module = path.parent / f"{call.func.value.id}.py"
            if module.is_file():
                for function in ast.parse(module.read_text(encoding="utf-8")).body:
                    if isinstance(function, ast.FunctionDef) and function.name == call.func.attr:
                        yield from ast.walk(function)
