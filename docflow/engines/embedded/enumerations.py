"""Lists of plain values: what stands under, or behind, the words that name the list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from docflow.documents.model import Word
from docflow.engines.embedded.cells import leaf_reading, pieces_of
from docflow.engines.embedded.context import Context, LeafReading
from docflow.engines.embedded.figures import only_figure
from docflow.engines.embedded.headed import best_table
from docflow.engines.embedded.labelling import label_text
from docflow.engines.embedded.pairs import pairs
from docflow.engines.embedded.vocabulary import leaves_of, spoken, squash
from docflow.fields.kinds import KIND_KEY, Kind
from docflow.reading.layout import Cell, Line

_BULLET = re.compile(r"^(?:[-–•*·▪◦‣●]|\(?\d{1,2}[.)])\s*")
_EDGES = " ,;\uff0c\uff1b、"
_SEPARATOR = re.compile(r"[,;,;、/|]")


def read_values(schema: Mapping[str, Any], path: str, context: Context) -> list[LeafReading]:
    """The values of a list of plain texts, numbers or dates, in reading order.

    Found under a heading that names the list (lines with bullets, or close lines), behind a label ("Skills: a, b"),
    or as a column of a table.
    """
    name = path.rsplit(".", 1)[-1]
    labels = [*schema.get("x-labels", ()), schema.get("title", ""), spoken(name)]
    phrases = {squash(label) for label in labels if label}
    phrases |= {phrase.removesuffix("s") for phrase in phrases if len(phrase) > 4}
    kind = Kind(schema["items"].get(KIND_KEY, Kind.TEXT))
    for pair in pairs(context):
        if squash(pair.label) in phrases and pair.value_words:
            return _split(pair.value_words, pair.page, pair.confidence)
    under = _under_heading(phrases, context)
    if under:
        return under
    leaves = leaves_of(
        {
            "properties": {
                name: {**schema["items"], "title": schema.get("title", ""), "x-labels": list(labels), KIND_KEY: kind}
            }
        }
    )
    table = best_table(leaves, context)
    if table is None or name not in table.columns:
        return []
    found = [leaf_reading(leaves[0], row.lanes[table.columns[name]], row.page, 0.6) for row in table.rows]
    return [reading for reading in found if reading.printed is not None]


def _split(words: tuple[Word, ...], page: int, confidence: float) -> list[LeafReading]:
    """Values that stand behind one label, apart by commas or the like."""
    groups: list[list[Word]] = [[]]
    for word in words:
        groups[-1].append(word)
        if word.text[-1] in ",;,;、" and not word.text[:-1].isdigit():
            groups.append([])
        elif _SEPARATOR.fullmatch(word.text):
            groups[-1].pop()
            groups.append([])
    found = []
    for group in groups:
        text = " ".join(word.text for word in group).strip(_EDGES)
        if text:
            found.append(LeafReading(text, pieces_of(group, page), confidence))
    return found


def _under_heading(phrases: set[str], context: Context) -> list[LeafReading]:
    for layout in context.layouts:
        for line in layout.lines:
            heading = next((cell for cell in line.cells if squash(label_text(cell.words)) in phrases), None)
            if heading is not None:
                found = [_value(cell) for cell in _list_below(heading, layout.lines[line.index + 1 :])]
                values = [reading for reading in found if reading is not None]
                if values:
                    return values
    return []


def _list_below(heading: Cell, lines: tuple[Line, ...]) -> list[Cell]:
    """The lines of a list under its heading: one begins where the next begins, none far from the one above."""
    cells: list[Cell] = []
    bottom, height = heading.box.y1, heading.height
    for line in lines:
        cell = next((c for c in line.cells if c.box.x0 < heading.box.x1 and heading.box.x0 - height < c.box.x1), None)
        if cell is None:
            continue
        near = cell.box.y0 - bottom < 1.6 * height
        aligned = not cells or abs(cell.box.x0 - cells[0].box.x0) < 0.8 * height
        bulleted = bool(cells) and bool(_BULLET.match(cells[0].text))
        if not near or not aligned or (bulleted and not _BULLET.match(cell.text)) or cell.text.rstrip().endswith(":"):
            break
        cells.append(cell)
        bottom = cell.box.y1
    return cells


def _value(cell: Cell) -> LeafReading | None:
    words = list(cell.words)
    match = _BULLET.match(cell.text)
    if match and only_figure(cell.text) is None:
        taken = len(match[0].strip())
        if len(words[0].text) <= taken:
            words = words[1:]
    text = _BULLET.sub("", cell.text) if match else cell.text
    return LeafReading(text, pieces_of(words, cell.page), 0.6) if text and words else None
