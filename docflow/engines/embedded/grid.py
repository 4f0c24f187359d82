"""A headed table as it was found: its columns, its rows, and small questions about its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from docflow.documents.model import Word
from docflow.engines.embedded.cells import Row, leaf_reading
from docflow.engines.embedded.context import ABSENT
from docflow.engines.embedded.headings import Heading
from docflow.engines.embedded.vocabulary import Leaf, concepts
from docflow.fields.kinds import Kind
from docflow.reading.layout import Line

TEXTUAL = {Kind.TEXT, Kind.IDENTIFIER}


_UNITS = frozenset(
    "kg g mg l ml cl m cm mm m2 m3 km h hr hrs std min pc pcs stk st szt ea x uds ud un pz kpl ks db adet box btl pkt"  # noqa: SIM905
    " pkts pack packs nos unit units 개 個 本 点 件".split()
)


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
    texts: list[bool] = field(default_factory=list)
    """For each column whether it holds text, and not numbers."""
    columns: dict[str, int] = field(default_factory=dict)
    """Leaf -> column."""
    score: float = 0.0
    leaves: Sequence[Leaf] = ()
    named: bool = False
    """It bears the name of the list that is looked for."""
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


def top_of(line: Line) -> float:
    return min(word.level_box.y0 for word in line.words)


def bottom_of(line: Line) -> float:
    return max(word.level_box.y1 for word in line.words)


def gap_between(above: Line, below: Line) -> float:
    return top_of(below) - bottom_of(above)


def kinds_of(heading: Heading) -> set[Kind]:
    known = concepts()
    return {known.kind[concept] for concept in heading.concepts}


def holds_text(heading: Heading) -> bool:
    """Whether a column holds text (or may: where its head is unknown)."""
    known = concepts()
    return not heading.concepts or any(
        known.kind[concept] in (Kind.TEXT, Kind.IDENTIFIER) for concept in heading.concepts
    )


def is_wordy(text: str) -> bool:
    letters = sum(ch.isalpha() for ch in text)
    return (
        letters >= 2
        and letters > sum(ch.isdigit() for ch in text)
        and text.casefold().strip(".") not in _UNITS
        and not (len(text) <= 3 and text.isupper())
    )


def letters_in(table: Table, lane: int) -> float:
    """Letters a row in a column."""
    return sum(ch.isalpha() for row in table.rows for word in row.lanes[lane] for ch in word.text) / max(
        1, len(table.rows)
    )
