from __future__ import annotations

import ast
from pathlib import Path

import tests

SAYING_NO = {"raises", "warns", "fail", "wait"}
"""Calls that fail a test by themselves; ``wait`` is what the browser's tests have for an assertion."""

SHARED = {"looked_at"}
"""Modules whose functions are assertions that several tests make."""


def test_every_test_can_fail() -> None:
    folder = Path(tests.__file__).parent
    found = 0
    for path in sorted(folder.rglob("test_*.py")):
        for test in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                found += 1
                assert any(map(can_fail, ast.walk(test))), f"{path}: {test.name}"
    assert found > 500


def can_fail(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        shared = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in SHARED
        # subprocess.run(..., check=True)
        return name in SAYING_NO or shared or any(keyword.arg == "check" for keyword in node.keywords)
    return isinstance(node, ast.Assert | ast.Raise)
