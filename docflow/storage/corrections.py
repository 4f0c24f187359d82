"""What reviewers said of a dataset's records: OUT/corrections, a file for each document and program.

The parts of the dataset are never touched. A file keeps everything that was ever said, in order; of each path, what
was said last counts. A document that is read again keeps its corrections.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import fcntl
import json
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from docflow.buckets import BucketPath, listed
from docflow.errors import StorageError, UsageError
from docflow.fields import Locale
from docflow.storage import parts
from docflow.storage.overlay import (
    Action,
    Correction,
    Keys,
    Overlaid,
    Row,
    cells_of,
    item_keys,
    keys_of,
    leaves,
    overlay,
    path_of,
    type_at,
    value_at,
)
from docflow.storage.places import Place
from docflow.storage.reading import stored_record_type
from docflow.storage.rows import Pages, part_of
from docflow.storage.schemas import stored_schema
from docflow.storage.typed_text import as_text, read_typed

if TYPE_CHECKING:
    import pyarrow as pa

CORRECTIONS = "corrections"
FORMAT = 1
_LARGEST_ROW_NUMBER = 10_000
_ID = re.compile(r"[0-9a-f]{64}")
_Key = tuple[str, str, Pages | None]
"""Document id, program, and the pages where the file holds several documents."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a reviewer says of one path. ``text`` is what was typed, for a correction; ``seen`` the value, as text, that
    was shown: when docflow has read another since, the answer is refused."""

    path: str
    action: Action
    text: str | None = None
    seen: str | None = None


class Corrections:
    """The corrections of one dataset, read when first asked for; ``refresh`` reads them anew."""

    def __init__(self, out: Place) -> None:
        self.out = out
        self._schemas: dict[str, tuple[Mapping[str, Any], pa.DataType]] = {}

    @cached_property
    def _all(self) -> dict[_Key, dict[str, Correction]]:
        folder = self.out / CORRECTIONS
        found = {}
        for path in listed(folder, "*.json"):
            if not path.name.startswith("."):
                key, said = _read(path)
                found[key] = _counting(said)
        return found

    def refresh(self) -> None:
        """Forget what was read, so that corrections and schemas of others are seen."""
        self.__dict__.pop("_all", None)
        self._schemas.clear()

    def __len__(self) -> int:
        """The number of documents (by program) that something was said of."""
        return len(self._all)

    @property
    def document_ids(self) -> list[str]:
        """The documents of which something that counts was said, under any program."""
        return sorted({document_id for (document_id, *_), said in self._all.items() if said})

    def of(self, document_id: str, program: str, part: Pages | None = None) -> Sequence[Correction]:
        """What counts for one document, a correction a path. Raises StorageError for a damaged file.

        ``part`` are its pages where its file holds several documents (see ``part_of``).
        """
        return list(self._all.get((document_id, program, part), {}).values())

    def applied(self, row: Row, record_type: pa.DataType | None = None) -> Overlaid:
        """A row with its corrections; ``record_type`` is the type of its record, where it is not the program's own."""
        said = self.of(*_key(row))
        if not said:
            return Overlaid(row)
        return overlay(row, said, record_type or self.schema(row["program"])[1])

    def schema(self, program: str) -> tuple[Mapping[str, Any], pa.DataType]:
        """The schema of a program's records, and the Arrow type that holds them. Raises StorageError."""
        if program not in self._schemas:
            self._schemas[program] = stored_schema(self.out, program), stored_record_type(self.out, program)
        return self._schemas[program]

    def add(self, row: Row, said: Sequence[Said], who: str, locale: Locale | None = None) -> list[Correction]:
        """Check what a reviewer said of a row (as docflow wrote it) and store it, all or nothing.

        Raises UsageError for what cannot be, StorageError when it cannot be written.
        """
        schema, record_type = self.schema(row["program"])
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        placed = self.applied(row).placed
        new = []
        for one in said:
            before = placed.get(one.path)
            new.append(_checked(row, one, before, schema, record_type, locale, who, when))
        key = document_id, program, part = _key(row)
        path = self._path(*key)
        with _alone(self.out):
            old = list(_read(path)[1]) if path.exists() else []
            content = {
                "format": FORMAT,
                "document_id": document_id,
                "program": program,
                **({} if part is None else {"pages": part}),
                "corrections": [dataclasses.asdict(correction) for correction in [*old, *new]],
            }
            parts.write_whole(path, json.dumps(content, indent=1).encode())
        self._all[key] = _counting([*old, *new])
        return new

    def _path(self, document_id: str, program: str, part: Pages | None) -> Place:
        if not _ID.fullmatch(document_id):  # it becomes a file name
            raise StorageError(f"{document_id[:80]!r} is no document id")
        document = document_id if part is None else "{}@{}-{}".format(document_id, *part)
        return self.out / CORRECTIONS / f"{document}.{urllib.parse.quote(program, safe='')}.json"


def _checked(
    row: Row,
    said: Said,
    before: Correction | None,
    schema: Mapping[str, Any],
    record_type: pa.DataType,
    locale: Locale | None,
    who: str,
    when: str,
) -> Correction:
    import pyarrow as pa

    try:
        keys = keys_of(said.path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    to = type_at(record_type, keys)
    if to is None:
        raise UsageError(f"a {row['program']} has no {said.path[:80]}")
    own = item_keys(keys)
    added = any(isinstance(key, int) and key < 0 for key in keys)
    item = None if own is None or added else value_at(row["record"], own)
    if own is not None and not added and not _has_item(row["record"], own):
        raise UsageError(f"{row['source']} has no {path_of(own)}")
    if any(isinstance(key, int) and abs(key) > _LARGEST_ROW_NUMBER for key in keys):
        raise UsageError(f"{said.path} counts too far")
    old = None if pa.types.is_nested(to) else as_text(value_at(row["record"], keys))
    if said.seen != old and said.action != "withdraw":
        raise UsageError(
            f"{said.path} of {row['source']} is no longer what was shown: it was read again",
            hint="Look at the document once more.",
        )
    if said.action == "withdraw" and before is None:
        raise UsageError(f"nothing was said of {said.path}")
    value = None
    if said.action == "accept":
        if pa.types.is_nested(to) and value_at(row["record"], keys):
            raise UsageError(f"{said.path} is accepted value by value")
        value = old
    elif said.action == "correct":
        if pa.types.is_nested(to):
            raise UsageError(f"{said.path} is a group of values: correct them one by one")
        value = as_text(read_typed(said.text or "", _leaf_schema(schema, keys), to, locale))
    elif said.action == "absent" and pa.types.is_nested(to) and own != keys:
        raise UsageError(f"{said.path} is a group of values: mark them absent one by one")
    cells = None if own is None or added else cells_of(item)
    path = before.path if before is not None and said.action == "withdraw" else path_of(keys)  # its row may have moved
    return Correction(path, said.action, value, old, who, when, cells)


def _has_item(record: Any, keys: Keys) -> bool:
    items = value_at(record, keys[:-1])
    index = keys[-1]
    return isinstance(items, list) and isinstance(index, int) and index < len(items)


def _leaf_schema(schema: Mapping[str, Any], keys: Keys) -> Mapping[str, Any]:
    for key in keys:
        schema = schema.get("items", {}) if isinstance(key, int) else schema.get("properties", {}).get(key, {})
    return schema


def _counting(said: Sequence[Correction]) -> dict[str, Correction]:
    """Of each path, what was said last; nothing of those where that was withdrawn."""
    last: dict[str, Correction] = {}
    for correction in said:
        last.pop(correction.path, None)
        if correction.action != "withdraw":
            last[correction.path] = correction
    return last


def _key(row: Row) -> _Key:
    return row["document_id"], row["program"], part_of(row)


def _read(path: Place) -> tuple[_Key, list[Correction]]:
    """A file of corrections: what they are about, and all that was said. Raises StorageError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > FORMAT:
            raise StorageError(f"{path} was written by a newer docflow", hint="Install that one, or a newer one.")
        said = [Correction(**correction) for correction in content["corrections"]]
        for correction in said:
            keys_of(correction.path)
        first, last = content.get("pages") or (0, 0)  # absent for a whole file
        part = (int(first), int(last)) if first else None
        return (str(content["document_id"]), str(content["program"]), part), said
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{path} is no file of corrections: {error}", hint="Move it away; the others are used without it."
        ) from error


@contextmanager
def _alone(out: Place) -> Iterator[None]:
    """Alone among those who write corrections of this dataset. Raises StorageError."""
    folder = out / CORRECTIONS
    if isinstance(folder, BucketPath):  # there is no such thing in a bucket
        yield
        return
    with parts.storage_errors(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- as truth -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReviewedLeaf:
    """One leaf that a person decided: what docflow had answered, and what is true (typed; None where nothing stands).

    ``path`` is the leaf's path in docflow's own record, ``confidence`` what docflow had said of it (None where its
    evidence has no entry). Leaves of rows that docflow missed have an answer of None.
    """

    path: str
    answered: Any
    truth: Any
    confidence: float | None

    @property
    def right(self) -> bool:
        return bool(self.answered == self.truth)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A document that a person reviewed, wholly or in part.

    ``part`` are its pages where its file holds several. ``record`` is the corrected record, ``decided`` the paths in it
    that a person decided. ``complete`` tells that every leaf is: then the record is the whole truth, and a row it lacks
    is not on the page.
    """

    document_id: str
    source: str
    program: str
    part: Pages | None
    record: Mapping[str, Any]
    decided: frozenset[str]
    complete: bool
    leaves: tuple[ReviewedLeaf, ...]


def as_truth(out: Place, program: str | None = None) -> Iterator[Reviewed]:
    """Every document of the dataset that a person said something of, with what is true of it. Raises StorageError."""
    from docflow.storage.dataset import Dataset

    corrections = Corrections(out)
    if not len(corrections):
        return
    dataset = Dataset(out)
    seen: set[_Key] = set()
    for name in dataset.programs if program is None else [program]:
        for row in dataset.records(name):
            key = _key(row)
            if key not in seen and corrections.of(*key):
                seen.add(key)
                reviewed = reviewed_row(row, corrections)
                if reviewed.decided or reviewed.leaves:
                    yield reviewed


def reviewed_row(row: Row, corrections: Corrections) -> Reviewed:
    """What is true of one row, and how much of it a person decided."""
    overlaid = corrections.applied(row)
    confidence = {entry["path"]: entry["confidence"] for entry in row["evidence"] or ()}
    decided = []
    true = []
    for path, correction in overlaid.placed.items():
        keys = keys_of(path)
        new = overlaid.moved.get(path)
        truth = None if new is None else value_at(overlaid.row["record"], keys_of(new))
        if new is not None and correction.action in ("accept", "correct", "absent"):
            decided.append(new)
        answered = value_at(row["record"], keys)
        if isinstance(answered, dict):  # a whole row that is not on the page: none of its values is
            true += [
                ReviewedLeaf(path_of(inner), leaf, None, confidence.get(path_of(inner)))
                for inner, leaf in leaves(answered, keys)
            ]
        elif not isinstance(answered, list) and not isinstance(truth, dict | list):
            true.append(ReviewedLeaf(path, answered, truth, confidence.get(path)))
    return Reviewed(
        row["document_id"],
        row["source"],
        row["program"],
        part_of(row),
        overlaid.row["record"] or {},
        frozenset(decided),
        not undecided(row, overlaid),
        tuple(true),
    )


def undecided(row: Row, overlaid: Overlaid) -> list[str]:
    """The paths of docflow's record that nobody has decided yet, in order; an empty list counts as one."""
    gone = {keys_of(path) for path in overlaid.placed if path not in overlaid.moved}
    return [
        path
        for keys, _ in _to_decide(row["record"])
        if (path := path_of(keys)) not in overlaid.placed and not any(keys[: len(one)] == one for one in gone)
    ]


def _to_decide(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Every leaf of a record, and every list without rows."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _to_decide(inner, (*keys, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _to_decide(inner, (*keys, index))
    elif keys:
        yield keys, value
