"""How right a record is: values, lists, pairs and places against the truth of a sample."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

Boxes = Mapping[str, Sequence[Sequence[float]]]


def squashed(text: object) -> str:
    """Letters and digits of a text, in lower case: how it was spaced and punctuated does not count."""
    plain = unicodedata.normalize("NFKC", str(text)).casefold()
    return "".join(character for character in plain if character.isalnum())


def same(true: Any, got: Any) -> bool:
    """Whether a value says what the truth says: the same day, the same number, the same letters and digits."""
    if true is None or got is None:
        return true is got
    if isinstance(got, bool) or isinstance(true, bool):
        return true is got
    if isinstance(got, dt.date):
        return bool(got.isoformat() == true)
    if isinstance(got, Decimal | int | float):
        try:
            return Decimal(str(got)) == Decimal(str(true))
        except InvalidOperation:
            return False
    return squashed(true) == squashed(got) != ""


@dataclass(slots=True)
class Score:
    """How often a field was right: of those printed, and how often a value was given for one that is not printed."""

    printed: int = 0
    right: int = 0
    absent: int = 0
    invented: int = 0

    def add(self, true: Any, got: Any) -> bool:
        """Count one value; whether it was right comes back."""
        right = same(true, got)
        if true is None:
            self.absent += 1
            self.invented += not right
        else:
            self.printed += 1
            self.right += right
        return right

    def __add__(self, other: Score) -> Score:
        return Score(
            self.printed + other.printed,
            self.right + other.right,
            self.absent + other.absent,
            self.invented + other.invented,
        )

    @property
    def accuracy(self) -> float | None:
        """Share of the printed ones that were right; None when none was printed."""
        return self.right / self.printed if self.printed else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "printed": self.printed,
            "right": self.right,
            "accuracy": rounded(self.accuracy),
            "absent": self.absent,
            "invented": self.invented,
        }


@dataclass(slots=True)
class ListScore:
    """How right a list of objects was: rows wholly right, cells right of the rows found, rows too many."""

    rows: int = 0
    rows_right: int = 0
    cells: int = 0
    cells_right: int = 0
    extra: int = 0

    def add(self, true: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> None:
        """Count one list: its rows are matched in order so that most cells agree."""
        self.rows += len(true)
        self.cells += sum(value is not None for row in true for value in row.values())
        self.extra += max(0, len(got) - len(true))
        for true_row, got_row in _matched(true, got):
            self.cells_right += _cells_right(true_row, got_row)
            self.rows_right += all(same(value, got_row.get(name)) for name, value in true_row.items())

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "rows_right": self.rows_right,
            "row_accuracy": ratio(self.rows_right, self.rows),
            "cells": self.cells,
            "cells_right": self.cells_right,
            "cell_accuracy": ratio(self.cells_right, self.cells),
            "extra_rows": self.extra,
        }


def _cells_right(true: Mapping[str, Any], got: Mapping[str, Any]) -> int:
    return sum(value is not None and same(value, got.get(name)) for name, value in true.items())


Rows = Sequence[Mapping[str, Any]]


def _matched(true: Rows, got: Rows) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Pairs of rows in the order of both lists that agree in most cells (a longest common subsequence by weight)."""
    best = [[0] * (len(got) + 1) for _ in range(len(true) + 1)]
    weights = [[_cells_right(a, b) for b in got] for a in true]
    for i in range(len(true) - 1, -1, -1):
        for j in range(len(got) - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], weights[i][j] + best[i + 1][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(true) and j < len(got):
        if weights[i][j] and best[i][j] == weights[i][j] + best[i + 1][j + 1]:
            pairs.append((true[i], got[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


@dataclass(slots=True)
class PairScore:
    """How right the pairs of a form were."""

    true: int = 0
    got: int = 0
    right: int = 0

    def add(self, true: Iterable[Mapping[str, Any]], got: Iterable[Mapping[str, Any]]) -> None:
        """Count one form; a pair is right when its label and its value are (an empty one stays empty)."""
        wanted, found = Counter(map(_pair, true)), Counter(map(_pair, got))
        self.true += wanted.total()
        self.got += found.total()
        self.right += (wanted & found).total()

    def as_dict(self) -> dict[str, Any]:
        precision, recall = ratio(self.right, self.got), ratio(self.right, self.true)
        f1 = ratio(2 * self.right, self.true + self.got)
        return {"true": self.true, "got": self.got, "precision": precision, "recall": recall, "f1": f1}


def _pair(pair: Mapping[str, Any]) -> tuple[str, str]:
    return squashed(pair.get("label") or ""), squashed(pair.get("value") or "")


def grounded(path: str, pieces: Boxes, repeats: Boxes, evidence: Iterable[tuple[int, Sequence[float]]]) -> bool:
    """Whether the evidence boxes (page, box) of a path cover at least half of a place where its value is printed."""
    boxes = list(evidence)
    places = [pieces.get(path, [])] + [[repeat] for repeat in repeats.get(path, [])]
    return any(place and _covered(place, boxes) >= 0.5 for place in places)


def _covered(place: Sequence[Sequence[float]], boxes: Sequence[tuple[int, Sequence[float]]]) -> float:
    """The share of a place's area that lies in the boxes of its page (boxes of one path do not overlap much)."""
    total = inside = 0.0
    for page, x0, y0, x1, y1 in place:
        area = (x1 - x0) * (y1 - y0)
        total += area
        shared = sum(
            max(0.0, min(x1, box[2]) - max(x0, box[0])) * max(0.0, min(y1, box[3]) - max(y0, box[1]))
            for number, box in boxes
            if number == page
        )
        inside += min(area, shared)
    return inside / total if total else 0.0


def ratio(part: float, whole: float) -> float | None:
    """A share to four places; None of nothing."""
    return rounded(part / whole if whole else None)


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
