"""Snapshots: which merged parts count, and which parts they stand in for.

A part that a run writes counts from the moment it is there: runs never wait for each other, and nothing has to be
committed. A part that ``compact`` merged of others counts once the newest snapshot lists it, and from then on the parts
that it replaces do not, although they stay for a while, for readers who hold a list from before. So no row is ever seen
twice or missed, wherever a compaction is killed.

Snapshots are files OUT/snapshots/00000001.json, 00000002.json ..., each made only if it is not there yet: of two who
want to make the same one, one has to look again. Each holds all that counts; older ones are for people to look at.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from docflow.buckets import BucketPath
from docflow.errors import StorageError
from docflow.storage import places
from docflow.storage.places import Place

SNAPSHOTS = "snapshots"
FORMAT = 1
KEPT = 20
"""Snapshots that are kept: more than people look at, and than a reader can fall behind while it lists a folder."""
_NAME = re.compile(r"(\d{8})\.json")
_MERGED = re.compile(r"(part|failed)-merged-[0-9a-f]+\.parquet")
_PATIENCE = 1_000
"""How often a snapshot is looked for anew while others make new ones: each time is milliseconds."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A part that a merged one stands in for, as it was when it was read, and when that was (seconds since 1970).

    A part that has been written again since is another one, and counts.
    """

    identity: str
    since: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What counts in a dataset. Parts go by their folder's name and their own.

    ``forgotten`` counts how often documents were forgotten: what was merged of parts from before must not count.
    """

    number: int = 0
    forgotten: int = 0
    merged: frozenset[str] = frozenset()
    replaced: Mapping[str, Replaced] = field(default_factory=dict)

    def counts(self, name: str, identity: Callable[[], str]) -> bool:
        """Whether a part that is there is to be read."""
        if is_merged(name) and name not in self.merged:
            return False
        replaced = self.replaced.get(name)
        return replaced is None or replaced.identity != identity()


def is_merged(name: str) -> bool:
    """Whether a part, given by its name or path, was made by ``compact``."""
    return _MERGED.fullmatch(name.rpartition("/")[2]) is not None


def identity_of(path: Place) -> str:
    """What tells a part from another one of the same name. Raises OSError where there is none.

    A dataset that was copied may have other ones; then parts that were replaced count again, and their rows are there
    twice until the next compaction. Readers take one of two such rows.
    """
    if isinstance(path, BucketPath):
        return path.etag or path.stat().etag or ""
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def name_of(path: Place) -> str:
    """A part as snapshots name it: its program's folder and its own name."""
    return f"{path.parent.name}/{path.name}"


def newest_snapshot(out: Place) -> Snapshot:
    """The newest snapshot; an empty one where there is none. Raises StorageError for one that cannot be read."""
    for _ in range(_PATIENCE):
        number = newest_number(out)
        if number == 0:
            return Snapshot()
        with contextlib.suppress(FileNotFoundError):  # so old meanwhile that it was removed
            return _read(_path(out, number), number)
    raise StorageError(f"the snapshots of {out} change too fast to be read", retryable=True)


def newest_number(out: Place) -> int:
    """The number of the newest snapshot; 0 where there is none."""
    return max(_numbers(out), default=0)


def live_parts(out: Place, folder: Place) -> list[Place]:
    """The parts in a program's folder that count, in the order of their names. Raises StorageError."""
    for _ in range(_PATIENCE):
        snapshot = newest_snapshot(out)
        found: list[Place] = [path for path in folder.glob("*.parquet") if not path.name.startswith(".")]
        found = [path for path in found if _counts(snapshot, path)]
        if newest_number(out) == snapshot.number:  # else what it lists may have come or gone in between
            return sorted(found, key=str)
    raise StorageError(f"the snapshots of {out} change too fast to be read", retryable=True)


def commit(out: Place, change: Callable[[Snapshot], Snapshot | None]) -> Snapshot | None:
    """Make the next snapshot of what ``change`` makes of the newest one; None where that says that there is none to
    make. ``change`` is asked again where another one was faster. Raises StorageError.
    """
    for _ in range(_PATIENCE):
        before = newest_snapshot(out)
        after = change(before)
        if after is None:
            return None
        path = _path(out, before.number + 1)
        if places.create(path, _content(after)):
            return Snapshot(before.number + 1, after.forgotten, after.merged, after.replaced)
    raise StorageError(f"the snapshots of {out} change too fast to add one", retryable=True)


def remove_old_snapshots(out: Place) -> None:
    """Remove all snapshots but the last few. Raises StorageError."""
    for number in sorted(_numbers(out))[:-KEPT]:
        places.remove(_path(out, number))


def _counts(snapshot: Snapshot, path: Place) -> bool:
    try:
        return snapshot.counts(name_of(path), lambda: identity_of(path))
    except FileNotFoundError:  # gone since it was listed
        return False


def _numbers(out: Place) -> Iterable[int]:
    return [int(match.group(1)) for path in (out / SNAPSHOTS).glob("*.json") if (match := _NAME.fullmatch(path.name))]


def _path(out: Place, number: int) -> Place:
    return out / SNAPSHOTS / f"{number:08}.json"


def _content(snapshot: Snapshot) -> bytes:
    content = {
        "format": FORMAT,
        "writer": uuid.uuid4().hex,  # no two who make the same snapshot bring the same bytes
        "forgotten": snapshot.forgotten,
        "merged": sorted(snapshot.merged),
        "replaced": {name: [one.identity, one.since] for name, one in sorted(snapshot.replaced.items())},
    }
    return json.dumps(content, indent=0).encode()


def _read(path: Place, number: int) -> Snapshot:
    try:
        content: dict[str, Any] = json.loads(places.read(path))
        if content["format"] > FORMAT:
            raise StorageError(f"{path} was written by a newer docflow", hint="Install that one, or a newer one.")
        return Snapshot(
            number,
            int(content["forgotten"]),
            frozenset(str(name) for name in content["merged"]),
            {str(name): Replaced(str(one[0]), float(one[1])) for name, one in content["replaced"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise StorageError(
            f"{path} is no snapshot: {error}",
            hint="Copy the dataset from a backup; without its snapshots, rows that were merged are not seen.",
        ) from error
