"""Places: files of a dataset, on a disk or in a bucket, that appear whole or not at all.

A ``Place`` is a ``pathlib.Path`` or a ``BucketPath``, which has the same names for what both can do (``/``, ``exists``,
``glob``, ``read_bytes`` ...). What has to be done in two ways is here. On a disk a file is written under a temporary
name, synced, renamed, and its folder synced: a kill leaves a dot file that no reader sees and that a later run sweeps.
In a bucket it is put with one request.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from docflow.buckets import BucketPath
from docflow.buckets import Place as Place
from docflow.buckets import place_of as place_of
from docflow.errors import StorageError, first_line

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    import pyarrow.fs as pafs

TEMPORARY = ".tmp"
_WHOLE_BYTES = 8 << 20
"""Objects up to this size are read with one request: quicker than the two or three for some columns of one, and what is
read is of one time even when another run puts the object anew."""


# --- writing ------------------------------------------------------------------------------------------------------


def write_whole(place: Place, content: bytes | memoryview | pa.Buffer) -> None:
    """Write a file that appears whole or not at all, readable by its owner only. Raises StorageError."""
    with storage_errors(place):
        if isinstance(place, BucketPath):
            place.write_bytes(memoryview(content))
            return
        with _written_beside(place, content) as temporary:
            temporary.replace(place)
        sync_folder(place.parent)


def create(place: Place, content: bytes) -> bool:
    """Write a file where there is none, whole or not at all; False where there is one already.

    Of several processes, on several machines, that try at once one wins. ``content`` should be the writer's own (hold
    its run's id): in a bucket, those that bring the same bytes all win. Raises StorageError, also for a store that
    cannot do it.
    """
    with storage_errors(place):
        if isinstance(place, BucketPath):
            return place.create(content)
        with _written_beside(place, content) as temporary:
            try:
                os.link(temporary, place)
            except FileExistsError:
                return False
        sync_folder(place.parent)
        return True


@contextlib.contextmanager
def _written_beside(path: Path, content: bytes | memoryview | pa.Buffer) -> Iterator[Path]:
    """The content on disk under a temporary name, which is gone afterwards."""
    temporary = path.parent / f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY}"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove(place: Place) -> None:
    """Take a file away, for good also after a power cut. Raises StorageError."""
    with storage_errors(place):
        place.unlink(missing_ok=True)
        if isinstance(place, Path):
            sync_folder(place.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on disk: a rename is only safe once that has happened."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading ------------------------------------------------------------------------------------------------------


def read(place: Place) -> bytes:
    """The content of a file. Raises StorageError, FileNotFoundError where there is none."""
    try:
        return place.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{place} cannot be read: {error.strerror or error}", retryable=True) from error


def arrow_file(place: Place) -> pa.NativeFile:
    """A file for Arrow to read from: ``pq.ParquetFile(arrow_file(place))``. Raises OSError."""
    if isinstance(place, Path):
        return pa.OSFile(os.fspath(place), "rb")
    known = place if place.size is not None else place.stat()
    assert known.size is not None
    if known.size <= _WHOLE_BYTES:
        return pa.BufferReader(place.read_bytes())
    return pa.PythonFile(_Ranges(known), mode="r")


class _Ranges(io.RawIOBase):
    """An object as a file: each read is a request."""

    def __init__(self, path: BucketPath) -> None:
        self._path = path
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        assert self._path.size is not None
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._path.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        assert self._path.size is not None
        left = max(0, self._path.size - self._at)
        content = self._path.read_range(self._at, left if size < 0 else min(size, left))
        self._at += len(content)
        return content


def arrow_dataset(places: Sequence[Place], schema: pa.Schema) -> ds.Dataset:
    """Parquet files as one Arrow dataset with this schema; columns that some lack are null. Nothing is read yet."""
    import pyarrow.dataset as ds  # imports pandas too, where that is installed: only for those who read

    remote = [place for place in places if isinstance(place, BucketPath)]
    if not remote:
        return ds.dataset([str(place) for place in places], schema=schema, format="parquet")
    fs = _arrow_filesystem(remote)
    parquet = ds.ParquetFileFormat()
    fragments = [parquet.make_fragment(str(place), filesystem=fs) for place in remote]
    return ds.FileSystemDataset(fragments, schema, parquet, fs)


def _arrow_filesystem(places: Sequence[BucketPath]) -> pafs.FileSystem:
    import pyarrow.fs as pafs

    from docflow.storage.arrow_buckets import Buckets

    return pafs.PyFileSystem(Buckets(places, arrow_file))


# --- errors -------------------------------------------------------------------------------------------------------

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def storage_errors(place: Place) -> Iterator[None]:
    """Say what the system's or the store's errors mean for a dataset."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"no space left to write {place}",
                hint="Make room and run the same command again: what was written is kept.",
            ) from error
        if error.errno == errno.EFBIG:
            raise StorageError(
                f"{place} would be larger than this process may write",
                hint="Raise the file size limit (ulimit -f) and run the same command again: what was written is kept.",
            ) from error
        if error.errno in _DENIED:
            raise StorageError(f"{place} cannot be written: {error.strerror}", hint=_denied_hint(place)) from error
        hint = _absent_hint(place) if isinstance(error, FileNotFoundError) else None
        raise StorageError(
            f"{place} cannot be written: {error.strerror or error}", hint=hint, retryable=hint is None
        ) from error


def _denied_hint(place: Place) -> str:
    if isinstance(place, BucketPath):
        return "Check the store's credentials in the environment and what they allow in this bucket."
    return "Check the permissions, or give another folder with --out."


def _absent_hint(place: Place) -> str | None:
    if isinstance(place, BucketPath):
        return "Check the name of the bucket, and the store's address and region in the environment."
    return None


@contextlib.contextmanager
def reading_errors(place: Place) -> Iterator[None]:
    """Say what the system's, the store's and Arrow's errors mean for a part that is read."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(place, BucketPath) and isinstance(error, OSError):
            raise StorageError(
                f"{place} cannot be read: {error.strerror or first_line(error)}", retryable=True
            ) from error
        raise StorageError(
            f"{place} cannot be read: {first_line(error)}",
            hint="If the file is damaged, move it away and run the same extract again: its documents are read anew.",
        ) from error
