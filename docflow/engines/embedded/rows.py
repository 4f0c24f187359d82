"""The rows under the head of a table: where its body ends, which lines make a row, which words each column holds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from docflow.documents.model import Word
from docflow.engines.embedded.figures import figures, product_fits
from docflow.engines.embedded.grid import (
    TEXTUAL,
    Table,
    TableRow,
    bottom_of,
    gap_between,
    holds_text,
    is_wordy,
    top_of,
)
from docflow.engines.embedded.headings import Heading, headings_of
from docflow.engines.embedded.vocabulary import (
    NO_NAME,
    Leaf,
    ListName,
    concepts,
    is_total,
    opens_with,
    squash,
    total_words,
)
from docflow.fields.kinds import Kind
from docflow.fields.text import plain
from docflow.reading.layout import Cell, Line
from docflow.reading.tables import BodyLine, cut_lanes, group_rows, lane_at, span_of

_NAMING = {"description", "test", "code", "note"}


def read_body(
    lines: Sequence[Line], start: int, headings: list[Heading], leaves: Sequence[Leaf], name: ListName = NO_NAME
) -> Table:
    """The rows under a header, up to the totals, another header, a wide gap or text that fits no column."""
    table = Table(headings, [], lines[0].page, start, leaves=leaves)
    body: list[Line] = []
    left = min(heading.box.x0 for heading in headings)
    right = max(heading.box.x1 for heading in headings)
    previous = lines[start - 1]
    index = start
    while index < len(lines):
        line = lines[index]
        gap = gap_between(previous, line)
        typical = max(line.height, previous.height)
        if gap > (3.0 if body else 6.0) * typical and (not body or not _row_like(line)):
            break
        if gap > 8 * typical:
            break
        if not body and _heads_on(line, headings):
            _join_heads(line, headings)
        elif opens_with(line.text, total_words().carried):
            table.open_end = table.open_end or index > start
        elif is_sum_line(line) and not _is_full_row(line, headings) and not _opens_row(line, headings):
            if not body or not any(_is_full_row(later, headings) for later in lines[index + 1 : index + 4]):
                break
        elif body and headings_of([line], leaves, name):
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
    numeric = [h for h in headings if h.concepts and all(known.kind[c] not in TEXTUAL for c in h.concepts)]
    holding = [index for index, line in enumerate(body) if any(_holds_figure(line, head) for head in numeric)]
    if not holding:
        return body
    kept = body[: holding[-1] + 1]
    pitch = _pitch(body)
    for line in body[holding[-1] + 1 :]:
        if top_of(line) - top_of(kept[-1]) > 2.0 * max(pitch, line.height):
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
    return x0 < head.box.x1 and x1 > head.box.x0 and any(is_wordy(word.text) for word in cell.words)


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
        if head and not holds_text(head) and x1 - x0 < 1.6 * head.box.width + 10:
            under += 1
    return under == len(line.cells) or bracketed or named == len(line.cells) > 1


def _join_heads(line: Line, headings: list[Heading]) -> None:
    """Widen the heads by the words that stand under them."""
    for word in line.words:
        x0, x1 = span_of(word)
        head = min(headings, key=lambda h: max(h.box.x0 - x1, x0 - h.box.x1))
        if max(head.box.x0 - x1, x0 - head.box.x1) < 0:
            head.words.append(word)


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


def _opens_row(line: Line, headings: Sequence[Heading]) -> bool:
    """Whether a line begins as rows do where the first column holds dates, numbers or codes."""
    first = line.cells[0]
    if len(headings) < 3 or not any(ch.isdigit() for ch in first.text) or is_wordy(first.text):
        return False
    # Not quantities: under them stands how many there are in all ("5  Total  74.68").
    numbered = headings[0].concepts[:1] in (("date",), ("position",), ("code",), ("due",), ("start",))
    return numbered and span_of(first.words[0])[0] < headings[1].box.x0 - 0.5 * first.height


def _outside(line: Line, left: float, right: float) -> bool:
    """Whether a line stands beside the table, or runs over it like a paragraph."""
    x0, x1 = span_of(line.words[0])[0], span_of(line.words[-1])[1]
    width = right - left
    return x1 < left - 0.15 * width or x0 > right + 0.15 * width


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
            last_text = max((i for i, word in enumerate(cell.words) if is_wordy(word.text)), default=-1)
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


def _fill(table: Table, body: list[Line]) -> None:
    """Cut the body into lanes and rows, and give the lanes to the leaves."""
    headings = table.headings
    if not body:
        return
    heads = [(heading.box.x0, heading.box.x1) for heading in headings]
    strong = [line for line in body if figures(line.text) and len(line.words) > 1] or body
    borders = cut_lanes(heads, [[span_of(word) for word in line.words] for line in strong])
    texts = [holds_text(heading) for heading in headings]
    texts = _texts_by_data(texts, [_place(line, headings, borders, texts) for line in strong], headings)
    placed = [_place(line, headings, borders, texts) for line in body]
    naming = _naming_lane(headings, texts, placed)
    keys = [lane for lane in range(len(headings)) if not texts[lane]]
    money = [lane for lane in keys if any(concepts().kind[c] == Kind.MONEY for c in headings[lane].concepts)]
    flags: list[BodyLine] = []
    for line, lanes in zip(body, placed, strict=True):
        flags.append(
            BodyLine(top_of(line), bottom_of(line), _is_anchor(lanes, keys, money, naming), _has_text(lanes, naming))
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
    table.texts = texts


def _texts_by_data(texts: list[bool], placed: Sequence[list[list[Word]]], headings: Sequence[Heading]) -> list[bool]:
    """Lanes of unknown or doubtful meaning are told by what stands in them."""
    known = concepts()
    result = list(texts)
    for lane, heading in enumerate(headings):
        kinds = {known.kind[concept] for concept in heading.concepts}
        filled = [" ".join(word.text for word in lanes[lane]) for lanes in placed if lanes[lane]]
        if not filled or (kinds <= {Kind.TEXT, Kind.IDENTIFIER} and kinds):
            continue
        numeric = sum(bool(figures(text)) and not is_wordy(text) for text in filled)
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
        found = figures(plain(" ".join(word.text for word in lanes[lane])))
        return any(figure.is_amount or not figure.letters for figure in found)

    if money:
        filled = [lane for lane in money if number(lane)]
        return bool(filled) and (filled[-1] == money[-1] or sum(number(lane) for lane in keys) >= 2)
    if keys:
        return any(number(lane) for lane in keys)
    return sum(bool(words) for words in lanes) >= max(2, (len(lanes) + 1) // 2) and (
        naming is None or bool(lanes[naming])
    )


def _has_text(lanes: Sequence[Sequence[Word]], naming: int | None) -> bool:
    """Whether a line names its row: with words, not with a code alone."""
    if naming is None:
        return True
    words = [word.text for word in lanes[naming]]
    letters = sum(ch.isalpha() for text in words for ch in text)
    coded = len(words) == 1 and sum(ch.isdigit() for ch in words[0]) >= 2 and words[0].upper() == words[0]
    return letters >= 2 and letters * 2 >= sum(ch.isdigit() for text in words for ch in text) and not coded


def _pitch(body: Sequence[Line]) -> float:
    """Typical distance between the lines of a table."""
    steps = sorted(top_of(below) - top_of(above) for above, below in itertools.pairwise(body))
    return steps[len(steps) // 3] if steps else 2 * body[0].height


def _connected(group: Sequence[int], anchor: int, body: Sequence[Line], pitch: float) -> list[int]:
    """The lines of a row that stand close to its anchor, without a gap between them."""
    kept = [anchor]
    for index in sorted(i for i in group if i > anchor):
        if index != kept[-1] + 1 or top_of(body[index]) - top_of(body[kept[-1]]) > 2.0 * max(pitch, body[index].height):
            break
        kept.append(index)
    for index in sorted((i for i in group if i < anchor), reverse=True):
        if index != kept[0] - 1 or top_of(body[kept[0]]) - top_of(body[index]) > 2.0 * max(pitch, body[index].height):
            break
        kept.insert(0, index)
    return kept


def _fits_text(lanes: Sequence[Sequence[Word]], texts: Sequence[bool]) -> bool:
    """Whether a line without figures of its own stands in text columns only."""
    return all(texts[lane] for lane, words in enumerate(lanes) if any(is_wordy(word.text) for word in words))


def _drop_empty(table: Table, naming: int | None) -> None:
    """Rows that name nothing and are no sum of anything are left-overs: sums under a column, rules."""
    if naming is None:
        return
    named = [row for row in table.rows if any(ch.isalnum() for word in row.lanes[naming] for ch in word.text)]
    if len(named) * 2 >= len(table.rows):
        table.rows = named
