"""Parts: files of a dataset that appear whole or not at all.

A part is written under a temporary name, synced, renamed, and its folder synced. A kill leaves a dot file that no
reader sees and that a later run sweeps.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from docflow.errors import StorageError

RECORDS = "records"
_TEMPORARY = ".tmp"
_WRITTEN_WHOLE = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")
_SWEEP_AFTER = 3600.0
"""Seconds after which a temporary file is nobody's any more: writing one takes seconds."""


def program_folder(out: Path, program: str) -> Path:
    """Where a program's parts live; a name with odd characters is percent-encoded, as Hive partitions are."""
    return out / RECORDS / f"program={urllib.parse.quote(program, safe='')}"


def program_folders(out: Path) -> dict[str, Path]:
    """The programs that a dataset holds, by name, each with its folder."""
    found = {}
    for folder in sorted((out / RECORDS).glob("program=*")):
        if folder.is_dir():
            found[program_of(folder / "part")] = folder
    return found


def program_of(part: Path) -> str:
    """The program that a part's rows are filed under."""
    return urllib.parse.unquote(part.parent.name.removeprefix("program="))


def part_files(folder: Path) -> list[Path]:
    """The parts of one program, in the order of their names."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def prepare(out: Path) -> None:
    """Make ``out`` ready to be written: for its owner only when it is new, and without what a kill left behind.

    Raises StorageError when it cannot be written.
    """
    with storage_errors(out):
        if out.exists() and not out.is_dir():
            raise StorageError(
                f"{out} is a file, not a folder", hint="Give --out a folder, or a name that is not taken."
            )
        for folder in (out, out / RECORDS):
            if not folder.exists():
                folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        probe = out / RECORDS / f".{uuid.uuid4().hex}{_TEMPORARY}"
        probe.touch(mode=0o600)
        probe.unlink()
        for leftover in _temporary_files(out):
            with contextlib.suppress(FileNotFoundError):  # another run may sweep at the same time
                if time.time() - leftover.stat().st_mtime > _SWEEP_AFTER:
                    leftover.unlink()


def _temporary_files(out: Path) -> Iterator[Path]:
    """What ``prepare`` and ``write_whole`` write before they rename it, wherever in a dataset."""
    yield from (out / RECORDS).rglob(f".*{_TEMPORARY}")
    # Only names that write_whole gives: OUT may be a folder in which other programs have files of their own.
    for folder in (out, out / "runs", out / "corrections"):
        yield from (path for path in folder.glob(f".*{_TEMPORARY}") if _WRITTEN_WHOLE.fullmatch(path.name))


def write_part(path: Path, table: pa.Table) -> None:
    """Write ``table`` to ``path``, whole or not at all. Raises StorageError."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue())


def write_whole(path: Path, content: bytes | memoryview | pa.Buffer) -> None:
    """Write a file that appears whole or not at all, readable by its owner only. Raises StorageError."""
    temporary = path.parent / f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{_TEMPORARY}"
    with storage_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Take a part away, for good also after a power cut. Raises StorageError."""
    with storage_errors(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk: a rename is only safe once that has happened."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Alone among the processes that write to ``out``. Raises StorageError."""
    with storage_errors(out):
        descriptor = os.open(out / RECORDS / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with storage_errors(out):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Say what the system's errors mean for a dataset."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"no space left to write {path}",
                hint="Make room and run the same command again: what was written is kept.",
            ) from error
        if error.errno == errno.EFBIG:
            raise StorageError(
                f"{path} would be larger than this process may write",
                hint="Raise the file size limit (ulimit -f) and run the same command again: what was written is kept.",
            ) from error
        if error.errno in _DENIED:
            raise StorageError(
                f"{path} cannot be written: {error.strerror}",
                hint="Check the permissions, or give another folder with --out.",
            ) from error
        raise StorageError(f"{path} cannot be written: {error.strerror or error}", retryable=True) from error


@contextlib.contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Say what the system's and Arrow's errors mean for a part that is read."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            hint="If the file is damaged, move it away and run the same extract again: its documents are read anew.",
        ) from error
