"""Lists of a record: rows of printed tables and item lines of receipts, mapped to the fields of the schema.

A table is found by the line that heads it: names of columns that the schema or the vocabulary knows. Its rows are
read by where words stand, its columns are given to the schema's fields by their heads, by what kind of values they
hold and by whether quantity x price gives the amount. Lists without a head are read by their item lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docflow.engines.embedded.cells import Row
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.enumerations import read_values
from docflow.engines.embedded.forms import read_pairs, wants_pairs
from docflow.engines.embedded.headed import best_table
from docflow.engines.embedded.items import read_items
from docflow.engines.embedded.vocabulary import leaves_of, list_name
from docflow.fields.kinds import Kind

_AMOUNTS = {"amount", "net_amount", "unit_price"}


def read_list(schema: Mapping[str, Any], path: str, context: Context) -> list[Row]:
    """The items of the list at ``path``: a reading for each leaf of the item schema, in reading order.

    ``schema`` is the list's own schema (``{"type": "array", "items": ...}``). A list of plain values gives rows with
    one leaf named "". Leaves that an item does not have are absent. Raises ReadingError or DocumentError.
    """
    items = schema["items"]
    if items.get("type") != "object":
        return [{"": reading} for reading in read_values(schema, path, context)]
    leaves = leaves_of(items)
    if not leaves:
        return []
    if wants_pairs(leaves):
        return read_pairs(leaves, context)
    table = best_table(leaves, context, list_name(schema, path))
    priced = any(leaf.kind == Kind.MONEY or _AMOUNTS & set(leaf.concepts[:1]) for leaf in leaves)
    if priced and not (table and table.named):
        lines = read_items(leaves, context, table)
        if lines is not None:
            return lines
    return table.readings() if table else []
