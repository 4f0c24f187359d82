"""Whether confidence means what it says: calibration error, and the errors that a threshold lets through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

BINS = 10


class Judged(NamedTuple):
    """An answer with the confidence it came with, and whether it was right."""

    confidence: float
    right: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of like confidence: how many, what they promised on average, what share was right."""

    count: int
    confidence: float
    accuracy: float


def bins_of(answers: Sequence[Judged], count: int = BINS) -> list[Bin]:
    """The answers in ``count`` equally wide intervals of confidence; empty ones are left out."""
    slots: list[list[Judged]] = [[] for _ in range(count)]
    for answer in answers:
        slots[min(count - 1, int(answer.confidence * count))].append(answer)
    return [_bin(slot) for slot in slots if slot]


def even_bins_of(answers: Sequence[Judged], count: int = BINS) -> list[Bin]:
    """The answers in ``count`` groups of nearly equal size by confidence; equals stay together."""
    ordered = sorted(answers, key=lambda answer: answer.confidence)
    groups: list[list[Judged]] = []
    for _, equals in groupby(ordered, key=lambda answer: answer.confidence):
        same = list(equals)
        if groups and len(groups[-1]) + len(same) / 2 <= len(ordered) / count:
            groups[-1] += same
        else:
            groups.append(same)
    return [_bin(group) for group in groups]


def _bin(answers: Sequence[Judged]) -> Bin:
    size = len(answers)
    return Bin(size, sum(a.confidence for a in answers) / size, sum(a.right for a in answers) / size)


def calibration_error(bins: Iterable[Bin]) -> float | None:
    """The expected calibration error: how far promise and truth lie apart, over the answers of all bins."""
    known = list(bins)
    size = sum(group.count for group in known)
    return sum(g.count * abs(g.confidence - g.accuracy) for g in known) / size if size else None


def brier(answers: Sequence[Judged]) -> float | None:
    """The mean squared distance of confidence to what came true (0 is perfect)."""
    return sum((a.confidence - a.right) ** 2 for a in answers) / len(answers) if answers else None


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """With every answer of at least ``threshold`` accepted: their share of all, and the share of errors among them."""

    threshold: float
    coverage: float
    error: float


def risk_curve(answers: Sequence[Judged]) -> list[RiskPoint]:
    """What each threshold would accept and let through, from the strictest to the laxest."""
    ordered = sorted(answers, key=lambda answer: -answer.confidence)
    points = []
    accepted = wrong = 0
    for confidence, equals in groupby(ordered, key=lambda answer: answer.confidence):
        for answer in equals:
            accepted += 1
            wrong += not answer.right
        points.append(RiskPoint(confidence, accepted / len(ordered), wrong / accepted))
    return points


def coverage_at(curve: Sequence[RiskPoint], error: float) -> float:
    """The greatest coverage at which the share of errors is at most ``error``; 0 where there is none."""
    return max((point.coverage for point in curve if point.error <= error), default=0.0)


def error_at(answers: Sequence[Judged], coverage: float) -> float | None:
    """The expected share of errors among the most confident ``coverage`` of the answers; None of none.

    Where the cut falls among equals, the error of those equals counts by their share.
    """
    wanted = coverage * len(answers)
    accepted = errors = 0.0
    ordered = sorted(answers, key=lambda answer: -answer.confidence)
    for _, equals in groupby(ordered, key=lambda answer: answer.confidence):
        same = list(equals)
        taken = min(len(same), wanted - accepted)
        if taken <= 0:
            break
        accepted += taken
        errors += taken * sum(not answer.right for answer in same) / len(same)
    return errors / accepted if accepted else None


def area_under_risk(curve: Sequence[RiskPoint]) -> float | None:
    """The mean error over all coverages (lower is better); None of no answers."""
    if not curve:
        return None
    area = before = 0.0
    for point in curve:
        area += (point.coverage - before) * point.error
        before = point.coverage
    return area / before
