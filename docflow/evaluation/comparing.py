"""One answered record against its truth: a verdict for every leaf that the truth names, and the rows of every list."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from docflow.evaluation.alignment import align
from docflow.evaluation.values import Unreadable, as_text, likeness, meaning, read_true
from docflow.fields import KIND_KEY, Kind, Locale

Verdict = Literal["right", "wrong", "missed", "invented", "absent"]
"""``right``: a value, and the true one. ``wrong``: another value. ``missed``: null where a value is printed.
``invented``: a value where none is printed. ``absent``: null, rightly."""

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeafOutcome:
    """How one leaf went. ``field`` is its path with lists as ``[]`` (``items[].amount``).

    ``path`` is where it stands in the answered record, None where no row answers the true one; ``true_path`` where it
    stands in the truth, None for a row too many.
    """

    field: str
    kind: Kind
    path: str | None
    true_path: str | None
    true: Any
    got: Any
    verdict: Verdict

    @property
    def given(self) -> bool:
        return self.got is not None

    @property
    def printed(self) -> bool:
        return self.true is not None

    @property
    def correct(self) -> bool:
        """Whether the answer, a value or a null, is the right one."""
        return self.verdict in ("right", "absent")

    @property
    def likeness(self) -> float:
        """Edit similarity to the true value, 0 to 1; two values that mean the same are alike whatever their form."""
        if self.verdict == "right" and self.kind not in _TEXTS:
            return 1.0
        return likeness(self.true, self.got)

    @property
    def exact(self) -> bool:
        """Whether the value is the true one character by character (white space aside)."""
        return self.verdict == "right" and (self.kind not in _TEXTS or as_text(self.true) == as_text(self.got))


_TEXTS = (Kind.PARTY, Kind.ADDRESS, Kind.IDENTIFIER, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class ListOutcome:
    """How one list went, in rows.

    ``found`` counts the true rows that a row answers with at least half of their printed cells right, ``right`` those
    whose every cell is.
    """

    field: str
    rows: int
    got: int
    found: int
    right: int


@dataclass(slots=True)
class RecordOutcome:
    """How one record went."""

    leaves: list[LeafOutcome] = field(default_factory=list)
    lists: list[ListOutcome] = field(default_factory=list)

    @property
    def correct(self) -> bool:
        """Whether every leaf that the truth names is right."""
        return all(leaf.correct for leaf in self.leaves)


@dataclass(slots=True)
class TruthNotes:
    """What of a truth cannot be compared: fields that the program does not have, values that are not of their kind."""

    unknown: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def typed_truth(schema: Schema, truth: Mapping[str, Any], locale: Locale | None, notes: TruthNotes) -> dict[str, Any]:
    """The truth with values of its fields' types; what cannot be compared is left out and noted."""
    typed = _typed(schema, truth, locale, notes, "")
    return typed if isinstance(typed, dict) else {}


_LEFT_OUT = object()


def _typed(schema: Schema, truth: Any, locale: Locale | None, notes: TruthNotes, name: str) -> Any:
    if "properties" in schema:
        if not isinstance(truth, Mapping | None):
            notes.unknown.append(name)
            return _LEFT_OUT
        typed = {}
        named = dict.fromkeys(schema["properties"]) if truth is None else truth
        for key, value in named.items():
            inner = f"{name}.{key}" if name else str(key)
            if key not in schema["properties"]:
                notes.unknown.append(inner)
                continue
            made = _typed(schema["properties"][key], value, locale, notes, inner)
            if made is not _LEFT_OUT:
                typed[key] = made
        return typed
    if "items" in schema:
        if not isinstance(truth, list | None):
            notes.unknown.append(name)
            return _LEFT_OUT
        rows = [_typed(schema["items"], row, locale, notes, f"{name}[]") for row in truth or ()]
        return [None if row is _LEFT_OUT else row for row in rows]  # a row keeps its place, so that its boxes are found
    if isinstance(truth, dict | list):
        notes.unknown.append(name)
        return _LEFT_OUT
    try:
        return read_true(_kind(schema), truth, locale, _choices(schema))
    except Unreadable as why:
        notes.unreadable.append((name, f"{truth!r} {why}"))
        return _LEFT_OUT


def _kind(schema: Schema) -> Kind:
    return Kind(schema.get(KIND_KEY, Kind.TEXT))


def _choices(schema: Schema) -> tuple[str, ...]:
    return tuple(choice for choice in schema.get("enum", ()) if isinstance(choice, str))


def compare(schema: Schema, truth: Mapping[str, Any], data: Mapping[str, Any] | None) -> RecordOutcome:
    """Compare an answered record with its truth, which is as ``typed_truth`` gives it.

    Fields that the truth does not name are not judged. Without a record (``data`` is None) every leaf is null, and
    none of them is credited: what was not answered was not rightly left out.
    """
    outcome = RecordOutcome()
    _group(schema, truth, data or {}, _Place("", "", ""), outcome)
    if data is None:
        outcome.leaves = [leaf for leaf in outcome.leaves if leaf.verdict != "absent"]
    return outcome


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands: its field, its path in the answer and its path in the truth (None where it has none)."""

    field: str
    path: str | None
    true_path: str | None

    def key(self, name: str) -> _Place:
        return _Place(*(_dotted(part, name) for part in (self.field, self.path, self.true_path)))  # type: ignore[arg-type]

    def row(self, true_index: int | None, got_index: int | None) -> _Place:
        path = None if self.path is None or got_index is None else f"{self.path}[{got_index}]"
        true_path = None if self.true_path is None or true_index is None else f"{self.true_path}[{true_index}]"
        return _Place(f"{self.field}[]", path, true_path)


def _dotted(prefix: str | None, name: str) -> str | None:
    if prefix is None:
        return None
    return f"{prefix}.{name}" if prefix else name


def _node(schema: Schema, true: Any, got: Any, place: _Place, outcome: RecordOutcome) -> None:
    if "properties" in schema:
        _group(schema, true or {}, got or {}, place, outcome)
    elif "items" in schema:
        _list(schema["items"], true or [], got or [], place, outcome)
    else:
        _leaf(schema, true, got, place, outcome)


def _group(schema: Schema, true: Mapping[str, Any], got: Mapping[str, Any], place: _Place, out: RecordOutcome) -> None:
    for name, child in schema["properties"].items():
        if name in true:
            _node(child, true[name], got.get(name), place.key(name), out)


def _leaf(schema: Schema, true: Any, got: Any, place: _Place, outcome: RecordOutcome) -> None:
    kind = _kind(schema)
    wanted, said = meaning(kind, true), meaning(kind, got)
    verdict: Verdict
    if said is None:
        verdict = "absent" if wanted is None else "missed"
    elif wanted is None:
        verdict = "invented"
    else:
        verdict = "right" if wanted == said else "wrong"
    outcome.leaves.append(
        LeafOutcome(
            place.field,
            kind,
            place.path,
            place.true_path,
            None if wanted is None else true,
            None if said is None else got,
            verdict,
        )
    )


def _list(schema: Schema, true: Sequence[Any], got: Sequence[Any], place: _Place, outcome: RecordOutcome) -> None:
    printed = [i for i, row in enumerate(true) if _says_something(row)]
    true_cells = [_cells(schema, true[i]) for i in printed]
    if any(true_cells):
        pairs = [(printed[i], j) for i, j in align(true_cells, [_cells(schema, row) for row in got])]
    else:  # rows of nothing but lists: all there is to go by is their order
        pairs = list(zip(printed, range(len(got)), strict=False))
    found = right = 0
    for i, j in pairs:
        before = len(outcome.leaves)
        _node(schema, true[i], got[j], place.row(i, j), outcome)
        leaves = outcome.leaves[before:]
        right += all(leaf.correct for leaf in leaves)
        found += 2 * sum(leaf.verdict == "right" for leaf in leaves) >= sum(leaf.printed for leaf in leaves)
    answered, answering = {i for i, _ in pairs}, {j for _, j in pairs}
    for i in printed:
        if i not in answered:
            _node(schema, true[i], None, place.row(i, None), outcome)
    blank = _blank(schema, [true[i] for i in printed])
    for j, row in enumerate(got):
        if j not in answering:
            _node(schema, blank, row, place.row(None, j), outcome)
    outcome.lists.append(ListOutcome(place.field, len(printed), len(got), found, right))


def _cells(schema: Schema, value: Any, prefix: str = "") -> dict[str, Hashable]:
    """The leaves of a row that stand in no further list, by path; of a true row only those that it names."""
    if "properties" in schema:
        cells: dict[str, Hashable] = {}
        for name, child in schema["properties"].items():
            if isinstance(value, Mapping) and name in value:
                cells |= _cells(child, value[name], f"{prefix}.{name}")
        return cells
    return {} if "items" in schema else {prefix: meaning(_kind(schema), value)}


def _says_something(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_says_something(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_says_something(inner) for inner in value)
    return value is not None


def _blank(schema: Schema, rows: Sequence[Any]) -> Any:
    """A row of nulls that names what any of these rows names; every field when there are none."""
    if "properties" in schema:
        groups = [row for row in rows if isinstance(row, Mapping)]
        return {
            key: _blank(child, [group[key] for group in groups if group.get(key) is not None])
            for key, child in schema["properties"].items()
            if not rows or any(key in group for group in groups)
        }
    return [] if "items" in schema else None
