"""Whether two datasets say the same."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from docflow.storage import Dataset, parts
from docflow.storage.places import Place

MAY_DIFFER = ("created_at", "run_id", "seconds", "attempts", "usage")


def rows_of(out: Place) -> Counter[str]:
    """The rows that a reader sees, without what may differ; each with how often it is there."""
    return Counter(_text(row) for row in Dataset(out))


def _text(row: dict[str, Any]) -> str:
    return json.dumps({name: row[name] for name in row if name not in MAY_DIFFER}, default=str, sort_keys=True)


def differences(found: Counter[str], wanted: Counter[str]) -> list[str]:
    """What is too much, and what is missing."""
    return [f"+ {row[:300]}" for row in found - wanted] + [f"- {row[:300]}" for row in wanted - found]


def written(out: Place) -> int:
    """The rows that are there so far; 0 where there is no dataset yet."""
    there = any(parts.part_files(folder) for folder in parts.program_folders(out).values())
    return len(Dataset(out)) if there else 0
