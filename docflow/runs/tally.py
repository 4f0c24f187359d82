"""Counting what documents came to: each result into a run, and one run's counts into another's."""

from __future__ import annotations

from typing import Any

from docflow.extraction.result import Result
from docflow.runs.model import FailedDocument, Run

ERRORS_KEPT = 20


def count(run: Run, result: Result[Any]) -> None:
    """Count a row."""
    run.counts[result.status] += 1
    run.by_program[result.program] += 1
    run.missing_rows += bool(result.missing_rows)
    run.fallback += result.fallback
    run.usage += result.usage
    run.work_seconds += result.seconds
    if result.spared is not None:
        leaves = len({entry.path for entry in result.evidence})
        run.spared["all documents"] += 1
        run.spared["documents"] += result.spared == leaves
        run.spared["all leaves"] += leaves
        run.spared["leaves"] += result.spared
    if result.status == "failed" and result.error and len(run.errors) < ERRORS_KEPT:
        run.errors.append(FailedDocument(source=result.source, document_id=result.document_id, error=result.error))


def add(run: Run, part: Run) -> None:
    """Add what was counted elsewhere for a part of a run."""
    run.counts += part.counts
    run.by_program += part.by_program
    run.spared += part.spared
    run.files += part.files
    run.missing_rows += part.missing_rows
    run.fallback += part.fallback
    run.usage += part.usage
    run.work_seconds += part.work_seconds
    run.errors += part.errors[: ERRORS_KEPT - len(run.errors)]
