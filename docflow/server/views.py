"""A document as the review page shows it: values in the order of the schema, each with its places and its decision."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from docflow.extraction.result import Result
from docflow.fields import KIND_KEY
from docflow.server.index import Entry
from docflow.storage.corrections import Corrections, undecided
from docflow.storage.overlay import Correction, Keys, Overlaid, keys_of, path_of, value_at
from docflow.storage.rows import evidence_row, pages_text
from docflow.storage.schemas import leaf_fields
from docflow.storage.typed_text import as_text

Row = dict[str, Any]
View = dict[str, Any]

_NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,6})?")


def entry_view(entry: Entry) -> View:
    """A line of the queue."""
    return {
        "key": entry.key,
        "source": entry.sources[0],
        "part": "" if entry.pages is None else pages_text(entry.pages),
        "program": entry.program,
        "status": entry.status,
        "confidence": entry.confidence,
        "needs_review": entry.needs_review,
        "missing_rows": entry.missing_rows,
        "state": entry.state,
    }


def document_view(entry: Entry, row: Row, corrections: Corrections) -> View:
    """Everything that the page shows of one document. Raises StorageError."""
    overlaid = corrections.applied(row)
    has_record = row["record"] is not None or row["status"] != "failed"
    groups = _Groups(row, overlaid).of(corrections.schema(row["program"])[0]) if has_record else []
    return {
        **entry_view(entry),
        "sources": entry.sources,
        "engine": "/".join(part for part in (row["engine"], row["model"]) if part),
        "error": {"message": row["error"]["message"], "hint": row["error"]["hint"]} if row["error"] else None,
        "pages": [
            {"number": page["page"], "width": page["width"], "height": page["height"]} for page in row["pages"] or ()
        ],
        "groups": groups,
        "missing": [
            {
                "list": one["path"],
                "page": one["page"],
                "box": [one["x0"], one["y0"], one["x1"], one["y1"]],
                "text": one["text"],
            }
            for one in row.get("missing_rows") or ()
        ],
        "lost": [correction.path for correction in overlaid.lost],
        "undecided": undecided(row, overlaid) if has_record else [],
    }


def record_groups(result: Result[Any], schema: Mapping[str, Any]) -> list[View]:
    """The values of a result that is in no dataset, as the page shows them."""
    row: Row = {"record": result.data, "evidence": [evidence_row(one) for one in result.evidence]}
    return _Groups(row, Overlaid(row)).of(schema)


class _Groups:
    """The values outside of lists as one group, then each list as a group of its own."""

    def __init__(self, row: Row, overlaid: Overlaid) -> None:
        self._record = row["record"] or {}
        self._placed = overlaid.placed
        self._evidence: dict[str, list[Row]] = {}
        for entry in row["evidence"] or ():
            self._evidence.setdefault(entry["path"], []).append(entry)

    def of(self, schema: Mapping[str, Any]) -> list[View]:
        fields: list[View] = []
        lists: list[View] = []
        self._collect(schema, (), fields, lists)
        return [{"title": "", "leaves": fields}, *lists] if fields else lists

    def _collect(self, schema: Mapping[str, Any], keys: Keys, fields: list[View], lists: list[View]) -> None:
        for key, child in schema.get("properties", {}).items():
            inner = (*keys, key)
            if "properties" in child:
                self._collect(child, inner, fields, lists)
            elif "items" in child:
                lists.append(self._list(child, inner))
            else:
                fields.append(self._leaf(child, inner, path_of(inner)))

    def _list(self, schema: Mapping[str, Any], keys: Keys) -> View:
        items = value_at(self._record, keys) or []
        numbers = [*range(len(items)), *self._added(keys)]
        rows = [self._row(schema["items"], (*keys, number)) for number in numbers]
        names = [name or "value" for name, _ in leaf_fields(schema["items"])]
        path = path_of(keys)
        return {
            "title": path,
            "path": path,
            "columns": names,
            "rows": rows,
            "empty": None if items else self._leaf({KIND_KEY: "list"}, keys, path),
            "next": path_of((*keys, min([0, *numbers]) - 1)),
            "first": next((name for name, _ in leaf_fields(schema["items"])), ""),
        }

    def _added(self, keys: Keys) -> list[int]:
        """The rows that reviewers added to a list: -1, -2 ..."""
        depth = len(keys)
        numbers = {
            taken[depth] for path in self._placed if len(taken := keys_of(path)) > depth and taken[:depth] == keys
        }
        return sorted((number for number in numbers if isinstance(number, int) and number < 0), reverse=True)

    def _row(self, schema: Mapping[str, Any], keys: Keys) -> View:
        path = path_of(keys)
        leaves = [
            self._leaf(leaf, (*keys, *inside), path_of(inside) or "value")
            for inside, leaf in _leaf_schemas(schema, value_at(self._record, keys), ())
        ]
        number = keys[-1]
        assert isinstance(number, int)
        removed = self._placed.get(path) if "properties" in schema else None
        return {"path": path, "added": number < 0, "removed": _decision(removed), "leaves": leaves}

    def _leaf(self, schema: Mapping[str, Any], keys: Keys, name: str) -> View:
        path = path_of(keys)
        value = value_at(self._record, keys)
        text = None if isinstance(value, dict | list) else as_text(value)
        evidence = self._evidence.get(path, [])
        first: Row = evidence[0] if evidence else {}
        return {
            "path": path,
            "name": name,
            "kind": str(schema.get(KIND_KEY, "text")),
            "choices": [str(choice) for choice in schema.get("enum", ()) if choice is not None],
            "value": text,
            "shown": _with_its_zeros(value, first.get("value")) or text,
            "raw": first.get("raw"),
            "confidence": first.get("confidence"),
            "found": first.get("found"),
            "reason": first.get("reason"),
            "boxes": [
                {"page": piece["page"], "box": [piece["x0"], piece["y0"], piece["x1"], piece["y1"]]}
                for piece in evidence
                if piece["page"] is not None and piece["x0"] is not None
            ],
            "decision": _decision(self._placed.get(path)),
        }


def _leaf_schemas(schema: Mapping[str, Any], value: Any, keys: Keys) -> Iterator[tuple[Keys, Mapping[str, Any]]]:
    """Every leaf of a list item by its path inside it, those of lists inside it too; an empty list counts as one."""
    if "properties" in schema:
        for key, child in schema["properties"].items():
            yield from _leaf_schemas(child, value.get(key) if isinstance(value, dict) else None, (*keys, key))
    elif "items" in schema:
        for index, item in enumerate(value or ()):
            yield from _leaf_schemas(schema["items"], item, (*keys, index))
        if not value:
            yield keys, {KIND_KEY: "list"}
    else:
        yield keys, schema


def _decision(correction: Correction | None) -> View | None:
    if correction is None:
        return None
    return {"action": correction.action, "value": correction.value, "who": correction.who, "when": correction.when}


def _with_its_zeros(value: Any, said: str | None) -> str | None:
    """An amount as its evidence says it, 12.50 and not 12.5; None for all else."""
    if isinstance(value, Decimal) and said is not None and _NUMBER.fullmatch(said) and Decimal(said) == value:
        return said
    return None
