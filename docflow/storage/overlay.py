"""A record with a reviewer's corrections laid over it.

Paths name what docflow read: ``total``, ``items[3].amount`` (counted from 0), ``items[3]`` for a whole row. Rows that
a reviewer added are ``items[+1]``, ``items[+2]`` and come last. When a document is read again its rows may move, so a
correction in a list remembers what its row held, and finds it by that.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from docflow.storage.typed_text import as_text, from_text

Action = Literal["accept", "correct", "absent", "withdraw"]
Keys = tuple[str | int, ...]
"""A path taken apart; rows that a reviewer added count -1, -2 ..."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Correction:
    """What a reviewer said of one path.

    ``value`` is what is true, as text, and None where nothing stands there; ``old`` is what docflow had read.
    ``row`` holds the cells of the list item that the path lies in, as docflow had read them. ``when`` is ISO 8601.
    """

    path: str
    action: Action
    value: str | None
    old: str | None
    who: str
    when: str
    row: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Overlaid:
    """A row under its corrections. ``placed`` goes by the path that docflow's record has now."""

    row: Row
    placed: Mapping[str, Correction] = field(default_factory=dict)
    lost: Sequence[Correction] = ()
    """Corrections of rows that the record no longer has."""
    moved: Mapping[str, str] = field(default_factory=dict)
    """Where a path of ``placed`` is found in the corrected record; paths of removed rows are missing."""


_STEP = re.compile(r"\[(\+?)(\d{1,6})\]|\.?([^.\[\]]+)")


def keys_of(path: str) -> Keys:
    """``items[3].price`` as ``("items", 3, "price")``. Raises ValueError for a text that is no path."""
    keys: list[str | int] = []
    end = 0
    for match in _STEP.finditer(path):
        if match.start() != end or (match[0].startswith(".") and not keys):
            break
        end = match.end()
        if match[3] is not None:
            keys.append(match[3])
        elif not keys or (match[1] and int(match[2]) == 0):
            break
        else:
            keys.append(-int(match[2]) if match[1] else int(match[2]))
    if not keys or end != len(path):
        raise ValueError(f"{path[:80]!r} is no path")
    return tuple(keys)


def path_of(keys: Iterable[str | int]) -> str:
    """The path again; the other way round from ``keys_of``."""
    path = ""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]" if key >= 0 else f"[+{-key}]"
        else:
            path += f".{key}" if path else key
    return path


def value_at(record: Any, keys: Keys) -> Any:
    """What a record holds at a path; None where it holds nothing there."""
    for key in keys:
        if isinstance(key, int):
            record = record[key] if isinstance(record, list) and 0 <= key < len(record) else None
        else:
            record = record.get(key) if isinstance(record, Mapping) else None
    return record


def type_at(record: pa.DataType, keys: Keys) -> pa.DataType | None:
    """The Arrow type at a path; None where a record has no such path."""
    for key in keys:
        if isinstance(key, int):
            if not pa.types.is_list(record):
                return None
            record = record.value_type
        else:
            if not pa.types.is_struct(record) or record.get_field_index(key) < 0:
                return None
            record = record.field(key).type
    return record


def cells_of(item: Any) -> dict[str, str | None]:
    """A list item as its leaves, by their path inside the item ("" for an item that is a leaf itself)."""
    return {path_of(keys): as_text(leaf) for keys, leaf in leaves(item)}


def leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every leaf of a record with its path; an empty list has none."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, (*keys, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*keys, index))
    else:
        yield keys, value


def item_keys(keys: Keys) -> Keys | None:
    """The innermost list item that a path lies in or names; None for a path outside of lists."""
    for end in range(len(keys), 0, -1):
        if isinstance(keys[end - 1], int):
            return keys[:end]
    return None


# --- laying over --------------------------------------------------------------------------------------------------


def overlay(row: Row, corrections: Iterable[Correction], record_type: pa.DataType) -> Overlaid:
    """The row with the corrections applied to its record and evidence; the row that was given stays as it is.

    A corrected leaf has confidence 1.0; a corrected value keeps the place where docflow had looked.
    """
    record = row["record"]
    placed: dict[str, Correction] = {}
    typed: dict[Keys, Any] = {}
    lost: list[Correction] = []
    for correction in corrections:
        keys = _place(record, correction)
        to = None if keys is None else type_at(record_type, keys)
        if keys is None or to is None:
            if correction.action != "absent" or correction.row is None:  # a removed row that is gone is as it should be
                lost.append(correction)
            continue
        if not pa.types.is_nested(to):
            try:
                typed[keys] = from_text(correction.value, to)
            except ValueError:  # the field has changed its type since
                lost.append(correction)
                continue
        placed[path_of(keys)] = correction
    if not placed:
        return Overlaid(row, placed, lost)
    removed = {
        keys
        for path, correction in placed.items()
        if isinstance((keys := keys_of(path))[-1], int) and correction.value is None
    }
    built = _Built(typed, removed)
    corrected = built.record(record, record_type)
    moved = {path: built.moved[keys_of(path)] for path in placed if keys_of(path) in built.moved}
    evidence = _evidence(row, placed, built)
    return Overlaid({**row, "record": corrected, "evidence": evidence}, placed, lost, moved)


def _place(record: Any, correction: Correction) -> Keys | None:
    """Where the path of a correction is in the record as it is now; None where its row is gone."""
    keys = keys_of(correction.path)
    own = item_keys(keys)
    if own is None or any(isinstance(key, int) and key < 0 for key in keys):
        return keys
    items = value_at(record, own[:-1])
    if not isinstance(items, list):
        return None
    index, inside = own[-1], path_of(keys[len(own) :])
    assert isinstance(index, int)
    cells = [cells_of(item) for item in items]
    found = _nearest(index, [i for i, here in enumerate(cells) if here == correction.row])
    if found is None and keys != own:
        wanted = {path: text for path, text in (correction.row or {}).items() if path != inside and text is not None}
        agreeing = [sum(here.get(path) == text for path, text in wanted.items()) for here in cells]
        most = max(agreeing, default=0)
        if most * 2 > len(wanted):
            found = _nearest(index, [i for i, count in enumerate(agreeing) if count == most])
    return None if found is None else (*own[:-1], found, *keys[len(own) :])


def _nearest(index: int, candidates: list[int]) -> int | None:
    return min(candidates, key=lambda candidate: abs(candidate - index), default=None)


class _Built:
    """The record built again from docflow's and the corrected leaves; remembers where each path went."""

    def __init__(self, typed: Mapping[Keys, Any], removed: set[Keys]) -> None:
        self._typed, self._removed = typed, removed
        self.moved: dict[Keys, str] = {}

    def record(self, record: Any, to: pa.DataType) -> Any:
        return self._build(record, to, (), ())

    def _build(self, value: Any, to: pa.DataType, keys: Keys, new: Keys) -> Any:
        self.moved[keys] = path_of(new)
        if pa.types.is_struct(to):
            if value is None and not any(typed[: len(keys)] == keys for typed in self._typed):
                return None
            here = value if isinstance(value, Mapping) else {}
            return {
                part.name: self._build(here.get(part.name), part.type, (*keys, part.name), (*new, part.name))
                for part in to
            }
        if pa.types.is_list(to):
            depth = len(keys)
            added = {typed[depth] for typed in self._typed if len(typed) > depth and typed[:depth] == keys}
            new_rows = sorted((key for key in added if isinstance(key, int) and key < 0), reverse=True)
            if value is None and not new_rows:
                return None
            rows: list[Any] = []
            for index in (*range(len(value or ())), *new_rows):
                if (*keys, index) not in self._removed:
                    item = value[index] if index >= 0 else None
                    rows.append(self._build(item, to.value_type, (*keys, index), (*new, len(rows))))
            return rows
        return self._typed.get(keys, copy.deepcopy(value))


def _evidence(row: Row, placed: Mapping[str, Correction], built: _Built) -> list[Row]:
    kept: list[Row] = []
    seen: set[str] = set()
    for entry in row.get("evidence") or []:
        path = entry["path"]
        keys = keys_of(path)
        new = built.moved.get(keys)
        if new is None:
            continue
        correction = placed.get(path)
        if correction is None:
            kept.append({**entry, "path": new})
        elif correction.value == as_text(value_at(row["record"], keys)):
            kept.append({**entry, "path": new, "confidence": 1.0})
        elif correction.value is not None:
            kept.append({**entry, **_SURE, "path": new, "value": correction.value})
        elif path not in seen:
            kept.append({**_nothing(new), "reason": "absent"})
        seen.add(path)
    for path, correction in placed.items():
        keys = keys_of(path)
        if path not in seen and keys in built.moved and correction.value is not None:
            kept.append({**_nothing(built.moved[keys]), "value": correction.value})
    return kept


_SURE: Row = {"confidence": 1.0, "found": None, "reason": None}


def _nothing(path: str) -> Row:
    """Evidence of a leaf that was read nowhere and that a person is sure of."""
    empty = dict.fromkeys(("value", "raw", "page", "x0", "y0", "x1", "y1", "found", "reason"))
    return {"path": path, **empty, "confidence": 1.0}
