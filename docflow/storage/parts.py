"""Parts: the Parquet files of a dataset, which appear whole or not at all (see ``places``)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from docflow.buckets import BucketPath
from docflow.errors import StorageError
from docflow.storage.places import TEMPORARY, Place
from docflow.storage.places import reading_errors as reading_errors
from docflow.storage.places import remove as remove
from docflow.storage.places import storage_errors as storage_errors
from docflow.storage.places import write_whole as write_whole
from docflow.storage.snapshots import SNAPSHOTS, live_parts

RECORDS = "records"
_WRITTEN_WHOLE = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")
_SWEEP_AFTER = 3600.0
"""Seconds after which a temporary file is nobody's any more: writing one takes seconds."""


def program_folder(out: Place, program: str) -> Place:
    """Where a program's parts live; a name with odd characters is percent-encoded, as Hive partitions are."""
    return out / RECORDS / f"program={urllib.parse.quote(program, safe='')}"


def program_folders(out: Place) -> dict[str, Place]:
    """The programs that a dataset holds, by name, each with its folder."""
    found: dict[str, Place] = {}
    for folder in _sorted((out / RECORDS).glob("program=*")):
        if isinstance(folder, BucketPath) or folder.is_dir():
            found[program_of(folder / "part")] = folder
    return found


def program_of(part: Place) -> str:
    """The program that a part's rows are filed under."""
    return urllib.parse.unquote(part.parent.name.removeprefix("program="))


def part_files(folder: Place) -> list[Place]:
    """The parts of one program that count, in the order of their names (see ``snapshots``). Raises StorageError."""
    return live_parts(folder.parent.parent, folder)


def is_failed(part: Place) -> bool:
    """Whether a part holds documents that failed."""
    return part.name.startswith("failed-")


def _sorted(places: Iterable[Place]) -> list[Place]:
    return sorted(places, key=str)


def prepare(out: Place) -> None:
    """Make ``out`` ready to be written: for its owner only when it is new, and without what a kill left behind.

    Raises StorageError when it cannot be written.
    """
    with storage_errors(out):
        if isinstance(out, BucketPath):
            out.reach()
            if out.key and out.is_file():
                raise StorageError(f"{out} is an object", hint="Give --out a name that is not taken.")
            probe = out / RECORDS / f".{uuid.uuid4().hex}{TEMPORARY}"
            probe.write_bytes(b"")
            probe.unlink()
            return
        if out.exists() and not out.is_dir():
            raise StorageError(
                f"{out} is a file, not a folder", hint="Give --out a folder, or a name that is not taken."
            )
        for folder in (out, out / RECORDS):
            if not folder.exists():
                folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        trial = out / RECORDS / f".{uuid.uuid4().hex}{TEMPORARY}"
        trial.touch(mode=0o600)
        trial.unlink()
        for leftover in _temporary_files(out):
            with contextlib.suppress(FileNotFoundError):  # another run may sweep at the same time
                if time.time() - leftover.stat().st_mtime > _SWEEP_AFTER:
                    leftover.unlink()


def _temporary_files(out: Path) -> Iterator[Path]:
    """What ``prepare`` and ``write_whole`` write before they rename it, wherever in a dataset."""
    yield from (out / RECORDS).rglob(f".*{TEMPORARY}")
    # Only names that write_whole gives: OUT may be a folder in which other programs have files of their own.
    for folder in (out, out / "runs", out / "corrections", out / SNAPSHOTS):
        yield from (path for path in folder.glob(f".*{TEMPORARY}") if _WRITTEN_WHOLE.fullmatch(path.name))


def write_part(path: Place, table: pa.Table) -> None:
    """Write ``table`` to ``path``, whole or not at all. Raises StorageError."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue())


@contextlib.contextmanager
def locked(out: Place) -> Iterator[None]:
    """Alone among the processes that write to ``out``. Raises StorageError.

    In a bucket there is no such thing: nothing there may rely on it.
    """
    if isinstance(out, BucketPath):
        yield
        return
    with storage_errors(out):
        descriptor = os.open(out / RECORDS / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with storage_errors(out):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
