"""Two reports beside each other: what got better, what got worse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from docflow.buckets import Place
from docflow.errors import UsageError
from docflow.evaluation.evaluate import REPORT_FORMAT, figure

TOLERANCE = 0.00005
"""Reports round to four places: less than this is no change."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure then and now; None where a report does not have it. For every figure more is better."""

    name: str
    before: float | None
    now: float | None

    @property
    def by(self) -> float | None:
        return None if self.before is None or self.now is None else self.now - self.before

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``same``, ``new`` or ``gone``."""
        if self.by is None:
            return "same" if self.before is self.now else "new" if self.before is None else "gone"
        return "same" if abs(self.by) < TOLERANCE else "better" if self.by > 0 else "worse"


def read_report(path: Place) -> dict[str, Any]:
    """A report.json, or the one in a folder. Raises UsageError."""
    path = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the report {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no report: {error}") from error
    if not isinstance(report, dict) or "fields" not in report:
        raise UsageError(f"{path} is no report", hint="docflow eval OUT TRUTH --report DIR writes DIR/report.json.")
    if report.get("format") != REPORT_FORMAT:
        raise UsageError(f"{path} has report format {report.get('format')}; this docflow knows {REPORT_FORMAT}")
    return report


def compare_reports(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The changes of the mean, of each field's F1, of each list's rows, and of the places."""
    return [Change(name, _figure(before, name), _figure(now, name)) for name in _names(before, now)]


def _names(*reports: Mapping[str, Any]) -> Iterator[str]:
    yield "mean"
    for part, suffix in (("fields", ".f1"), ("lists", ".row_f1")):
        yield from dict.fromkeys(f"{name}{suffix}" for report in reports for name in report[part])
    yield from ("grounding.box_f1", "grounding.page_f1")


def _figure(report: Mapping[str, Any], name: str) -> float | None:
    try:
        return figure(report, name)
    except KeyError:
        return None
