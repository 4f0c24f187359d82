"""Lists of label and value: what any form says, for schemas that ask for such pairs."""

from __future__ import annotations

from collections.abc import Sequence

from docflow.engines.embedded.cells import Row, pieces_of
from docflow.engines.embedded.context import ABSENT, Context, LeafReading
from docflow.engines.embedded.headed import best_table
from docflow.engines.embedded.pairs import Pair, pairs
from docflow.engines.embedded.vocabulary import Leaf, squash
from docflow.fields.kinds import Kind

_LABELS = frozenset(
    map(
        squash,
        (
            "label",
            "name",
            "key",
            "field",
            "question",
            "attribute",
            "property",
            "caption",
            "title",
            "field name",
            "field_label",
        ),
    )
)
_VALUES = frozenset(
    map(squash, ("value", "answer", "content", "text", "entry", "response", "filled", "field value", "data", "reply"))
)


def roles(leaves: Sequence[Leaf]) -> tuple[Leaf, Leaf] | None:
    """The leaf that takes labels and the one that takes values, when that is all that the schema asks for."""
    texts = [leaf for leaf in leaves if leaf.kind in (Kind.TEXT, Kind.IDENTIFIER)]
    if len(leaves) != 2 or len(texts) != 2:
        return None
    label = next((leaf for leaf in texts if squash(leaf.name) in _LABELS), None)
    value = next((leaf for leaf in texts if squash(leaf.name) in _VALUES), None)
    return (label, value) if label and value else None


def wants_pairs(leaves: Sequence[Leaf]) -> bool:
    """Whether a list's items are pairs of label and value."""
    return roles(leaves) is not None


def read_pairs(leaves: Sequence[Leaf], context: Context) -> list[Row]:
    """The pairs of all pages as rows, or the rows of a table whose head names both leaves."""
    found = roles(leaves)
    assert found is not None
    label, value = found
    table = best_table(leaves, context)
    if table is not None and table.score >= 6 and len(table.rows) > 1:
        return table.readings()
    return [{label.name: _label(pair), value.name: _value(pair)} for pair in pairs(context)]


def _label(pair: Pair) -> LeafReading:
    return LeafReading(pair.label, pieces_of(pair.label_words, pair.page), pair.confidence)


def _value(pair: Pair) -> LeafReading:
    if pair.value is None:
        return ABSENT
    return LeafReading(pair.value, pieces_of(pair.value_words, pair.page), pair.confidence)
