"""How well rows that an engine left out of a list are noticed: true records answered whole, and with rows taken out.

The words are those of the page, the answers those of an engine that reads everything right and leaves rows out.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docflow
from docflow.engines.base import Request
from docflow.engines.scripted import ScriptedEngine
from docflow.evaluation.judging import JudgedDocument
from docflow.evaluation.scoring import rounded, share

Records = Mapping[Path, Mapping[str, Any]]


def measure_missing_rows(
    samples: Sequence[tuple[Mapping[str, Any], Records]], read: Sequence[JudgedDocument], seed: int
) -> dict[str, Any]:
    """False alarms over documents with all of their rows, and the share of documents whose missing rows were noticed.

    ``samples`` has for each program how to ask for it, and the true records of its documents; ``read`` are documents
    that the embedded engine read.
    """
    counts: Counter[str] = Counter()
    for document in read:
        if document.outcome.lists and not document.lacks_rows and document.status != "failed":
            counts["whole"] += 1
            counts["alarms"] += document.rows_suspected
    for how, records in samples:
        for _, said in _answered(how, records, "none", seed):
            counts["whole"] += 1
            counts["alarms"] += said > 0
        for many in ("one", "several"):
            for taken, said in _answered(how, records, many, seed):
                if taken:
                    counts[f"cut {many}"] += 1
                    counts[f"noticed {many}"] += said > 0
                    counts["rows"] += taken
                    counts["rows said"] += min(taken, said)
    cut = counts["cut one"] + counts["cut several"]
    return {
        "whole": counts["whole"],
        "false_alarms": rounded(share(counts["alarms"], counts["whole"])),
        "cut": cut,
        "noticed": rounded(share(counts["noticed one"] + counts["noticed several"], cut)),
        "noticed_one": rounded(share(counts["noticed one"], counts["cut one"])),
        "noticed_several": rounded(share(counts["noticed several"], counts["cut several"])),
        "rows_said": rounded(share(counts["rows said"], counts["rows"])),
    }


def _answered(how: Mapping[str, Any], records: Records, many: str, seed: int) -> Iterator[tuple[int, int]]:
    """For each document how many rows were taken out of its answer, and how many are suspected to be missing."""
    by_id = {hashlib.sha256(path.read_bytes()).hexdigest(): (path, record) for path, record in records.items()}
    taken: Counter[str] = Counter()

    def reply(request: Request) -> dict[str, Any]:
        document_id = request.pages[0].document_id
        path, record = by_id[document_id]
        answer = _texts(copy.deepcopy(record))
        assert isinstance(answer, dict)
        taken[document_id] = _cut(answer, many, random.Random(f"{seed}/{path.name}/{many}"))
        return answer

    for result in docflow.iter_records(list(records), engine=ScriptedEngine(default=reply), **how):
        if result.status != "failed":
            yield taken[result.document_id], len(result.missing_rows or ())


def _cut(answer: dict[str, Any], many: str, rng: random.Random) -> int:
    """Take rows out of one of the lists of two rows or more, and tell how many."""
    lists = [value for value in answer.values() if isinstance(value, list) and len(value) > 1]
    if many == "none" or not lists:
        return 0
    rows = rng.choice(lists)
    count = 1 if many == "one" else rng.randint(1, max(1, len(rows) // 2))
    for _ in range(count):
        rows.pop(rng.randrange(len(rows)))
    return count


def _texts(value: Any) -> Any:
    """Numbers as texts: what stands in a truth is typed, and an engine answers what is printed."""
    if isinstance(value, dict):
        return {key: _texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_texts(inner) for inner in value]
    return value if value is None or isinstance(value, str | bool) else str(value)
