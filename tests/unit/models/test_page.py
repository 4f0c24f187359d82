"""docs/models.md answers every requirement, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_every_requirement_of_the_manager_is_answered_once() -> None:
    assert [int(number) for number in re.findall(r"^\| U-(\d\d) \|", PAGE, re.MULTILINE)] == list(range(1, 30))


def test_every_test_that_the_page_of_models_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 25
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= there, sorted(named - there)
