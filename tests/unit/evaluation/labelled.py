"""Small datasets and judged answers, made without reading a document."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docflow.documents.model import Box
from docflow.evaluation.fitting import Answer
from docflow.extraction.result import Evidence, Result
from docflow.storage.store import Store
from tests.unit.storage.results import RECORD, Results

BOXES = {"company": Box(0, 0, 100, 10), "date": Box(0, 20, 50, 30), "total": Box(0, 40, 50, 50)}


def result_of(source: str, confidence: float = 0.9, **values: Any) -> Result[Any]:
    """A result whose record is the usual one but for ``values``, with evidence for its single fields."""
    data = {**RECORD, **values}
    evidence = [
        Evidence(name, None, None, None, None, None, 0.1, "absent")
        if data[name] is None
        else Evidence(name, str(data[name]), str(data[name]), 1, box, "exact", confidence)
        for name, box in BOXES.items()
    ]
    for index, item in enumerate(data["items"]):
        for name, value in item.items():
            path = f"items[{index}].{name}"
            evidence.append(Evidence(path, str(value), str(value), 1, Box(0, 60, 9, 70), "exact", confidence))
    return Results.valid(source, data=data, evidence=tuple(evidence))


def dataset_of(out: Path, *results: Result[Any]) -> Path:
    """A dataset that holds these results."""
    store = Store(out, Results.bill, "embedded", "rules", "run-1")
    store.write([store.row(result)[1] for result in results], [result.source for result in results])
    return out


def truth_of(folder: Path, contents: Mapping[str, Any]) -> Path:
    """A folder of truth files."""
    for name, content in contents.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def answers_that(
    field: str, truly: float, said: float, count: int, seed: int = 1, *, null: bool = False
) -> list[Answer]:
    """Answers of a field that said about one confidence and were right at another rate."""
    chance = random.Random(seed)
    return [
        Answer(
            f"{number:03}.png",
            field,
            null,
            min(1.0, max(0.0, said + chance.uniform(-0.04, 0.04))),
            (number + 0.5) / count <= truly,
        )
        for number in range(count)
    ]
