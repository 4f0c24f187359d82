"""Which column of a table answers which field: by its head, by what stands in it, and by quantity x price = amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from docflow.engines.embedded.cells import NUMERIC
from docflow.engines.embedded.figures import figures, only_figure, product_fits
from docflow.engines.embedded.grid import (
    TEXTUAL,
    Table,
    TableRow,
    is_wordy,
    kinds_of,
    letters_in,
)
from docflow.engines.embedded.headings import Heading
from docflow.engines.embedded.vocabulary import Leaf, is_total, squash
from docflow.fields.kinds import Kind
from docflow.fields.text import plain

_TAX = {"tax_rate", "tax_code", "tax_amount", "net_amount", "amount", "base", "position"}
_NAMES = (("description",), ("test",))
"""What names a row, and so has letters."""


def assign(table: Table) -> None:
    """Give each leaf the column that serves it best: by its head, by what stands in it, one column a leaf."""
    texts = table.texts
    if not table.rows:
        return
    lanes = range(len(table.headings))
    money = [lane for lane in lanes if not texts[lane] and _share(table, lane, Kind.MONEY) > 0.5]
    scores: dict[str, list[tuple[float, int]]] = {}
    has_amount = any("amount" in leaf.concepts or "net_amount" in leaf.concepts for leaf in table.leaves)
    for leaf in table.leaves:
        options = []
        for lane in lanes:
            score = _head_score(leaf, table.headings[lane])
            share = _share(table, lane, leaf.kind)
            nameless = leaf.concepts[:1] in _NAMES and letters_in(table, lane) < 2
            if score <= 0 or share < 0.3 or nameless:
                continue
            if money and "amount" in leaf.concepts[:1] and lane == money[-1]:
                score += 0.4
            if money and has_amount and "unit_price" in leaf.concepts[:1] and lane == money[-1]:
                score -= 0.7
            options.append((score + share, lane))
        scores[leaf.name] = sorted(options, reverse=True)[:4]
    table.columns, table.score = _best_assignment(list(scores), scores)
    _fill_in(table, texts, money)


def _head_score(leaf: Leaf, heading: Heading) -> float:
    if squash(heading.text) in leaf.phrases or heading.phrase in leaf.phrases:
        return 3.0
    common = [index for index, concept in enumerate(leaf.concepts) if concept in heading.concepts]
    if not common:
        return 0.0
    first_meaning = heading.concepts[0] == leaf.concepts[common[0]]
    return 2.0 - 0.3 * common[0] + (0.3 if first_meaning else 0.0)


def _share(table: Table, lane: int, kind: Kind) -> float:
    """How many of the filled cells of a column can be of this kind."""
    texts = [row.text(lane) for row in table.rows if row.lanes[lane]]
    if not texts:
        return 0.5
    if kind in NUMERIC:
        return sum(
            only_figure(text) is not None or (bool(figures(text)) and not is_wordy(text)) for text in texts
        ) / len(texts)
    if kind == Kind.DATE:
        return sum(any(ch.isdigit() for ch in text) for text in texts) / len(texts)
    return 1.0


def _best_assignment(names: list[str], scores: Mapping[str, list[tuple[float, int]]]) -> tuple[dict[str, int], float]:
    """The choice of one column a leaf with the highest sum of scores."""
    best: tuple[float, dict[str, int]] = (0.0, {})

    def walk(index: int, used: dict[str, int], total: float) -> None:
        nonlocal best
        if index == len(names):
            if total > best[0]:
                best = (total, dict(used))
            return
        for score, lane in scores[names[index]]:
            if lane not in used.values():
                used[names[index]] = lane
                walk(index + 1, used, total + score)
                del used[names[index]]
        walk(index + 1, used, total)

    walk(0, {}, 0.0)
    return best[1], best[0]


def _fill_in(table: Table, texts: Sequence[bool], money: Sequence[int]) -> None:
    """Columns whose heads say nothing go to the leaves that are left, by kind."""
    used = set(table.columns.values())
    for leaf in table.leaves:
        if leaf.name in table.columns:
            continue
        if leaf.concepts[:1] in _NAMES:
            free = [
                lane
                for lane in range(len(texts))
                if texts[lane]
                and lane not in used
                and letters_in(table, lane) >= 3
                and (not table.headings[lane].concepts or TEXTUAL & kinds_of(table.headings[lane]))
            ]
            if free:
                table.columns[leaf.name] = max(free, key=lambda lane: letters_in(table, lane))
                table.score += 1.0
        elif "amount" in leaf.concepts[:1]:
            rest = [lane for lane in money if lane not in used]
            if rest and rest[-1] == money[-1] and _amounts(table, rest[-1]) > 0.5:
                table.columns[leaf.name] = rest[-1]
                table.score += 1.0
        used = set(table.columns.values())
    _multiply(table, texts)
    naming = [leaf for leaf in table.leaves if leaf.concepts and leaf.concepts[0] in ("description", "test")]
    if naming and not any(
        leaf.name in table.columns and letters_in(table, table.columns[leaf.name]) >= 2 for leaf in naming
    ):
        table.columns, table.score = {}, 0.0
    meanings = {concept for heading in table.headings for concept in heading.concepts[:1]}
    if is_total(table.headings[0].text) or (meanings and meanings <= _TAX and not naming):
        table.columns, table.score = {}, 0.0
    if len(table.columns) < min(2, len(table.leaves)):
        table.columns, table.score = {}, 0.0


def _amounts(table: Table, lane: int) -> float:
    """How many of the filled cells of a column are written like amounts."""
    texts = [row.text(lane) for row in table.rows if row.lanes[lane]]
    return sum(any(f.is_amount for f in figures(plain(text))) for text in texts) / max(1, len(texts))


def _multiply(table: Table, texts: Sequence[bool]) -> None:
    """Find the columns of quantity, price and amount by their product, where a head did not tell one of them."""
    parts: list[Leaf | None] = [
        next((leaf for leaf in table.leaves if set(leaf.concepts[:1]) & meanings), None)
        for meanings in ({"quantity", "hours"}, {"unit_price", "rate"}, {"amount", "net_amount"})
    ]
    missing = [leaf for leaf in parts if leaf is not None and leaf.name not in table.columns]
    if None in parts or len(missing) != 1:
        return
    used = set(table.columns.values())
    free = [lane for lane in range(len(texts)) if lane not in used and _share(table, lane, Kind.QUANTITY) > 0.5]
    for lane in free:
        lanes = [table.columns.get(leaf.name, lane) for leaf in parts if leaf is not None]
        fitting = sum(_row_fits(row, lanes) for row in table.rows)
        if fitting >= max(1, 0.6 * len(table.rows)):
            table.columns[missing[0].name] = lane
            table.score += 1.5
            return


def _row_fits(row: TableRow, lanes: Sequence[int]) -> bool:
    found = [figures(plain(row.text(lane))) for lane in lanes]
    return all(found) and product_fits(found[0][0], found[1][-1], found[2][-1])
