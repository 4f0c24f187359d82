"""Lists of a record: rows of printed tables and item lines of receipts, mapped to the fields of the schema.

A table is found by the line that heads it: names of columns that the schema or the vocabulary knows. Its rows are
read by where words stand, its columns are given to the schema's fields by their heads, by what kind of values they
hold and by whether quantity x price gives the amount. Lists without a head are read by their item lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from docflow.documents.model import Box, Word
from docflow.engines.base import Piece
from docflow.engines.embedded.context import ABSENT, Context, LeafReading
from docflow.engines.embedded.figures import Figure, figures, only_figure, product_fits
from docflow.engines.embedded.headings import Heading, headings_of
from docflow.engines.embedded.vocabulary import Leaf, concepts, is_total, leaves_of, opens_with, squash, total_words
from docflow.fields.kinds import Kind
from docflow.fields.text import plain
from docflow.reading.layout import Cell, Line
from docflow.reading.tables import BodyLine, cut_lanes, group_rows, lane_at, span_of

Row = dict[str, LeafReading]

_NUMERIC = {Kind.MONEY, Kind.QUANTITY}
_TEXTUAL = {Kind.TEXT, Kind.IDENTIFIER}
_NAMING = {"description", "test", "code", "note"}
_TAX = {"tax_rate", "tax_code", "tax_amount", "net_amount", "amount", "base", "position"}


def read_list(schema: Mapping[str, Any], path: str, context: Context) -> list[Row]:
    """The items of the list at ``path``: a reading for each leaf of the item schema, in reading order.

    ``schema`` is the list's own schema (``{"type": "array", "items": ...}``). A list of plain values gives rows with
    one leaf named "". Leaves that an item does not have are absent. Raises ReadingError or DocumentError.
    """
    from docflow.engines.embedded.forms import read_pairs, wants_pairs

    items = schema["items"]
    if items.get("type") != "object":
        from docflow.engines.embedded.enumerations import read_values

        return [{"": reading} for reading in read_values(schema, path, context)]
    leaves = leaves_of(items)
    if not leaves:
        return []
    if wants_pairs(leaves):
        return read_pairs(leaves, context)
    table = best_table(leaves, context)
    if any(leaf.kind == Kind.MONEY for leaf in leaves):
        from docflow.engines.embedded.items import read_items

        lines = read_items(leaves, context, table)
        if lines is not None:
            return lines
    return table.readings() if table else []


# --- tables ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TableRow:
    """One row: the words in each lane, and the lines it was printed on."""

    lanes: list[list[Word]]
    page: int
    lines: list[Line]

    def text(self, lane: int) -> str:
        return " ".join(word.text for word in self.lanes[lane])


@dataclass(slots=True)
class Table:
    """A headed table: its columns, its rows, and which leaf reads which column."""

    headings: list[Heading]
    rows: list[TableRow]
    page: int
    top: int
    """Index on its page of the line that heads it."""
    bottom: int = 0
    """Index on its page of the line after its last row."""
    columns: dict[str, int] = field(default_factory=dict)
    score: float = 0.0
    leaves: Sequence[Leaf] = ()
    open_end: bool = False
    """The page ended before the table did."""

    def readings(self) -> list[Row]:
        """A reading for every leaf of every row."""
        return [self._reading(row) for row in self.rows]

    def _reading(self, row: TableRow) -> Row:
        reading: Row = {}
        for leaf in self.leaves:
            lane = self.columns.get(leaf.name)
            reading[leaf.name] = ABSENT if lane is None else leaf_reading(leaf, row.lanes[lane], row.page, 0.8)
        return reading


def leaf_reading(leaf: Leaf, words: Sequence[Word], page: int, confidence: float) -> LeafReading:
    """What these words, the content of one cell of a table, say for this leaf."""
    text = " ".join(word.text for word in words)
    if not any(ch.isalnum() for ch in text):
        return ABSENT
    if leaf.kind in _NUMERIC:
        figure = pick_figure(plain(text), leaf.kind)
        if figure is None:
            return ABSENT
        taken = words_within(words, figure.start, figure.end, tight=True)
        return LeafReading(figure.text.strip(), pieces_of(taken, page), confidence)
    return LeafReading(text, pieces_of(words, page), confidence)


def pick_figure(text: str, kind: Kind) -> Figure | None:
    """The number of a cell that holds one, the likeliest for the kind where it holds several."""
    found = figures(text)
    if not found:
        return None
    if kind == Kind.MONEY:
        return next((f for f in reversed(found) if f.is_amount), None) or next(
            (f for f in reversed(found) if not f.percent), None
        )
    return found[0]


def words_within(words: Sequence[Word], start: int, end: int, *, tight: bool = False) -> list[Word]:
    """The words that some characters of their text belong to: of the ``spaced`` text, or with single spaces (tight)."""
    return [word for word, (a, b) in zip(words, word_spans(words, tight=tight), strict=True) if a < end and b > start]


def word_spans(words: Sequence[Word], *, tight: bool = False) -> list[tuple[int, int]]:
    """Where each word stands in the text that ``spaced`` makes of them, or in one with single spaces (tight)."""
    spans: list[tuple[int, int]] = []
    at = 0
    for index, word in enumerate(words):
        if index:
            at += 1 if tight else len(_space(words[index - 1], word))
        spans.append((at, at + len(word.text)))
        at += len(word.text)
    return spans


def spaced(words: Sequence[Word]) -> str:
    """Words as one text, with two spaces where a gap is too wide to stand inside a number ("12 500,00")."""
    text = ""
    for index, word in enumerate(words):
        text += (_space(words[index - 1], word) if index else "") + word.text
    return text


def _space(left: Word, right: Word) -> str:
    gap = right.level_box.x0 - left.level_box.x1
    return "  " if gap < 0 or gap > 0.5 * min(left.level_box.height, right.level_box.height) else " "


def pieces_of(words: Iterable[Word], page: int) -> tuple[Piece, ...]:
    """A piece for each line that the words stand on."""
    runs: list[list[Word]] = []
    for word in words:
        last = runs[-1][-1].level_box if runs else None
        here = word.level_box
        if last and abs(here.center[1] - last.center[1]) < 0.6 * max(last.height, here.height) and here.x0 > last.x0:
            runs[-1].append(word)
        else:
            runs.append([word])
    return tuple(Piece(page, Box.around(word.box for word in run)) for run in runs)


def best_table(leaves: Sequence[Leaf], context: Context) -> Table | None:
    """The table that serves the leaves best, with its continuation on later pages; None where there is none."""
    tables: list[Table] = []
    for layout in context.layouts:
        index = 0
        while index < len(layout.lines):
            table = _table_at(layout.lines, index, leaves)
            if table is None:
                index += 1
                continue
            tables.append(table)
            index = max(index + 1, table.bottom)
    usable = [table for table in tables if table.columns and table.rows]
    if not usable:
        return None
    best = max(usable, key=lambda table: (table.score + min(len(table.rows), 5) * 0.02, -table.page, -table.top))
    return _with_continuations(best, tables, context)


def _table_at(lines: Sequence[Line], index: int, leaves: Sequence[Leaf]) -> Table | None:
    """The table headed by the line at ``index`` (and perhaps the one below it)."""
    line = lines[index]
    headings = headings_of([line], leaves)
    taken = 1
    if index + 1 < len(lines):
        # Skewed pages and heads of two lines: what stands half a line lower may belong to the same head.
        below = lines[index + 1]
        if _gap(line, below) < 0.6 * line.height and not _crosses(line, below):
            both = headings_of([line, below], leaves)
            if both and (headings is None or len(both) > len(headings)):
                headings, taken = both, 2
    if not headings:
        return None
    table = _read_body(lines, index + taken, headings, leaves)
    table.top = index
    return table


def _gap(above: Line, below: Line) -> float:
    return _top(below) - _bottom(above)


def _top(line: Line) -> float:
    return min(word.level_box.y0 for word in line.words)


def _bottom(line: Line) -> float:
    return max(word.level_box.y1 for word in line.words)


def _crosses(line: Line, other: Line) -> bool:
    """Whether two lines share some of their width, cell by cell."""
    spans = [(min(span_of(w)[0] for w in c.words), max(span_of(w)[1] for w in c.words)) for c in line.cells]
    others = [(min(span_of(w)[0] for w in c.words), max(span_of(w)[1] for w in c.words)) for c in other.cells]
    return any(a0 < b1 and b0 < a1 for a0, a1 in spans for b0, b1 in others)


def _read_body(lines: Sequence[Line], start: int, headings: list[Heading], leaves: Sequence[Leaf]) -> Table:
    """The rows under a header, up to the totals, another header, a wide gap or text that fits no column."""
    table = Table(headings, [], lines[0].page, start, leaves=leaves)
    body: list[Line] = []
    left = min(heading.box.x0 for heading in headings)
    right = max(heading.box.x1 for heading in headings)
    previous = lines[start - 1]
    index = start
    while index < len(lines):
        line = lines[index]
        gap = _gap(previous, line)
        typical = max(line.height, previous.height)
        if gap > (3.0 if body else 6.0) * typical and (not body or not _row_like(line)):
            break
        if gap > 8 * typical:
            break
        if not body and _heads_on(line, headings):
            _join_heads(line, headings)
        elif opens_with(line.text, total_words().carried):
            table.open_end = table.open_end or index > start
        elif (is_sum_line(line) and not _is_full_row(line, headings)) or (body and headings_of([line], leaves)):
            break
        elif _outside(line, left, right):
            if _row_like(line):
                break
        else:
            body.append(line)
        previous = line
        index += 1
    else:
        table.open_end = True
    table.bottom = index
    _fill(table, _trimmed(body, headings))
    return table


def _trimmed(body: list[Line], headings: Sequence[Heading]) -> list[Line]:
    """The body without what follows its last row: text that is no continuation of it (the page's foot)."""
    known = concepts()
    numeric = [h for h in headings if h.concepts and all(known.kind[c] not in _TEXTUAL for c in h.concepts)]
    holding = [index for index, line in enumerate(body) if any(_holds_figure(line, head) for head in numeric)]
    if not holding:
        return body
    kept = body[: holding[-1] + 1]
    pitch = _pitch(body)
    for line in body[holding[-1] + 1 :]:
        if _top(line) - _top(kept[-1]) > 2.0 * max(pitch, line.height):
            break
        if any(_stands_under(cell, head) for cell in line.cells for head in numeric):
            break
        kept.append(line)
    return kept


def _holds_figure(line: Line, head: Heading) -> bool:
    """Whether a number stands under a head."""
    reach = 0.5 * head.box.width
    x0, x1 = head.box.x0 - reach, head.box.x1 + reach
    return any(
        span_of(word)[0] < x1 and span_of(word)[1] > x0 and bool(figures(plain(word.text))) for word in line.words
    )


def _stands_under(cell: Cell, head: Heading) -> bool:
    """Whether a cell of text stands under the head of a column of numbers."""
    x0, x1 = span_of(cell.words[0])[0], span_of(cell.words[-1])[1]
    return x0 < head.box.x1 and x1 > head.box.x0 and any(_is_wordy(word.text) for word in cell.words)


def is_sum_line(line: Line) -> bool:
    """Whether a line is a sum, a tax or a payment: it begins like one, or its last words before the amount do."""
    if is_total(line.text):
        return True
    return bool(figures(line.cells[-1].text)) and any(
        len(squash(cell.text)) >= 4 and is_total(cell.text) for cell in line.cells[1:][-3:]
    )


def _heads_on(line: Line, headings: Sequence[Heading]) -> bool:
    """Whether a line right under the heads goes on with them: units in brackets, second lines of names."""
    if figures(line.text):
        return False
    bracketed = all(cell.text.startswith(("(", "[")) or len(squash(cell.text)) <= 3 for cell in line.cells)
    known = concepts()
    named = sum(squash(cell.text) in known.of_word for cell in line.cells)
    under = 0
    for cell in line.cells:
        x0, x1 = span_of(cell.words[0])[0], span_of(cell.words[-1])[1]
        head = next((h for h in headings if h.box.x0 - 2 < x1 and x0 < h.box.x1 + 2), None)
        if head and not _is_text(head) and x1 - x0 < 1.6 * head.box.width + 10:
            under += 1
    return under == len(line.cells) or bracketed or named == len(line.cells) > 1


def _join_heads(line: Line, headings: list[Heading]) -> None:
    """Widen the heads by the words that stand under them."""
    for word in line.words:
        x0, x1 = span_of(word)
        head = min(headings, key=lambda h: max(h.box.x0 - x1, x0 - h.box.x1))
        if max(head.box.x0 - x1, x0 - head.box.x1) < 0:
            head.words.append(word)


def _is_text(heading: Heading) -> bool:
    """Whether a column holds text (or may: where its head is unknown)."""
    known = concepts()
    return not heading.concepts or any(
        known.kind[concept] in (Kind.TEXT, Kind.IDENTIFIER) for concept in heading.concepts
    )


def _row_like(line: Line) -> bool:
    return len(figures(line.text)) >= 2 and len(line.cells) >= 2


def _is_full_row(line: Line, headings: Sequence[Heading]) -> bool:
    """Whether a line that begins like a total fills so many columns that it is a row all the same."""
    found = figures(line.text)
    counts = [f for f in found if f.is_count]
    amounts = [f for f in found if f.is_amount]
    return (
        len(amounts) >= 2
        and bool(counts)
        and any(product_fits(q, p, amounts[-1]) for q in counts for p in amounts[:-1])
        and len(headings) > 3
    )


def _outside(line: Line, left: float, right: float) -> bool:
    """Whether a line stands beside the table, or runs over it like a paragraph."""
    x0, x1 = span_of(line.words[0])[0], span_of(line.words[-1])[1]
    width = right - left
    return x1 < left - 0.15 * width or x0 > right + 0.15 * width


_UNITS = frozenset(
    "kg g mg l ml cl m cm mm m2 m3 km h hr hrs std min pc pcs stk st szt ea x uds ud un pz kpl ks db adet box btl pkt"  # noqa: SIM905
    " pkts pack packs nos unit units 개 個 本 点 件".split()
)


def _place(
    line: Line, headings: Sequence[Heading], borders: Sequence[float], texts: Sequence[bool]
) -> list[list[Word]]:
    """The words of a line by lane. A text that runs over its border stays in its column."""
    lanes: list[list[Word]] = [[] for _ in headings]
    for cell in line.cells:
        places = [lane_at(borders, sum(span_of(word)) / 2) for word in cell.words]
        first = lane_at(
            borders,
            (span_of(cell.words[0])[0] + min(sum(span_of(cell.words[0])) / 2, span_of(cell.words[0])[0] + line.height))
            / 2,
        )
        if texts[first] and len(cell.words) > 1:
            last_text = max((i for i, word in enumerate(cell.words) if _is_wordy(word.text)), default=-1)
            for i in range(last_text + 1):
                if not texts[places[i]] or _close_words(cell, i):
                    places[i] = (
                        first
                        if not (texts[places[i]] and places[i] != first and not _close_words(cell, i))
                        else places[i]
                    )
        for word, place in zip(cell.words, places, strict=True):
            lanes[place].append(word)
    return lanes


def _close_words(cell: Cell, index: int) -> bool:
    if index == 0:
        return True
    gap = span_of(cell.words[index])[0] - span_of(cell.words[index - 1])[1]
    return gap < 0.5 * cell.height


def _is_wordy(text: str) -> bool:
    letters = sum(ch.isalpha() for ch in text)
    return (
        letters >= 2
        and letters > sum(ch.isdigit() for ch in text)
        and text.casefold().strip(".") not in _UNITS
        and not (len(text) <= 3 and text.isupper())
    )


def _fill(table: Table, body: list[Line]) -> None:
    """Cut the body into lanes and rows, and give the lanes to the leaves."""
    headings = table.headings
    if not body:
        return
    heads = [(heading.box.x0, heading.box.x1) for heading in headings]
    strong = [line for line in body if figures(line.text) and len(line.words) > 1] or body
    borders = cut_lanes(heads, [[span_of(word) for word in line.words] for line in strong])
    texts = [_is_text(heading) for heading in headings]
    texts = _texts_by_data(texts, [_place(line, headings, borders, texts) for line in strong], headings)
    placed = [_place(line, headings, borders, texts) for line in body]
    naming = _naming_lane(headings, texts, placed)
    keys = [lane for lane in range(len(headings)) if not texts[lane]]
    money = [lane for lane in keys if any(concepts().kind[c] == Kind.MONEY for c in headings[lane].concepts)]
    flags: list[BodyLine] = []
    for line, lanes in zip(body, placed, strict=True):
        flags.append(
            BodyLine(_top(line), _bottom(line), _is_anchor(lanes, keys, money, naming), _has_text(lanes, naming))
        )
    groups = group_rows(flags)
    typical = _pitch(body)
    for group in groups:
        anchor = next(index for index in group if flags[index].anchor)
        kept = _connected(group, anchor, body, typical)
        kept = [i for i in kept if i == anchor or _fits_text(placed[i], texts)]
        lanes = [[word for index in kept for word in placed[index][lane]] for lane in range(len(headings))]
        table.rows.append(TableRow(lanes, body[anchor].page, [body[index] for index in kept]))
    _drop_empty(table, naming)
    _assign(table, texts)


def _texts_by_data(texts: list[bool], placed: Sequence[list[list[Word]]], headings: Sequence[Heading]) -> list[bool]:
    """Lanes of unknown or doubtful meaning are told by what stands in them."""
    known = concepts()
    result = list(texts)
    for lane, heading in enumerate(headings):
        kinds = {known.kind[concept] for concept in heading.concepts}
        filled = [" ".join(word.text for word in lanes[lane]) for lanes in placed if lanes[lane]]
        if not filled or (kinds <= {Kind.TEXT, Kind.IDENTIFIER} and kinds):
            continue
        numeric = sum(bool(figures(text)) and not _is_wordy(text) for text in filled)
        result[lane] = numeric < 0.5 * len(filled)
    return result


def _naming_lane(headings: Sequence[Heading], texts: Sequence[bool], placed: Sequence[list[list[Word]]]) -> int | None:
    """The lane that names the rows: the text lane with the most letters, the known ones first."""

    def letters(lane: int) -> int:
        return sum(ch.isalpha() for lanes in placed for word in lanes[lane] for ch in word.text)

    candidates = [lane for lane in range(len(headings)) if texts[lane]]
    if not candidates:
        return None
    return max(
        candidates, key=lambda lane: (letters(lane) * (2 if _NAMING & set(headings[lane].concepts) else 1), -lane)
    )


def _is_anchor(lanes: Sequence[Sequence[Word]], keys: Sequence[int], money: Sequence[int], naming: int | None) -> bool:
    def number(lane: int) -> bool:
        return bool(figures(" ".join(word.text for word in lanes[lane])))

    if money:
        filled = [lane for lane in money if number(lane)]
        return bool(filled) and (filled[-1] == money[-1] or sum(number(lane) for lane in keys) >= 2)
    if keys:
        return any(number(lane) for lane in keys)
    return sum(bool(words) for words in lanes) >= max(2, (len(lanes) + 1) // 2) and (
        naming is None or bool(lanes[naming])
    )


def _has_text(lanes: Sequence[Sequence[Word]], naming: int | None) -> bool:
    if naming is None:
        return True
    letters = sum(ch.isalpha() for word in lanes[naming] for ch in word.text)
    digits = sum(ch.isdigit() for word in lanes[naming] for ch in word.text)
    return letters >= 2 and letters * 2 >= digits


def _pitch(body: Sequence[Line]) -> float:
    """Typical distance between the lines of a table."""
    steps = sorted(_top(below) - _top(above) for above, below in itertools.pairwise(body))
    return steps[len(steps) // 3] if steps else 2 * body[0].height


def _connected(group: Sequence[int], anchor: int, body: Sequence[Line], pitch: float) -> list[int]:
    """The lines of a row that stand close to its anchor, without a gap between them."""
    kept = [anchor]
    for index in sorted(i for i in group if i > anchor):
        if index != kept[-1] + 1 or _top(body[index]) - _top(body[kept[-1]]) > 2.0 * max(pitch, body[index].height):
            break
        kept.append(index)
    for index in sorted((i for i in group if i < anchor), reverse=True):
        if index != kept[0] - 1 or _top(body[kept[0]]) - _top(body[index]) > 2.0 * max(pitch, body[index].height):
            break
        kept.insert(0, index)
    return kept


def _fits_text(lanes: Sequence[Sequence[Word]], texts: Sequence[bool]) -> bool:
    """Whether a line without figures of its own stands in text columns only."""
    return all(texts[lane] for lane, words in enumerate(lanes) if any(_is_wordy(word.text) for word in words))


def _drop_empty(table: Table, naming: int | None) -> None:
    """Rows that name nothing and are no sum of anything are left-overs: sums under a column, rules."""
    if naming is None:
        return
    named = [row for row in table.rows if any(ch.isalnum() for word in row.lanes[naming] for ch in word.text)]
    if len(named) * 2 >= len(table.rows):
        table.rows = named


def _with_continuations(best: Table, tables: Sequence[Table], context: Context) -> Table:
    """Join the tables with the same heads on the pages that follow, and rows that go on without a header."""
    phrases = [heading.phrase for heading in best.headings]
    rows = list(best.rows)
    page = best.page
    same = [t for t in tables if t is not best and t.rows and _alike([h.phrase for h in t.headings], phrases)]
    before = [t for t in same if (t.page, t.top) < (best.page, best.top)]
    after = [t for t in same if (t.page, t.top) > (best.page, best.top)]
    for table in reversed(before):
        rows = [*table.rows, *rows]
    last = best
    for table in after:
        rows += table.rows
        last = table
    if last.open_end:
        rows += _headless_rows(last, context, {t.page for t in tables if t.page > page and t in same})
    best.rows = rows
    return best


def _alike(one: Sequence[str], other: Sequence[str]) -> bool:
    return len(set(one) & set(other)) * 4 >= 3 * max(len(set(one)), len(set(other)))


def _headless_rows(table: Table, context: Context, seen: set[int]) -> list[TableRow]:
    """Rows at the top of the next page that stand in the lanes of an unfinished table."""
    following = [
        layout for layout in context.layouts if layout.page.number == table.page + 1 and layout.page.number not in seen
    ]
    if not following or not following[0].lines or not table.rows:
        return []
    lines = following[0].lines
    numeric = [lane for lane, heading in enumerate(table.headings) if not _is_text(heading)]
    rights = {lane: [span_of(row.lanes[lane][-1])[1] for row in table.rows if row.lanes[lane]] for lane in numeric}
    for start, line in enumerate(lines):
        if is_total(line.text) or opens_with(line.text, total_words().carried):
            continue
        ends = [span_of(cell.words[-1])[1] for cell in line.cells]
        fitting = sum(
            any(abs(end - right) < 0.8 * line.height for end in ends for right in values)
            for values in rights.values()
            if values
        )
        if fitting >= 2 and len(figures(line.text)) >= 2:
            rest = (
                _read_body(lines, max(start, 1), table.headings, table.leaves)
                if start
                else _read_body((line, *lines), 1, table.headings, table.leaves)
            )
            more = _headless_rows(rest, context, seen) if rest.open_end else []
            return rest.rows + more
    return []


# --- columns to leaves ------------------------------------------------------------------------------------------


def _assign(table: Table, texts: Sequence[bool]) -> None:
    """Give each leaf the column that serves it best: by its head, by what stands in it, one column a leaf."""
    lanes = range(len(table.headings))
    money = [lane for lane in lanes if not texts[lane] and _share(table, lane, Kind.MONEY) > 0.5]
    scores: dict[str, list[tuple[float, int]]] = {}
    has_amount = any("amount" in leaf.concepts or "net_amount" in leaf.concepts for leaf in table.leaves)
    for leaf in table.leaves:
        options = []
        for lane in lanes:
            score = _head_score(leaf, table.headings[lane])
            share = _share(table, lane, leaf.kind)
            if score <= 0 or share < 0.3:
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
    if kind in _NUMERIC:
        return sum(
            only_figure(text) is not None or (bool(figures(text)) and not _is_wordy(text)) for text in texts
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
        if leaf.concepts[:1] in (("description",), ("test",)):
            free = [
                lane
                for lane in range(len(texts))
                if texts[lane]
                and lane not in used
                and _letters(table, lane) >= 3
                and not _TAX & set(table.headings[lane].concepts)
            ]
            if free:
                table.columns[leaf.name] = max(free, key=lambda lane: _letters(table, lane))
                table.score += 1.0
        elif "amount" in leaf.concepts[:1]:
            rest = [lane for lane in money if lane not in used]
            if rest and rest[-1] == money[-1]:
                table.columns[leaf.name] = rest[-1]
                table.score += 1.0
        used = set(table.columns.values())
    _multiply(table, texts)
    naming = [leaf for leaf in table.leaves if leaf.concepts and leaf.concepts[0] in ("description", "test")]
    if naming and not any(
        leaf.name in table.columns and _letters(table, table.columns[leaf.name]) >= 2 for leaf in naming
    ):
        table.columns, table.score = {}, 0.0
    meanings = {concept for heading in table.headings for concept in heading.concepts[:1]}
    if is_total(table.headings[0].text) or (meanings <= _TAX and not naming):
        table.columns, table.score = {}, 0.0
    if len(table.columns) < min(2, len(table.leaves)):
        table.columns, table.score = {}, 0.0


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


def _letters(table: Table, lane: int) -> float:
    """Letters a row in a column."""
    return sum(ch.isalpha() for row in table.rows for word in row.lanes[lane] for ch in word.text) / max(
        1, len(table.rows)
    )


def amount_of(reading: LeafReading) -> Decimal | None:
    """What an amount that was read is worth, as far as its print alone tells."""
    found = figures(reading.printed) if reading.printed else ()
    return found[0].value if found else None
