"""How well docflow-tiny reads on a server, and how fast: the one model here whose answers can be right.

Receipts on the grid that it never saw, each against its truth: eight fields of them, and the built-in program's whole
record, whose goods it sometimes gets wrong, so that there is something to be unsure of. Where the random weights of the
other parts write until a limit stops them, this model ends its answer where the record ends.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.on_engines import work

MODEL = Path(__file__).resolve().parents[3] / "samples" / "models" / "docflow-tiny"
AT_ONCE = 8


def measure(kind: str, url: str, count: int) -> dict[str, Any]:
    """Shares of fields and records that are right, tokens written, and receipts a second, one by one and together.

    ``right_more_probable`` is about whole records; ``sure_of_right`` is the mean confidence in what is right on the
    grid, ``sure_of_wrong_off_grid`` that in what is wrong on pages as the model never saw them.
    """
    sys.path[:0] = [str(MODEL.parents[1]), str(MODEL)]
    from tiny_reader import evaluation

    engine = work.connect(kind, url)
    _, fields = evaluation.PROGRAMS["till"]
    receipts = list(evaluation.held_out(count, "benchmark"))
    list(evaluation.read(engine, receipts[:2], "till"))  # a server's first answers take longer
    alone = list(evaluation.read(engine, receipts, "till"))
    fresh = list(evaluation.held_out(count, "benchmark, together"))
    began = time.perf_counter()
    together = list(evaluation.read(engine, fresh, "till", at_once=AT_ONCE))
    seconds = time.perf_counter() - began
    whole = list(evaluation.read(engine, receipts, at_once=AT_ONCE))
    lost = list(evaluation.read(engine, receipts[: count // 2], "till", "off-grid", at_once=AT_ONCE))
    engine.close()
    score = evaluation.Score(fields)
    for reading in alone + together:
        score.add(reading.receipt.record, reading.values)
    answers = [reading.answer for reading in alone + together if reading.answer]
    goods = evaluation.Score()
    for reading in whole:
        goods.add(reading.receipt.record, reading.values)
    leaves = [leaf for reading in whole for leaf in reading.leaves()]
    right, wrong = ([sure for hit, sure in leaves if hit is wanted] for wanted in (True, False))
    astray = [sure for reading in lost for hit, sure in reading.leaves() if not hit]
    figures = {
        "records": score.records,
        "records_right": round(score.right_records / score.records, 3),
        "fields_right": round(sum(score.right.values()) / sum(score.asked.values()), 4),
        "ended_by_itself": round(sum(answer.stop == "stop" for answer in answers) / score.records, 3),
        "tokens_written": round(sum(answer.usage.output for answer in answers) / max(1, len(answers)), 1),
        "tokens_allowed": evaluation.LIMITS.max_tokens,
        "whole_receipts_right": round(goods.right_records / goods.records, 3),
        "right_more_probable": round(ranked(right, wrong), 3),
        "sure_of_right": round(sum(right) / max(1, len(right)), 3),
        "sure_of_wrong_off_grid": round(sum(astray) / max(1, len(astray)), 3),
        "seconds_each": round(sum(reading.seconds for reading in alone) / count, 3),
        "a_second_together": round(count / seconds, 2),
    }
    print(f"\n{kind}: docflow-tiny, {score.records} receipts that it never saw")
    print(work.table(["", "figure"], [[name.replace("_", " "), str(value)] for name, value in figures.items()]))
    return figures


def ranked(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Of all pairs of a right and a wrong value the share where the right one is the more probable: the area under the
    ROC curve, ties as a half. 1 where nothing is wrong."""
    if not right or not wrong:
        return 1.0
    low = sorted(wrong)
    above = sum((bisect_left(low, sure) + bisect_right(low, sure)) / 2 for sure in right)
    return above / (len(right) * len(wrong))
