"""One record out of the answers of several windows of pages."""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set
from dataclasses import replace

from docflow.engines.base import LeafHint, Reason
from docflow.extraction.grounding import squash
from docflow.extraction.leaves import Keys, leaves_of
from docflow.extraction.record import Reading, Record
from docflow.rules import weights
from docflow.settings import Merge

NEARLY_TIED = 0.1
"""Different values whose confidences are no further apart than this are a conflict: nothing tells which is right."""

_WEIGHT: dict[Reason, int] = {"absent": 0, "unreadable": 1, "conflict": 2}


def merge(record: Record, answers: Sequence[Sequence[Reading]], how: Merge) -> None:
    """Fill ``record`` with what all windows answered: lists joined, and of every other leaf one reading by rule."""
    readings: dict[Keys, list[Reading]] = {}
    items: dict[Keys, list[list[Reading]]] = {}
    said: dict[Keys, set[tuple[Hashable, ...]]] = {}
    for answer in answers:
        for name, window_items in _items(answer).items():
            before = said.setdefault(name, set())
            items.setdefault(name, []).extend(item for item in window_items if not _is_double(record, item, before))
            before.update(map(_said, window_items))
        for reading in answer:
            if _list_position(reading.asked) is None:
                readings.setdefault(reading.asked, []).append(reading)
    for keys, several in readings.items():
        record.readings[keys] = chosen(record, several, how)
    for name, joined in items.items():
        for index, item in enumerate(joined):
            for reading in item:
                reading.leaf.keys = (*name, index, *reading.asked[len(name) + 1 :])
                record.readings[reading.leaf.keys] = reading
    if how == "best":
        for keys, several in readings.items():
            if record.readings[keys].reason == "conflict":
                record.readings[keys] = _by_rules(record, keys, several) or record.readings[keys]
    in_order = leaves_of(record.program.schema, record.data())
    record.readings = {leaf.keys: record.readings[leaf.keys] for leaf in in_order}


def _list_position(keys: Keys) -> int | None:
    return next((position for position, key in enumerate(keys) if isinstance(key, int)), None)


def _items(answer: Sequence[Reading]) -> dict[Keys, list[list[Reading]]]:
    """The lists of an answer by name, each item with its readings."""
    lists: dict[Keys, dict[str | int, list[Reading]]] = {}
    for reading in answer:
        position = _list_position(reading.asked)
        if position is not None:
            items = lists.setdefault(reading.asked[:position], {})
            items.setdefault(reading.asked[position], []).append(reading)
    return {name: list(items.values()) for name, items in lists.items()}


def _is_double(record: Record, item: Sequence[Reading], before: Set[tuple[Hashable, ...]]) -> bool:
    """Whether an item repeats one of an earlier window and does not stand on its own window's pages.

    The same line may be printed twice in a document: an item that stands on its own pages is never a double.
    """
    if _said(item) not in before:
        return False
    places = [record.look_up(reading) for reading in item if reading.typed is not None]
    return any(place is not None and place.found == "not on the page" for place in places)


def _said(item: Sequence[Reading]) -> tuple[Hashable, ...]:
    return tuple(_meaning(reading) for reading in item)


def _meaning(reading: Reading) -> Hashable:
    """What two readings of a leaf have in common that say the same: text counts without its marks and case."""
    value = reading.typed
    if isinstance(value, str):
        return squash(value) or value
    return (type(value).__name__, value)


def same(left: Reading, right: Reading) -> bool:
    """Whether two readings say the same: the same typed value, or text that differs in marks and case only."""
    return _meaning(left) == _meaning(right)


def chosen(record: Record, several: Sequence[Reading], how: Merge) -> Reading:
    """The one reading that stands for several of the same leaf."""
    given = [reading for reading in several if reading.leaf.printed is not None]
    if not given:
        return max(several, key=lambda reading: _WEIGHT[reading.hint.reason or "absent"])
    if len(given) == 1 or how == "first":
        return given[0]
    given.sort(key=record.sure, reverse=True)  # stable: among equals the first window stays first
    best = given[0]
    others = [reading for reading in given if not same(reading, best)]
    if not others or (how == "best" and record.sure(best) - record.sure(others[0]) > NEARLY_TIED):
        return best
    return conflict(best, others)


def _by_rules(record: Record, keys: Keys, several: Sequence[Reading]) -> Reading | None:
    """Of readings that contradict each other, the surest of those that the rules among the fields bear out.

    None where they bear out several values, or none. The other leaves count as they were merged: a sum carried over to
    the next page is told from the total by the tax beside it.
    """
    values = {other: reading.typed for other, reading in record.readings.items()}
    given = [reading for reading in several if reading.typed is not None]
    fitting = [r for r in given if weights(record.program.rules, {**values, keys: r.typed}).get(keys)]
    if not fitting or any(not same(reading, fitting[0]) for reading in fitting):
        return None
    return max(fitting, key=record.sure)


def conflict(reading: Reading, others: Sequence[Reading]) -> Reading:
    """A null in place of readings that contradict each other, whose raw text shows all of them."""
    raws = dict.fromkeys(each.hint.raw or str(each.leaf.printed) for each in (reading, *others))
    return replace(
        reading,
        leaf=replace(reading.leaf, printed=None),
        hint=LeafHint(raw=" | ".join(raws)),
        value=None,
        reason="conflict",
        seconded=None,
        place=None,
        looked_up=False,
    )
