"""Tables with a head: the one that serves a list best, and where it goes on after a page break."""

from __future__ import annotations

from collections.abc import Sequence

from docflow.engines.embedded.columns import assign
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.figures import figures
from docflow.engines.embedded.grid import (
    Table,
    TableRow,
    gap_between,
    holds_text,
)
from docflow.engines.embedded.headings import headings_of
from docflow.engines.embedded.rows import read_body
from docflow.engines.embedded.vocabulary import Leaf, is_total, opens_with, total_words
from docflow.reading.layout import Line
from docflow.reading.tables import span_of


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
        if gap_between(line, below) < 0.6 * line.height and not _crosses(line, below):
            both = headings_of([line, below], leaves)
            if both and (headings is None or len(both) > len(headings)):
                headings, taken = both, 2
    if not headings:
        return None
    table = read_body(lines, index + taken, headings, leaves)
    table.top = index
    assign(table)
    return table


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
