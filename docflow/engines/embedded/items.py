"""Item lines of receipts and bills: lines with an amount at the right, between the head of the document and its sums.

Such lines are read by their grammar and not by columns: "2 x 3.50  7.00", "MILK 1L   2.20 A", a description over or
under its figures. Quantity and unit price are the pair of numbers whose product is the amount.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from docflow.documents.model import Word
from docflow.engines.embedded.cells import Row, leaf_reading, pieces_of, words_within
from docflow.engines.embedded.context import ABSENT, Context, LeafReading
from docflow.engines.embedded.figures import Figure, figures, product_fits
from docflow.engines.embedded.grid import Table
from docflow.engines.embedded.headings import headings_of, is_unit
from docflow.engines.embedded.itemline import ItemLine, parse_line
from docflow.engines.embedded.rows import is_sum_line
from docflow.engines.embedded.sums import adds_up, printed_sums
from docflow.engines.embedded.trees import tree_items
from docflow.engines.embedded.vocabulary import Leaf, is_title, is_total, opens_with, total_words
from docflow.fields.kinds import Kind
from docflow.fields.text import plain
from docflow.reading.layout import Line
from docflow.reading.tables import BodyLine, group_rows

_SUMS_BEFORE_ITEMS = 3
"""A summary may stand over the items; after so many sums without any item there is none to come."""
_MARK = re.compile(r"\*+[A-Z]?$|\[[A-Z]{1,3}\]$|\([A-Z]\)$")
_NUMBERED = re.compile(r"\s*\d{1,2}(?:\)|\.(?=\s|\d{3}|[^\W\d]))")
_SAYS = re.compile(r"[^\W\d_]{3}|[\u3040-\u9fff\uac00-\ud7af]|^[^a-zA-Z]*\d[^a-zA-Z]*$")
_LABELLED = re.compile(r":\s|:$")


@dataclass(slots=True)
class _Item:
    """One item: its anchor, the lines around it, and what they say."""

    anchor: ItemLine
    lines: list[ItemLine]
    quantity: tuple[ItemLine, Figure] | None
    price: tuple[ItemLine, Figure] | None
    fits: bool


def read_items(leaves: Sequence[Leaf], context: Context, table: Table | None) -> list[Row] | None:
    """The items: the rows of the table where it has all that items need, else its lines read one by one.

    None where the leaves have no amount.
    """
    roles = _roles(leaves)
    if "amount" not in roles:
        return None
    found: list[Row] = []
    for layout in context.layouts:
        found += _read_page(layout.lines, table if table and table.page == layout.page.number else None, leaves, roles)
    if table is None or not table.rows:
        sums = printed_sums(context)
        charges = [line for layout in context.layouts for line in tree_items(layout.lines, sums)]
        return [_row(_Item(line, [line], None, None, False), leaves, roles) for line in charges] or found
    rows = mend(table, roles)
    if not _table_serves(table, roles):
        return found if len(found) >= len(rows) and _filled(found) > _filled(rows) else rows
    amount = roles["amount"].name
    sums = printed_sums(context)
    better = adds_up(found, amount, sums) and (not adds_up(rows, amount, sums) or _filled(found) > _filled(rows))
    return found if better and len(context.layouts) == 1 else rows


def _filled(rows: Sequence[Row]) -> int:
    """How many leaves were read; a text without a word does not count."""
    texts = [reading.printed for row in rows for reading in row.values() if reading.printed is not None]
    return sum(bool(_SAYS.search(text)) for text in texts)


def mend(table: Table, roles: Mapping[str, Leaf]) -> list[Row]:
    """The rows of a table, with quantity and unit price from the figures of the line where the columns' do not fit."""
    rows = table.readings()
    if not {"quantity", "price", "amount"} <= set(roles):
        return rows
    names = [roles[role].name for role in ("quantity", "price", "amount")]
    for row, printed in zip(rows, table.rows, strict=True):
        found = [figures(row[name].printed or "") for name in names]
        if all(found) and product_fits(found[0][0], found[1][0], found[2][0]):
            continue
        for line in map(parse_line, printed.lines):
            if not (line.fits and line.amount and line.quantity and line.price and found[2]):
                continue
            if line.amount.value == found[2][0].value:
                for name, figure in zip(names, (line.quantity, line.price), strict=False):
                    words = words_within(line.line.words, figure.start, figure.end)
                    row[name] = LeafReading(figure.text.strip(), pieces_of(words, printed.page), 0.7)
                    _without(row, roles.get("description"), words)
    return rows


def _without(row: Row, description: Leaf | None, words: Sequence[Word]) -> None:
    """Take figures that belong to other columns from the end of a description."""
    if description is None or row[description.name].printed is None:
        return
    text = str(row[description.name].printed)
    for word in reversed(words):
        text = text.removesuffix(f" {word.text}").rstrip()
    if any(ch.isalpha() for ch in text):
        row[description.name] = replace(row[description.name], printed=text)


def _roles(leaves: Sequence[Leaf]) -> dict[str, Leaf]:
    """Which leaf is which part of an item line."""
    roles: dict[str, Leaf] = {}
    wanted = {
        "description": ("description", "test"),
        "code": ("code",),
        "quantity": ("quantity", "hours"),
        "price": ("unit_price", "rate"),
        "amount": ("amount", "net_amount", "credit", "debit"),
        "tax": ("tax_code",),
        "position": ("position",),
    }
    for rank in range(3):
        for role, concepts in wanted.items():
            for leaf in leaves:
                if (
                    role not in roles
                    and leaf not in roles.values()
                    and leaf.concepts[rank : rank + 1]
                    and leaf.concepts[rank] in concepts
                ):
                    roles[role] = leaf
    money = [leaf for leaf in leaves if leaf.kind == Kind.MONEY]
    if "amount" not in roles and money:
        roles["amount"] = money[-1]
        roles = {role: leaf for role, leaf in roles.items() if role == "amount" or leaf is not money[-1]}
    texts = [leaf for leaf in leaves if leaf.kind in (Kind.TEXT, Kind.PARTY) and leaf not in roles.values()]
    if "description" not in roles and texts:
        roles["description"] = texts[0]
    return roles


def _table_serves(table: Table, roles: dict[str, Leaf]) -> bool:
    """Whether every row of a table has what an item needs."""
    if roles["amount"].name not in table.columns or not table.rows:
        return False
    rows = table.readings()
    if any(row[roles["amount"].name].printed is None for row in rows):
        return False
    return not ("description" in roles and any(row[roles["description"].name].printed is None for row in rows))


def _read_page(lines: Sequence[Line], table: Table | None, leaves: Sequence[Leaf], roles: dict[str, Leaf]) -> list[Row]:
    start = table.top + 1 if table else 0
    whole = _whole_amounts(lines)
    zone = _zone([parse_line(line, whole=whole) for line in lines[start:]], headed=table is not None)
    rows = [_row(item, leaves, roles) for item in _items(zone)]
    named = roles.get("description")
    return [row for row in rows if named is None or _is_named(row[named.name], headed=table is not None)]


def _whole_amounts(lines: Sequence[Line]) -> bool:
    """Whether a page writes amounts without decimals, as where a currency has no small coins."""
    found = [figure for line in lines for figure in figures(plain(line.text)) if not figure.percent]
    return not any(figure.decimals == 2 for figure in found)


def _is_named(description: LeafReading, *, headed: bool) -> bool:
    """Whether a description says anything; under a header a row may lack it, as long as it is no bare number."""
    if description.printed is None:
        return headed
    return any(ch.isalpha() for ch in description.printed)


def _zone(lines: list[ItemLine], *, headed: bool) -> list[ItemLine]:
    """The lines that hold the items: up to the first sum after the first amount, and from where descriptions begin."""
    kept: list[ItemLine] = []
    seen = False
    passed = 0
    sums = _sum_lines(lines)
    for index, line in enumerate(lines):
        if index in sums:
            if not seen:
                passed += line.amount is not None
                if passed >= _SUMS_BEFORE_ITEMS:
                    break
                kept = []
                continue
            later = [
                other
                for other in lines[index + 1 : index + 5]
                if other.fits and other.describes and other.quantity and other.price
            ]
            if later and not any(is_total(other.text) and not other.amount for other in lines[index : index + 1]):
                continue
            break
        if opens_with(line.text, total_words().carried) or not any(ch.isalnum() for ch in line.text):
            continue
        if not seen and (headings_of([line.line], ()) or all(is_unit(cell.text) for cell in line.line.cells)):
            kept = []
            continue
        if line.amount and not _is_furniture(line):
            seen = True
            kept.append(line)
        elif not line.amount:
            kept.append(line)
    else:
        if not seen:
            return []
    anchors = [index for index, line in enumerate(kept) if line.amount]
    if not anchors:
        return []
    if headed:
        return kept
    return kept[_first_text(kept, anchors) :]


def _sum_lines(lines: Sequence[ItemLine]) -> set[int]:
    """Lines of sums, taxes and payments, and amounts that stand alone under the name of a sum."""
    sums: set[int] = set()
    for index, line in enumerate(lines):
        if (is_sum_line(line.line) and not (line.fits and line.describes and line.price is not None)) or (
            index - 1 in sums and lines[index - 1].amount is None and line.amount and not line.rest
        ):
            sums.add(index)
    return sums


def _is_furniture(line: ItemLine) -> bool:
    """Whether a line with an amount is a label and its value rather than an item."""
    amount = line.amount
    assert amount is not None
    head = line.text[: amount.start]
    return bool(re.search(r"\b(?:tel|fax|phone|date|invoice|no|id)\b\.?\s*:?", head, re.IGNORECASE)) and ":" in head


def _first_text(kept: Sequence[ItemLine], anchors: Sequence[int]) -> int:
    """Where the items begin when no header tells: at the first amount, or at the text over it where that lacks text."""
    first = anchors[0]
    if kept[first].describes:
        return _with_detail(kept, first)
    trailing = len(kept) - 1 - anchors[-1]
    if trailing and len(anchors) > 1 and not kept[anchors[-1]].describes and not _begins_block(kept, first - 1):
        return first  # texts stand under their figures: what stands over the first is no item's
    gaps = [b - a - 1 for a, b in itertools.pairwise(anchors) if not kept[b].describes]
    reach = min(gaps) if gaps else 3
    begin = first
    left = _left(kept[first])
    height = kept[first].line.height
    while begin > 0 and first - begin < reach:
        above, here = kept[begin - 1], kept[begin]
        if (
            _gap(above, here) > 1.6 * height
            or _LABELLED.search(above.text)
            or is_title(above.text)
            or (begin < first and _NUMBERED.match(here.text))
            or (not gaps and begin < first and abs(_left(above) - left) > 2.5 * height)
        ):
            break
        begin -= 1
    return begin


def _with_detail(kept: Sequence[ItemLine], first: int) -> int:
    """The line before the first amount where that says "2 x 3.50" of it."""
    above = kept[first - 1] if first else None
    return first - 1 if above is not None and above.price is not None and not above.describes else first


def _begins_block(kept: Sequence[ItemLine], index: int) -> bool:
    """Whether a wider gap, or the title of the document, stands over this line."""
    if index <= 0:
        return True
    return is_title(kept[index - 1].text) or _gap(kept[index - 1], kept[index]) > 1.5 * max(
        _gap(kept[index], kept[index + 1]), 0.3 * kept[index].line.height
    )


def _left(line: ItemLine) -> float:
    return line.line.words[0].level_box.x0


def _gap(above: ItemLine, below: ItemLine) -> float:
    return min(w.level_box.y0 for w in below.line.words) - max(w.level_box.y1 for w in above.line.words)


def _items(zone: list[ItemLine]) -> list[_Item]:
    flags = []
    for _index, line in enumerate(zone):
        top, bottom = min(w.level_box.y0 for w in line.line.words), max(w.level_box.y1 for w in line.line.words)
        anchor = line.amount is not None
        # A discount belongs to the line above it and makes no item of its own.
        if (
            anchor
            and line.amount is not None
            and (line.amount.value < 0 or opens_with(line.text, total_words().discount))
        ):
            anchor = False
        flags.append(BodyLine(top, bottom, anchor, line.describes))
    items = []
    for group in group_rows(flags):
        holder = next(zone[index] for index in group if flags[index].anchor)
        quantity = (holder, holder.quantity) if holder.quantity else None
        price = (holder, holder.price) if holder.price else None
        items.append(_Item(holder, [zone[index] for index in group], quantity, price, holder.fits))
    _share_details(zone, items)
    return items


def _share_details(zone: Sequence[ItemLine], items: Sequence[_Item]) -> None:
    """Give each "2 x 3.50" line to the item whose amount it makes: the one above it, or the one below."""
    order = {id(line): index for index, line in enumerate(zone)}
    for index, line in enumerate(zone):
        if line.amount is not None or line.quantity is None or line.price is None:
            continue
        above = [item for item in items if order[id(item.anchor)] < index]
        below = [item for item in items if order[id(item.anchor)] > index]
        near = [*above[-1:], *below[:1]]
        for item in near:
            if (
                item.anchor.amount
                and item.price is None
                and product_fits(line.quantity, line.price, item.anchor.amount)
            ):
                item.quantity, item.price, item.fits = (line, line.quantity), (line, line.price), True
                break
        else:
            holder = next((item for item in items if any(other is line for other in item.lines)), None)
            if holder and holder.price is None:
                holder.quantity, holder.price = (line, line.quantity), (line, line.price)


def _row(item: _Item, leaves: Sequence[Leaf], roles: dict[str, Leaf]) -> Row:
    page = item.anchor.line.page
    row: Row = {leaf.name: ABSENT for leaf in leaves}
    confidence = 0.85 if item.fits else 0.65

    def figure(role: str, line: ItemLine, taken: Figure) -> None:
        if role in roles:
            words = words_within(line.line.words, taken.start, taken.end)
            row[roles[role].name] = LeafReading(taken.text.strip(), pieces_of(words, page), confidence)

    assert item.anchor.amount is not None
    figure("amount", item.anchor, item.anchor.amount)
    if item.quantity:
        figure("quantity", *item.quantity)
    if item.price:
        figure("price", *item.price)
    words, code = _description(item, "code" in roles)
    if code and "code" in roles:
        row[roles["code"].name] = LeafReading(code.text.strip("#*:-"), pieces_of([code], page), confidence)
    if words and "description" in roles:
        row[roles["description"].name] = leaf_reading(roles["description"], words, page, confidence)
    if "tax" in roles and item.anchor.tail:
        tail = [w for w in words_within(item.anchor.line.words, *item.anchor.tail) if w.text.isalpha()]
        if tail:
            row[roles["tax"].name] = leaf_reading(roles["tax"], tail, page, confidence)
    return row


def _description(item: _Item, wants_code: bool) -> tuple[list[Word], Word | None]:
    """The words that describe an item, and the code in front of them."""
    words: list[Word] = []
    code: Word | None = None
    for line in item.lines:
        if line.amount is not None and line is not item.anchor:
            continue
        rest = line.rest
        if rest and _is_code(rest[0].text, alone=len(rest) == 1) and (len(rest) > 1 or len(item.lines) > 1):
            if code is None:
                code = rest[0]
            if wants_code or len(rest) == 1 or len(rest[0].text) >= 8:
                rest = rest[1:]
        if line is not item.anchor and not line.describes and (item.anchor.describes or line.quantity is not None):
            continue
        while len(rest) > 1 and _MARK.match(rest[-1].text):
            rest = rest[:-1]
        rest = [word for word in rest if not (word.text.isdigit() and len(word.text) >= 8)] or rest
        words += rest
    return words, code


def _is_code(text: str, *, alone: bool) -> bool:
    """Whether a word is a number of goods: a run of digits, four or more where nothing else stands on the line."""
    return text.isdigit() and len(text) >= (4 if alone else 5)
