"""docs/contracts.md answers every id, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("letter", "last"), [("V", 43), ("A", 34)])
def test_every_id_of_the_contracts_is_answered_once(letter: str, last: int) -> None:
    found: list[int] = []
    for cell in re.findall(rf"^\| ((?:{letter}-\d\d(?:, | to )?)+) \|", PAGE, re.MULTILINE):
        numbers = [int(number) for number in re.findall(r"\d\d", cell)]
        found += range(numbers[0], numbers[-1] + 1) if " to " in cell else numbers
    assert found == list(range(1, last + 1))


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= there, sorted(named - there)
