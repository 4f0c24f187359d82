"""Which row of a list answers which row of the truth: the pairing in which most cells agree, whatever the order."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = Mapping[str, Hashable]
"""A row's cells by name, each as something to compare; None for a null."""


def cells_agreeing(true: Row, got: Row) -> int:
    """How many of the true row's printed cells the other row has too."""
    return sum(value is not None and got.get(name) == value for name, value in true.items())


def align(true: Sequence[Row], got: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs (index in ``true``, index in ``got``), one to one, such that as many cells as possible agree.

    Rows that agree in no cell are not paired. Of pairings that are equally good, rows that agree wholly are paired,
    and then those that stand nearest to each other.
    """
    pairs = _wholly_agreeing(true, got)
    taken = {i for i, _ in pairs}, {j for _, j in pairs}
    left = [i for i in range(len(true)) if i not in taken[0]]
    right = [j for j in range(len(got)) if j not in taken[1]]
    if left and right:
        pairs += _best(true, got, left, right)
    return sorted(pairs)


def _wholly_agreeing(true: Sequence[Row], got: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs of rows whose cells are all the same, in the order of both lists.

    Taking these first never costs an agreement elsewhere: what a third row shares with one of the two it shares with
    the other. The rows that name most cells come first, so that a sparse one does not take a full one's partner.
    """
    pairs: list[tuple[int, int]] = []
    free = set(range(len(got)))
    by_names: dict[frozenset[str], list[int]] = defaultdict(list)
    for i, row in enumerate(true):
        by_names[frozenset(row)].append(i)
    for names in sorted(by_names, key=lambda names: (-len(names), sorted(names))):
        order = sorted(names)
        waiting: dict[tuple[Hashable, ...], deque[int]] = defaultdict(deque)
        for j in sorted(free):
            waiting[tuple(got[j].get(name) for name in order)].append(j)
        for i in by_names[names]:
            cells = tuple(true[i][name] for name in order)
            if any(cell is not None for cell in cells) and waiting[cells]:
                j = waiting[cells].popleft()
                free.discard(j)
                pairs.append((i, j))
    return pairs


def _best(true: Sequence[Row], got: Sequence[Row], left: list[int], right: list[int]) -> list[tuple[int, int]]:
    import numpy as np

    agreeing = np.array([[cells_agreeing(true[i], got[j]) for j in right] for i in left], dtype=float)
    # Less than one cell in all, so that nearness only decides between equals.
    apart = np.abs(np.subtract.outer(np.array(left), np.array(right))) / (len(true) + len(got))
    gain = np.where(agreeing > 0, agreeing - apart / (min(len(left), len(right)) + 1), 0.0)
    return [(left[i], right[j]) for i, j in best_assignment(gain) if agreeing[i, j] > 0]


def best_assignment(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The one-to-one assignment of rows to columns with the greatest sum (the Hungarian method, O(n^2 m))."""
    import numpy as np

    if gain.shape[0] > gain.shape[1]:
        return sorted((i, j) for j, i in best_assignment(gain.T))
    cost = gain.max(initial=0.0) - gain
    rows, columns = cost.shape
    row_price = np.zeros(rows + 1)
    column_price = np.zeros(columns + 1)
    owner = np.zeros(columns + 1, dtype=int)  # the row that holds each column, both counted from 1; 0 for none
    for row in range(1, rows + 1):
        owner[0] = row
        column = 0
        shortest = np.full(columns + 1, np.inf)
        came_from = np.zeros(columns + 1, dtype=int)
        done = np.zeros(columns + 1, dtype=bool)
        while True:
            done[column] = True
            here = owner[column]
            reduced = cost[here - 1] - row_price[here] - column_price[1:]
            better = ~done[1:] & (reduced < shortest[1:])
            shortest[1:][better] = reduced[better]
            came_from[1:][better] = column
            open_columns = np.where(done, np.inf, shortest)
            nearest = int(np.argmin(open_columns))
            step = open_columns[nearest]
            row_price[owner[done]] += step
            column_price[done] -= step
            shortest[~done] -= step
            column = nearest
            if owner[column] == 0:
                break
        while column:  # turn the path around: each row on it moves to the next column
            owner[column] = owner[came_from[column]]
            column = int(came_from[column])
    return sorted((int(owner[column]) - 1, column - 1) for column in range(1, columns + 1) if owner[column])
