"""Tables with a head: the one that serves a list best, and where it goes on after a page break."""

from __future__ import annotations

from collections.abc import Sequence

from docflow.documents.model import Box
from docflow.engines.embedded.columns import assign
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.figures import figures
from docflow.engines.embedded.grid import (
    Table,
    TableRow,
    gap_between,
    holds_text,
)
from docflow.engines.embedded.headings import Heading, headings_of
from docflow.engines.embedded.rows import read_body
from docflow.engines.embedded.vocabulary import NO_NAME, Leaf, ListName, is_total, opens_with, squash, total_words
from docflow.reading.layout import Cell, Line
from docflow.reading.tables import Span, span_of


def best_table(leaves: Sequence[Leaf], context: Context, name: ListName = NO_NAME) -> Table | None:
    """The table that serves the leaves best, with its continuation on later pages; None where there is none.

    A table that bears the list's ``name``, as a head or in the line above, comes before all others.
    """
    tables: list[Table] = []
    for layout in context.layouts:
        index = 0
        while index < len(layout.lines):
            found = _tables_at(layout.lines, index, leaves, name)
            tables += found
            index = max([index + 1, *(table.bottom for table in found)])
    usable = [table for table in tables if table.columns and table.rows]
    if not usable:
        return None
    best = max(usable, key=lambda table: (table.score + min(len(table.rows), 5) * 0.02, -table.page, -table.top))
    return _with_continuations(best, tables, context)


def _tables_at(lines: Sequence[Line], index: int, leaves: Sequence[Leaf], name: ListName) -> list[Table]:
    """The table headed by the line at ``index`` (and perhaps the one below it); two where two stand side by side."""
    line = lines[index]
    headings = headings_of([line], leaves, name)
    taken = 1
    if index + 1 < len(lines):
        below = lines[index + 1]
        alone = headings_of([below], leaves, name)
        if headings and alone and len(alone) > len(headings):
            return []  # the line above a head, which may share words with it
        # Skewed pages and heads of two lines: what stands half a line lower may belong to the same head.
        if gap_between(line, below) < 0.6 * line.height and not _crosses(line, below):
            both = headings_of([line, below], leaves, name)
            if both and (headings is None or len(both) > len(headings)):
                headings, taken = both, 2
    if not headings:
        return []
    table = read_body(lines, index + taken, headings, leaves, name)
    halves = _side_by_side(table)
    tables = [table]
    if len(halves) > 1:
        parts = [_clipped(lines[index + taken - 1 :], span) for span in _spans(halves)]
        tables = [read_body(part, 1, half, leaves, name) for part, half in zip(parts, halves, strict=True)]
    titled = any(_titles(above, line, name) for above in lines[max(0, index - 2) : index])
    for one in tables:
        one.page, one.top, one.bottom = table.page, index, table.bottom
        assign(one)
        one.named = titled or any(heading.names_list for heading in one.headings)
        if one.columns and one.named:
            one.score += 4.0
    return tables


def _titles(above: Line, head: Line, name: ListName) -> bool:
    """Whether a line close above a head bears the list's name."""
    near = gap_between(above, head) < 3.5 * head.height
    return near and len(above.words) <= 4 and name.fits(squash(above.text))


def _side_by_side(table: Table) -> list[list[Heading]]:
    """The heads of tables that stand beside each other: text begins anew behind numbers, and a head comes twice."""
    if not table.texts:
        return [table.headings]
    halves: list[list[Heading]] = [[]]
    numbers = False
    for heading, text in zip(table.headings, table.texts, strict=True):
        if text and numbers:
            halves.append([])
            numbers = False
        numbers = numbers or not text
        halves[-1].append(heading)
    phrases = [{heading.phrase for heading in half} for half in halves]
    if len(halves) == 2 and all(len(half) > 1 for half in halves) and phrases[0] & phrases[1]:
        return halves
    return [table.headings]


def _spans(halves: Sequence[Sequence[Heading]]) -> list[Span]:
    """From where to where each half reaches: up to the first head of the next."""
    starts = [min(heading.box.x0 for heading in half) for half in halves]
    starts[0] = float("-inf")
    heights = [half[0].box.height for half in halves]
    ends = [start - 0.5 * height for start, height in zip(starts[1:], heights[1:], strict=True)]
    return list(zip([starts[0], *ends], [*ends, float("inf")], strict=True))


def _clipped(lines: Sequence[Line], span: Span) -> list[Line]:
    """The parts of lines between two places, as lines of their own; lines without such a part are left out."""
    clipped = []
    for line in lines:
        cells = tuple(part for cell in line.cells if (part := _part_of(cell, span)) is not None)
        if cells:
            text = "  ".join(cell.text for cell in cells)
            clipped.append(Line(cells, Box.around(cell.box for cell in cells), text, line.page, line.index))
    return clipped


def _part_of(cell: Cell, span: Span) -> Cell | None:
    """The words of a cell between two places, as a cell of their own."""
    words = tuple(word for word in cell.words if span[0] <= sum(span_of(word)) / 2 < span[1])
    if len(words) == len(cell.words):
        return cell
    text = " ".join(word.text for word in words)
    return Cell(words, Box.around(word.level_box for word in words), text, cell.page) if words else None


def _crosses(line: Line, other: Line) -> bool:
    """Whether two lines share some of their width, cell by cell."""
    spans = [(min(span_of(w)[0] for w in c.words), max(span_of(w)[1] for w in c.words)) for c in line.cells]
    others = [(min(span_of(w)[0] for w in c.words), max(span_of(w)[1] for w in c.words)) for c in other.cells]
    return any(a0 < b1 and b0 < a1 for a0, a1 in spans for b0, b1 in others)


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
    numeric = [lane for lane, heading in enumerate(table.headings) if not holds_text(heading)]
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
                read_body(lines, max(start, 1), table.headings, table.leaves)
                if start
                else read_body((line, *lines), 1, table.headings, table.leaves)
            )
            more = _headless_rows(rest, context, seen) if rest.open_end else []
            return rest.rows + more
    return []
