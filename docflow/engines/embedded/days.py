"""The dates of a page: which of them is the day asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from docflow.engines.embedded.context import Context, Span
from docflow.engines.embedded.labels import Label, regions
from docflow.engines.embedded.lexicon import lexicon
from docflow.fields.dates import FoundDate
from docflow.fields.kinds import Kind

_BESIDE = {"beside": 1.0, "stacked": 1.0, "right": 0.95, "below": 0.85}


@dataclass(frozen=True, slots=True)
class Day:
    """A date on the page and its names, each with a strength from 0 to 1."""

    span: Span
    found: FoundDate
    names: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DayCandidate:
    """A date for a leaf and how plausible it is."""

    day: Day
    score: float


def days_of(context: Context, labels: Mapping[int, list[Label]]) -> list[Day]:
    """Every date of the pages with what its labels call it."""
    names: dict[tuple[int, int], dict[str, float]] = {}
    for on_line in labels.values():
        for label in on_line:
            dated = {name: strength for name, strength in label.names.items() if _may_name_a_date(name)}
            if not dated:
                continue
            for region in regions(context, label, labels):
                span = region.span
                inside = [
                    found for found in context.dates.get(span.line.number, ()) if span.start <= found.start < span.end
                ]
                if not inside:
                    continue
                found = inside[0]
                # Words between label and date ("Date of delivery according to ...") make it less sure.
                near = 1.0 if found.start - span.start <= 12 else 0.7
                weight = _BESIDE[region.how] * near * (1.0 if label.leads or label.marked else 0.75)
                here = names.setdefault((span.line.number, found.start), {})
                for name, strength in dated.items():
                    here[name] = max(here.get(name, 0.0), strength * weight)
                if len(inside) > 1 and inside[1].start - found.end <= 8 and dated.keys() & {"period", "start_date"}:
                    last = names.setdefault((span.line.number, inside[1].start), {})
                    here.pop("period", None)
                    here["start_date"] = max(here.get("start_date", 0.0), 0.95 * weight)
                    last["end_date"] = max(last.get("end_date", 0.0), 0.95 * weight)
                break
    return [
        Day(Span(context.printed[number], found.start, found.end), found, names.get((number, found.start), {}))
        for number, dates in context.dates.items()
        for found in dates
    ]


def _may_name_a_date(name: str) -> bool:
    """Concepts of dates, the own names of fields, and periods."""
    kind = lexicon().kinds.get(name)
    return kind is None or kind is Kind.DATE or name == "period"


def candidates(days: list[Day], names: Iterable[str], *, plain: bool) -> list[DayCandidate]:
    """The dates that may be meant by these names, the likeliest first.

    ``plain`` says that the field asks for the day of the document itself: then a date without any label may be it.
    """
    names = tuple(names)
    found = []
    seen: dict[dt.date, int] = {}
    for day in days:
        seen[day.found.value] = seen.get(day.found.value, 0) + 1
    today = dt.date.today()
    for place, day in enumerate(days):
        own = max((day.names.get(name, 0.0) for name in names), default=0.0)
        rival = max((s for name, s in day.names.items() if name not in names), default=0.0)
        score = own
        if rival > own:
            score -= 0.5
        if own == 0 and not (plain and rival == 0):
            score -= 0.6
        if plain:
            score += 0.35 - 0.02 * min(place, 10) + 0.1 * min(2, seen[day.found.value] - 1)
            if day.found.value > today + dt.timedelta(days=366) or day.found.value.year < 1990:
                score -= 0.4
        if day.found.repaired:
            score -= 0.1
        if day.found.bare:
            score -= 0.3
        found.append(DayCandidate(day, score))
    return sorted(found, key=lambda candidate: -candidate.score)
