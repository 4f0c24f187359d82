"""Parts that merged ones stand in for: they go once nobody can be reading them any more."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from docflow.storage import parts, places
from docflow.storage.places import Place
from docflow.storage.snapshots import Replaced, Snapshot, commit, identity_of, newest_snapshot


def remove_replaced(out: Place, grace_seconds: float) -> int:
    """Remove the parts that merged ones have stood in for longer than the grace time; how many. Raises StorageError."""
    long_ago = time.time() - grace_seconds
    gone = 0
    if not any(one.since <= long_ago for one in newest_snapshot(out).replaced.values()):
        return 0
    with parts.locked(out), parts.storage_errors(out):
        old = {name: one for name, one in newest_snapshot(out).replaced.items() if one.since <= long_ago}
        for name, one in old.items():
            path = out / parts.RECORDS / name
            with contextlib.suppress(FileNotFoundError):
                if identity_of(path) == one.identity:  # else it was written anew since, and counts
                    places.remove(path)
                    gone += 1
        commit(out, lambda newest: _without(newest, old))
    return gone


def _without(newest: Snapshot, old: dict[str, Replaced]) -> Snapshot | None:
    left = {name: one for name, one in newest.replaced.items() if old.get(name) != one}
    return None if len(left) == len(newest.replaced) else replace(newest, replaced=left)
