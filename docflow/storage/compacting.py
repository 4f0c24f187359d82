"""Compaction: the many small parts of a dataset merged into few, while others read and write it.

A group of parts is merged into a file that nobody sees, and a snapshot then says that it counts in their place; they
stay for a grace time, for readers who hold a list from before. A group that changed meanwhile is left for the next
time. A kill loses the group in work at most; the next compaction takes up, or sweeps, what was left.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from docflow.buckets import BucketPath
from docflow.errors import StorageError
from docflow.storage import parts, places
from docflow.storage.arrow_types import merged, only_adds
from docflow.storage.places import Place
from docflow.storage.reading import part_schema, read_part
from docflow.storage.replaced import remove_replaced
from docflow.storage.rewriting import batches_of, write_batches
from docflow.storage.rows import FORMAT, FORMAT_KEY, PROGRAM_KEY, SCHEMA_KEY, VERSIONS_KEY, row_schema
from docflow.storage.schemas import leaf_fields
from docflow.storage.snapshots import (
    Replaced,
    Snapshot,
    commit,
    identity_of,
    is_merged,
    name_of,
    newest_snapshot,
    remove_old_snapshots,
)
from docflow.storage.view import KEY, KEY_COLUMNS, Counting, doubled, keys_of, superseded

GRACE_SECONDS = 3600.0
PART_BYTES = 128 << 20
PART_ROWS = 500_000
"""Rows of a part at most, however small they are."""
ORPHANED_SECONDS = 3600.0
"""After this time a merged part that no snapshot lists is nobody's: merging a group takes minutes."""
_WORTH_IT = 0.1
"""A large part is written anew once this share of its rows does not count."""


@dataclass(slots=True)
class Compacted:
    """What a compaction did, or would do (``dry_run``).

    ``merged`` parts were replaced by ``written`` ones; ``rows`` count in those, ``dropped`` rows are left out because
    newer ones stand in for them. ``waiting`` parts were replaced and go after the grace time, ``removed`` ones have
    gone. ``changed`` parts were written to meanwhile and are left for the next time. Sizes are in bytes.
    """

    dry_run: bool = False
    parts: int = 0
    merged: int = 0
    written: int = 0
    rows: int = 0
    dropped: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    removed: int = 0
    waiting: int = 0
    changed: int = 0


@dataclass(slots=True)
class _Part:
    path: Place
    identity: str
    size: int
    schema: pa.Schema
    rows: int
    dead: int = 0
    first: str = ""


@dataclass(slots=True)
class _Group:
    """Parts that become one. ``dead`` are its rows that do not count, ``doubled`` those that other parts have too."""

    out: Place
    folder: Place
    parts: list[_Part]
    failed: bool
    dead: set[tuple[Any, ...]] = field(default_factory=set)
    doubled: frozenset[tuple[Any, ...]] = frozenset()

    def new_target(self) -> Place:
        """A name for the merged part that no other compaction has: each removes what it wrote in vain."""
        return self.folder / f"{'failed' if self.failed else 'part'}-merged-{uuid.uuid4().hex}.parquet"


def compact(
    out: Place,
    *,
    grace_seconds: float = GRACE_SECONDS,
    part_bytes: int = PART_BYTES,
    dry_run: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> Compacted:
    """Merge the small parts of a dataset into parts of about ``part_bytes``, without the rows that do not count.

    ``told`` hears what it is at. Raises StorageError, also where there is no dataset.
    """
    if not parts.program_folders(out):
        raise StorageError(f"{out} holds no dataset", hint="docflow extract SOURCE --out OUT writes one.")
    done = Compacted(dry_run=dry_run)
    groups = _groups(out, part_bytes, done)
    for number, group in enumerate(groups, 1):
        rows = sum(part.rows for part in group.parts)
        told(f"part {number} of {len(groups)}: {len(group.parts):,} parts, {rows:,} rows")
        if dry_run:
            dead = sum(part.dead for part in group.parts)
            _count(done, group, rows - dead, dead, 0)
        else:
            _merge(group, done)
    if not dry_run:
        done.removed = remove_replaced(out, grace_seconds)
        _remove_orphans(out)
        with parts.storage_errors(out):
            remove_old_snapshots(out)
    done.waiting = len(newest_snapshot(out).replaced)
    return done


# --- what is to be done -------------------------------------------------------------------------------------------


def _groups(out: Place, part_bytes: int, done: Compacted) -> list[_Group]:
    """What is worth merging, in parts that become one."""
    found, dead, twice = _look(out)
    done.parts = len(found)
    groups = []
    for folder in parts.program_folders(out).values():
        for failed in (False, True):
            mine = [part for part in found if part.path.parent == folder and parts.is_failed(part.path) == failed]
            mine = [part for part in mine if _is_small(part, part_bytes) or part.dead > _WORTH_IT * part.rows]
            for chosen in _filled(_mergeable(mine), part_bytes):
                if len(chosen) > 1 or chosen[0].dead:
                    groups.append(_Group(out, folder, chosen, failed, dead, twice))
    return groups


def _is_small(part: _Part, part_bytes: int) -> bool:
    return part.size < part_bytes // 2 and part.rows < PART_ROWS // 2


def _look(out: Place) -> tuple[list[_Part], set[tuple[Any, ...]], frozenset[tuple[Any, ...]]]:
    """Every part that counts, the keys of all rows that do not, and the rows that are there more than once."""
    found: list[_Part] = []
    schemas: list[pa.Schema] = []  # most parts have the same one, of some 50 KB
    keys = []
    for folder in parts.program_folders(out).values():
        for path in parts.part_files(folder):
            try:
                identity, size = identity_of(path), _size(path)
                schema = part_schema(path)
                # Older parts lack some of these columns.
                table = read_part(path, [name for name in KEY_COLUMNS if name in schema.names])
            except (FileNotFoundError, StorageError):
                if not path.exists():  # gone since it was listed: whatever it held is elsewhere now
                    continue
                raise
            known = next((one for one in schemas if one.equals(schema, check_metadata=True)), None)
            if known is None:
                known = schema
                schemas.append(schema)
            table = pa.concat_tables([_KEY_SCHEMA.empty_table(), table], promote_options="default")
            names = table["source"].to_pylist()
            found.append(_Part(path, identity, size, known, len(table), first=min(names, default="")))
            keys.append(table.append_column("part", pa.array([len(found) - 1] * len(table), pa.int32())))
    if not keys:
        return [], set(), frozenset()
    rows = pa.concat_tables(keys)
    older = superseded(rows)
    for counted in (
        rows.join(older, KEY, join_type="left semi").group_by("part").aggregate([([], "count_all")]).to_pylist()
    ):
        found[counted["part"]].dead = counted["count_all"]
    twice = doubled(rows)
    return found, set(keys_of(older, KEY)), twice


_KEY_SCHEMA = pa.schema([row_schema(pa.null()).field(name) for name in KEY_COLUMNS])


def _mergeable(found: Sequence[_Part]) -> list[_Part]:
    """Those of some parts whose columns one file can hold without changing a value: all, unless somebody else wrote."""
    kept: list[_Part] = []
    common = pa.schema([])
    for part in found:
        both = _common(common, part.schema)
        if both is not None:
            common = both
            kept.append(part)
    return kept


def _common(one: pa.Schema, other: pa.Schema) -> pa.Schema | None:
    """The columns of both; None where a value of one would have to change its type."""
    if one.equals(other):
        return one
    names = list(dict.fromkeys([*one.names, *other.names]))
    fields = []
    for name in names:
        types = [schema.field(name).type for schema in (one, other) if name in schema.names]
        both = merged(types[0], types[-1])
        if both is None or any(only_adds(of, both) is not None for of in types):
            return None
        fields.append(pa.field(name, both))
    return pa.schema(fields)


def _filled(found: Sequence[_Part], part_bytes: int) -> Iterator[list[_Part]]:
    """Parts in lists of about the size that is wanted, those of neighbouring sources together."""
    chosen: list[_Part] = []
    size = rows = 0
    for part in sorted(found, key=lambda part: (part.first, part.path.name)):
        if chosen and (size + part.size > part_bytes or rows + part.rows > PART_ROWS):
            yield chosen
            chosen, size, rows = [], 0, 0
        chosen.append(part)
        size, rows = size + part.size, rows + part.rows
    if chosen:
        yield chosen


# --- merging ------------------------------------------------------------------------------------------------------


def _merge(group: _Group, done: Compacted) -> None:
    """Write a group as one part and let that count in its place. Raises StorageError."""
    before = newest_snapshot(group.out)
    counting = Counting(group.dead, group.doubled)
    target = group.new_target()
    try:
        rows = _write(group, target, counting)
    except StorageError:
        if newest_snapshot(group.out).number == before.number and all(part.path.exists() for part in group.parts):
            raise
        done.changed += len(group.parts)  # some went meanwhile, or what was being written had to be forgotten
        return
    now = time.time()

    def listed(newest: Snapshot) -> Snapshot | None:
        if newest.forgotten != before.forgotten or not all(_is_as_read(part, newest) for part in group.parts):
            return None
        names = {name_of(part.path) for part in group.parts}
        new = {name_of(part.path): Replaced(part.identity, now) for part in group.parts}
        return replace(
            newest,
            merged=(newest.merged - names) | ({name_of(target)} if rows else set()),
            replaced={**newest.replaced, **new},
        )

    with parts.locked(group.out), parts.storage_errors(group.out):
        there = not rows or target.exists()  # else it held what was forgotten meanwhile
        size = _size(target) if rows and there else 0
        if not there or commit(group.out, listed) is None:
            places.remove(target)
            done.changed += len(group.parts)
            return
    before_rows = sum(part.rows for part in group.parts)
    _count(done, group, rows, before_rows - rows, size)


def _is_as_read(part: _Part, newest: Snapshot) -> bool:
    """Whether a part still counts, and is what was read."""
    try:
        identity = identity_of(part.path.stat() if isinstance(part.path, BucketPath) else part.path)
    except FileNotFoundError:
        return False
    return identity == part.identity and newest.counts(name_of(part.path), lambda: identity)


def _count(done: Compacted, group: _Group, rows: int, dropped: int, size: int) -> None:
    done.merged += len(group.parts)
    done.written += bool(rows)
    done.rows += rows
    done.dropped += dropped
    done.bytes_before += sum(part.size for part in group.parts)
    done.bytes_after += size


def _write(group: _Group, target: Place, counting: Counting) -> int:
    """Write the rows of a group that count, row group by row group; how many they are. No file where there are none."""
    schema = _schema(group)
    return write_batches(target, schema, _batches(group, schema, counting))


def _batches(group: _Group, schema: pa.Schema, counting: Counting) -> Iterator[pa.RecordBatch]:
    for part in group.parts:
        for batch in batches_of(part.path, schema):
            yield counting.of(batch)


def _schema(group: _Group) -> pa.Schema:
    """The columns of all parts of a group, in the order of the format; with the fullest of their programs' schemas."""
    common: pa.Schema | None = row_schema(pa.null())
    for part in group.parts:
        common = None if common is None else _common(common, part.schema)
    assert common is not None  # they were chosen so
    metadata = [part.schema.metadata or {} for part in group.parts]
    versions: dict[str, Any] = {}
    for one in metadata:
        versions |= json.loads(one.get(VERSIONS_KEY, b"{}"))
    schemas = {one.get(SCHEMA_KEY, b"{}") for one in metadata}
    return common.with_metadata(
        {
            FORMAT_KEY: str(FORMAT).encode(),
            PROGRAM_KEY: metadata[-1].get(PROGRAM_KEY, b""),
            SCHEMA_KEY: max(sorted(schemas), key=lambda text: sum(1 for _ in leaf_fields(json.loads(text)))),
            VERSIONS_KEY: json.dumps(versions, ensure_ascii=True).encode(),
        }
    )


def _size(path: Place) -> int:
    if isinstance(path, BucketPath):
        return path.size if path.size is not None else path.stat().size or 0
    return path.stat().st_size


# --- what goes ----------------------------------------------------------------------------------------------------


def _remove_orphans(out: Place) -> None:
    """Remove merged parts that a killed compaction left before they counted. Raises StorageError."""
    with parts.locked(out), parts.storage_errors(out):
        newest = newest_snapshot(out)
        for folder in parts.program_folders(out).values():
            for path in folder.glob("*.parquet"):
                if is_merged(path.name) and name_of(path) not in newest.merged and name_of(path) not in newest.replaced:
                    with contextlib.suppress(FileNotFoundError):
                        if time.time() - _changed_at(path) > ORPHANED_SECONDS:
                            places.remove(path)


def _changed_at(path: Place) -> float:
    if isinstance(path, BucketPath):
        modified = path.modified or path.stat().modified
        return modified.timestamp() if modified else time.time()
    return path.stat().st_mtime
