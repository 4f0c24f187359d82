"""Counts over many leaves and rows, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from docflow.evaluation.comparing import LeafOutcome, ListOutcome


@dataclass(slots=True)
class FieldScore:
    """How one field went over many documents.

    ``printed`` and ``absent`` count what the truth says, the others what was answered. ``likeness`` and ``exact`` are
    over the printed ones.
    """

    kind: str = ""
    printed: int = 0
    right: int = 0
    wrong: int = 0
    missed: int = 0
    absent: int = 0
    abstained: int = 0
    invented: int = 0
    exact: int = 0
    likeness: float = 0.0

    def add(self, leaf: LeafOutcome) -> None:
        self.kind = str(leaf.kind)
        self.right += leaf.verdict == "right"
        self.wrong += leaf.verdict == "wrong"
        self.missed += leaf.verdict == "missed"
        self.abstained += leaf.verdict == "absent"
        self.invented += leaf.verdict == "invented"
        if leaf.printed:
            self.printed += 1
            self.exact += leaf.exact
            self.likeness += leaf.likeness
        elif leaf.true_path is not None:  # a cell of a row too many is invented, but no null was asked for
            self.absent += 1

    def __add__(self, other: FieldScore) -> FieldScore:
        return FieldScore(
            self.kind if self.kind == other.kind else "",
            *(getattr(self, name) + getattr(other, name) for name in _COUNTS),
        )

    @property
    def given(self) -> int:
        """Values that were answered."""
        return self.right + self.wrong + self.invented

    @property
    def precision(self) -> float | None:
        """Of the values given, the share that is right; None of none."""
        return share(self.right, self.given)

    @property
    def recall(self) -> float | None:
        """Of the values printed, the share that was given rightly; None of none."""
        return share(self.right, self.printed)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None where nothing is printed and nothing given."""
        return share(2 * self.right, self.given + self.printed)

    @property
    def abstention(self) -> float | None:
        """Of the values that are not printed, the share answered with null; None of none."""
        return share(self.abstained, self.absent)

    def as_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in _COUNTS if name not in ("exact", "likeness")}
        return {
            "kind": self.kind,
            "precision": rounded(self.precision),
            "recall": rounded(self.recall),
            "f1": rounded(self.f1),
            "abstention": rounded(self.abstention),
            "likeness": rounded(share(self.likeness, self.printed)),
            "exact": rounded(share(self.exact, self.printed)),
            "counts": counts,
        }


_COUNTS = ("printed", "right", "wrong", "missed", "absent", "abstained", "invented", "exact", "likeness")


def total(scores: Iterable[FieldScore]) -> FieldScore:
    """All fields as one."""
    return sum(scores, FieldScore())


@dataclass(slots=True)
class ListScore:
    """How the rows of one list went over many documents (see ListOutcome), with all of its cells as one field."""

    rows: int = 0
    got: int = 0
    found: int = 0
    right: int = 0

    def add(self, outcome: ListOutcome) -> None:
        self.rows += outcome.rows
        self.got += outcome.got
        self.found += outcome.found
        self.right += outcome.right

    def __add__(self, other: ListScore) -> ListScore:
        return ListScore(
            self.rows + other.rows, self.got + other.got, self.found + other.found, self.right + other.right
        )

    @property
    def f1(self) -> float | None:
        """Rows that are wholly right, of those given and those printed."""
        return share(2 * self.right, self.got + self.rows)

    def as_dict(self, cells: FieldScore) -> dict[str, Any]:
        return {
            "rows_found": rounded(share(self.found, self.rows)),
            "rows_right": rounded(share(self.right, self.rows)),
            "row_precision": rounded(share(self.right, self.got)),
            "row_f1": rounded(self.f1),
            "cells_right": rounded(cells.recall),
            "cells_f1": rounded(cells.f1),
            "counts": {"rows": self.rows, "got": self.got, "found": self.found, "right": self.right},
        }


@dataclass(slots=True)
class PlaceScore:
    """How often a value was right and its evidence pointed at the right place; over leaves whose place is known.

    ``at_box`` wants a box at IoU 0.5, ``at_page`` the page, ``covering`` at least half of the place covered.
    ``on_lines`` counts, of ``with_lines`` right values that some true line carries, those whose evidence lies on such
    lines.
    """

    boxed: int = 0
    given: int = 0
    right: int = 0
    at_box: int = 0
    at_page: int = 0
    covering: int = 0
    with_lines: int = 0
    on_lines: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "box_f1": rounded(share(2 * self.at_box, self.given + self.boxed)),
            "page_f1": rounded(share(2 * self.at_page, self.given + self.boxed)),
            "box_of_right": rounded(share(self.at_box, self.right)),
            "page_of_right": rounded(share(self.at_page, self.right)),
            "covering_of_right": rounded(share(self.covering, self.right)),
            "lines_of_right": rounded(share(self.on_lines, self.with_lines)),
            "counts": {"boxed": self.boxed, "given": self.given, "right": self.right, "with_lines": self.with_lines},
        }


def share(part: float, whole: float) -> float | None:
    """A share; None of nothing."""
    return part / whole if whole else None


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; None of none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def rounded(value: float | None) -> float | None:
    """To four places, as reports have it."""
    return None if value is None else round(value, 4)
