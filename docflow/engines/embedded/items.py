"""Item lines of receipts and bills: lines with an amount at the right, between the head of the document and its sums.

Such lines are read by their grammar and not by columns: "2 x 3.50  7.00", "MILK 1L   2.20 A", a description over or
under its figures. Quantity and unit price are the pair of numbers whose product is the amount.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from docflow.documents.model import Word
from docflow.engines.embedded.context import ABSENT, Context, LeafReading
from docflow.engines.embedded.figures import Figure, figures, product_fits
from docflow.engines.embedded.tables import (
    Row,
    Table,
    amount_of,
    leaf_reading,
    pieces_of,
    spaced,
    word_spans,
    words_within,
)
from docflow.engines.embedded.vocabulary import Leaf, is_total, opens_with, total_words
from docflow.fields.kinds import Kind
from docflow.fields.text import plain
from docflow.reading.layout import Line
from docflow.reading.tables import BodyLine, group_rows

_TIMES = re.compile(r"(?<![^\W\d_])[xX×*@✕](?![^\W\d_])")
_MIDDLE_X = re.compile(r"(?<=\d)[xX](?=\d)")
_TAIL = re.compile(
    r"^[\s*#=]*(?:[A-Z]{1,4}|[a-z]|\*[A-Z]|\[[A-Z]{1,3}\]|\([A-Z]\)|[€$£])?(?:\s+[A-Z]{1,3})?[\s*#.,:|)]*$"
)
_LABELLED = re.compile(r":\s|:$")
_UNIT = (
    r"(?:pcs?|pc|ea|pkts?|btl|un|uds?|st[kc]?|szt|kg|g|l|ltr|litres?|unit|units|each|nos?|set|box|pz|kpl|ks|db|adet|개)"
)
_LEADING = re.compile(
    rf"^\s*(\d{{1,3}})\s*(?:{_UNIT}\b\.?)?\s*[xX×*]?\s+(?=\S)|^\s*(\d{{1,2}})[xX×*](?=\s|[A-Z])", re.IGNORECASE
)


@dataclass(slots=True)
class ItemLine:
    """A printed line and the roles of the numbers on it."""

    line: Line
    text: str
    amount: Figure | None = None
    quantity: Figure | None = None
    price: Figure | None = None
    spans: list[tuple[int, int]] = field(default_factory=list)
    """What is taken by figures, marks and tax letters: the rest describes the item."""
    tail: tuple[int, int] | None = None
    fits: bool = False
    """Quantity x price gives the amount."""

    @property
    def rest(self) -> list[Word]:
        """The words that describe: not taken by a figure, a mark or a tax letter."""
        kept = []
        for word, (start, end) in zip(self.line.words, word_spans(self.line.words), strict=True):
            taken = sum(max(0, min(end, b) - max(start, a)) for a, b in self.spans)
            if taken < 0.5 * len(word.text):
                kept.append(word)
        while kept and not any(ch.isalnum() for ch in kept[0].text):
            kept.pop(0)
        while kept and not any(ch.isalnum() for ch in kept[-1].text):
            kept.pop()
        return kept

    @property
    def describes(self) -> bool:
        text = " ".join(word.text for word in self.rest)
        letters = [ch for ch in text if ch.isalpha()]
        return len(letters) >= 3 or any(ord(ch) > 0x2E80 for ch in letters)


def parse_line(line: Line) -> ItemLine:
    """Find the amount at the end of a line, and quantity and unit price before it."""
    text = _MIDDLE_X.sub("×", plain(spaced(line.words)))
    item = ItemLine(line, text)
    found = list(figures(text))
    for figure in reversed(found):
        if figure.is_amount and _TAIL.match(text[figure.end :]):
            item.amount = figure
            item.tail = (figure.end, len(text))
            break
    times = [match.span() for match in _TIMES.finditer(text)]
    if item.amount:
        item.spans += [(item.amount.start, item.amount.end), (item.amount.end, len(text))]
        before = [figure for figure in found if figure.end <= item.amount.start and not figure.percent]
        _find_product(item, before, times)
    else:
        _find_detail(item, found, times)
    return item


def _find_product(item: ItemLine, before: Sequence[Figure], times: Sequence[tuple[int, int]]) -> None:
    amount = item.amount
    assert amount is not None
    pairs = [
        (q, p)
        for q in before
        for p in before
        if q is not p
        and (q.is_count or q.decimals in (1, 2, 3))
        and (p.is_amount or p.decimals == 4 or amount.decimals == 0)
    ]
    # The figures nearest to the amount first, the count before the price.
    pairs.sort(
        key=lambda pair: (pair[0].is_count, pair[0].end <= pair[1].start, pair[0].start + pair[1].start), reverse=True
    )
    for quantity, price in pairs:
        if product_fits(quantity, price, amount):
            item.quantity, item.price, item.fits = quantity, price, True
            break
    else:
        for start, end in times:
            left = [f for f in before if f.end <= start and start - f.end <= 6]
            right = [f for f in before if f.start >= end and f.start - end <= 3 and f.is_amount]
            opens = bool(left) and not any(ch.isalpha() for ch in item.text[: left[-1].start])
            if left and left[-1].is_count and (right or opens):
                item.quantity = left[-1]
                item.price = right[0] if right else None
                break
    if item.quantity is None:
        match = _LEADING.match(item.text)
        if match:
            figure = next((f for f in before if f.start == match.start(1 if match[1] else 2)), None)
            if figure and figure.is_count and 0 < figure.value < 1000:
                item.quantity = figure
                # "1 Coffee @ 3.00  3.00" has named its price; a single piece costs what the line costs.
    for used in (item.quantity, item.price):
        if used:
            item.spans.append((used.start, used.end))
    if item.quantity:
        for start, end in times:
            if any(abs(start - f.end) <= 6 or abs(f.start - end) <= 3 for f in (item.quantity, item.price) if f):
                item.spans.append((start, end))
                gap_start = max((f.end for f in (item.quantity, item.price) if f and f.end <= start), default=start)
                item.spans.append((gap_start, start))


def _find_detail(item: ItemLine, found: Sequence[Figure], times: Sequence[tuple[int, int]]) -> None:
    """A line that says "2 x 3.50" and no more."""
    for start, end in times:
        left = [f for f in found if f.end <= start and start - f.end <= 6]
        right = [f for f in found if f.start >= end and f.start - end <= 4]
        if (
            left
            and right
            and (left[-1].is_count or left[-1].decimals in (1, 2, 3))
            and (right[0].is_amount or right[0].decimals in (1, 3, 4))
        ):
            quantity, price = left[-1], right[0]
            if quantity.decimals == 2 and price.is_count:
                quantity, price = price, quantity
            item.quantity, item.price = quantity, price
            item.spans += [(left[-1].start, right[0].end), (right[0].end, len(item.text))]
            return


@dataclass(slots=True)
class _Item:
    """One item: its anchor, the lines around it, and what they say."""

    anchor: ItemLine
    lines: list[ItemLine]
    quantity: tuple[ItemLine, Figure] | None
    price: tuple[ItemLine, Figure] | None
    fits: bool


def read_items(leaves: Sequence[Leaf], context: Context, table: Table | None) -> list[Row] | None:
    """The items as lines; None when the table's own rows serve better."""
    roles = _roles(leaves)
    if "amount" not in roles:
        return None
    if table is not None and _table_serves(table, roles, context):
        return None
    found: list[Row] = []
    for layout in context.layouts:
        found += _read_page(layout.lines, table if table and table.page == layout.page.number else None, leaves, roles)
    if table is not None and table.rows and len(found) < len(table.rows):
        return None
    return found


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


def _table_serves(table: Table, roles: dict[str, Leaf], context: Context) -> bool:
    """Whether the rows of a table hold together: every row has an amount, and they add up or multiply."""
    if roles["amount"].name not in table.columns or not table.rows:
        return False
    rows = table.readings()
    if any(row[roles["amount"].name].printed is None for row in rows):
        return False
    return not ("description" in roles and any(row[roles["description"].name].printed is None for row in rows))


def printed_sums(context: Context) -> set[Decimal]:
    """The amounts that stand on lines of sums, taxes and payments."""
    return {
        abs(figure.value)
        for line in context.lines
        if is_total(line.text)
        for figure in figures(plain(line.text))
        if figure.is_amount
    }


def adds_up(rows: Sequence[Row], amount: str, context: Context) -> bool:
    """Whether the items' amounts add up to a sum that is printed."""
    values = [amount_of(row[amount]) for row in rows]
    return bool(values) and None not in values and sum(v for v in values if v is not None) in printed_sums(context)


def _read_page(lines: Sequence[Line], table: Table | None, leaves: Sequence[Leaf], roles: dict[str, Leaf]) -> list[Row]:
    start = table.top + 1 if table else 0
    zone = _zone([parse_line(line) for line in lines[start:]], headed=table is not None)
    rows = [_row(item, leaves, roles) for item in _items(zone)]
    named = roles.get("description")
    return [row for row in rows if named is None or table is not None or row[named.name].printed is not None]


def _zone(lines: list[ItemLine], *, headed: bool) -> list[ItemLine]:
    """The lines that hold the items: up to the first sum after the first amount, and from where descriptions begin."""
    kept: list[ItemLine] = []
    seen = False
    sums = _sum_lines(lines)
    for index, line in enumerate(lines):
        if index in sums:
            if not seen:
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
        if opens_with(line.text, total_words().carried):
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
        if is_total(line.text) and not (line.fits and line.describes and line.price is not None):
            sums.add(index)
        elif index - 1 in sums and lines[index - 1].amount is None and line.amount and not line.rest:
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
        return first
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
            or (not gaps and begin < first and abs(_left(above) - left) > 2.5 * height)
        ):
            break
        begin -= 1
    return begin


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
        if line is not item.anchor and line.amount is None and line.quantity is not None and not line.describes:
            continue
        words += rest
    return words, code


def _is_code(text: str, *, alone: bool) -> bool:
    """Whether a word is a number of goods: a run of digits, four or more where nothing else stands on the line."""
    return text.isdigit() and len(text) >= (4 if alone else 5)
