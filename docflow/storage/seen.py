"""The index of files that runs have seen: what bytes a file had, so that one that is unchanged need not be opened.

``OUT/seen.index`` (Parquet, named so that no glob for rows takes it for some) has a row a file: a hash of its path, a
hash of its stamp, which changes whenever the file does, and the id of its bytes. It is a cache: without it, or with an
entry that is stale, a file is read and hashed once more.
Several runs may write it; each puts in what it found (in a bucket, where none can lock it, one may undo what another
put in at the same moment).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from docflow.documents.sources import SourceItem
from docflow.errors import StorageError
from docflow.storage import parts
from docflow.storage.places import Place, arrow_file

SEEN = "seen.index"
SETTLED_SECONDS = 2.0
"""A file that changed later than this before it was read may change again without a sign: clocks of file systems are
coarse, down to the 2 s of FAT."""
SAVE_EVERY = 20_000
"""Files that were read since the index was last saved, at most: so many are read again after a kill."""

_ENTRY = np.dtype([("file", "<u8"), ("stamp", "<u8"), ("document_id", "S32")])
_SCHEMA = pa.schema([("file", pa.uint64()), ("stamp", pa.uint64()), ("document_id", pa.binary(32))])


class Seen:
    """The index of one dataset, in memory: 48 bytes a file. For one thread."""

    def __init__(self, out: Place) -> None:
        self._out = out
        self._take(_read(out / SEEN))
        self._new: dict[int, tuple[int, bytes]] = {}

    def _take(self, entries: np.ndarray) -> None:
        # Columns of their own: a search in a column of records copies it first, each time.
        self._files, self._stamps, self._ids = (np.ascontiguousarray(entries[name]) for name in _ENTRY.names or ())

    def document_id(self, item: SourceItem) -> str | None:
        """The id of the file's bytes, where it was seen and has not changed since."""
        if item.stamp is None:
            return None
        file = _file(item)
        found = self._new.get(file)
        if found is None:
            place = int(np.searchsorted(self._files, np.uint64(file)))
            if place == len(self._files) or self._files[place] != file:
                return None
            # NumPy takes zeros off the end of bytes
            found = int(self._stamps[place]), bytes(self._ids[place]).ljust(32, b"\0")
        stamp, document_id = found
        return document_id.hex() if stamp == _number(item.stamp) else None

    def remember(self, item: SourceItem, document_id: str) -> None:
        """Note the id of bytes that were read just now, unless the file changed too shortly before."""
        if item.stamp is None or (item.changed is not None and time.time() - item.changed < SETTLED_SECONDS):
            return
        self._new[_file(item)] = _number(item.stamp), bytes.fromhex(document_id)
        if len(self._new) >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Put what is new into the file. Where it cannot be written, nothing is lost but time."""
        if not self._new:
            return
        new = np.array([(file, *found) for file, found in self._new.items()], dtype=_ENTRY)
        with contextlib.suppress(StorageError), parts.locked(self._out):
            path = self._out / SEEN
            both = np.concatenate([new, _read(path)])  # another run may have written meanwhile
            _, first = np.unique(both["file"], return_index=True)  # sorted; of two entries the first one counts
            self._take(both[first])
            _write(path, both[first])
        self._new.clear()


def forget(out: Place, document_ids: Collection[str]) -> int:
    """Take files with these bytes out of the index; how many there were. For whoever holds the dataset's lock.

    Raises StorageError.
    """
    entries = _read(out / SEEN)
    wanted = np.array([bytes.fromhex(one) for one in document_ids], dtype="S32")
    gone = np.isin(entries["document_id"], wanted)
    if gone.any():
        _write(out / SEEN, entries[~gone])
    return int(gone.sum())


def _file(item: SourceItem) -> int:
    name = (item.source if item.location is None else str(item.location)).encode("utf-8", "surrogateescape")
    if item.path is not None:
        name = os.fsencode(item.path)
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def _number(stamp: str) -> int:
    return int.from_bytes(hashlib.blake2b(stamp.encode(), digest_size=8).digest(), "little")


def _read(path: Place) -> np.ndarray:
    """The entries, sorted by file; none where there is no index, or one that cannot be read."""
    try:
        with arrow_file(path) as file:
            table = pq.read_table(file, schema=_SCHEMA).combine_chunks()
    except (OSError, pa.ArrowException):
        return np.empty(0, _ENTRY)
    entries = np.empty(len(table), _ENTRY)
    if len(table):
        for name in ("file", "stamp"):
            entries[name] = table[name].to_numpy()
        ids = table["document_id"].chunk(0)
        if ids.null_count:
            return np.empty(0, _ENTRY)
        raw = np.frombuffer(ids.buffers()[1], "S32", len(ids), ids.offset * 32)
        entries["document_id"] = raw
    return entries


def _write(path: Place, entries: np.ndarray) -> None:
    """Write the index whole. Raises StorageError."""
    raw = np.ascontiguousarray(entries["document_id"])
    ids = pa.Array.from_buffers(pa.binary(32), len(raw), [None, pa.py_buffer(raw)])
    columns = [pa.array(entries["file"]), pa.array(entries["stamp"]), ids]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=_SCHEMA), sink, compression="none", use_dictionary=False)
    parts.write_whole(path, sink.getvalue())
