"""The bytes of a source item, read once, within the size that a document may have."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from docflow.errors import BrokenDocument, LimitExceeded, SourceUnreadable, UnsupportedDocument

if TYPE_CHECKING:
    from docflow.buckets import BucketPath
    from docflow.documents.item import SourceItem
    from docflow.settings import DecodeLimits


def read_content(item: SourceItem, limits: DecodeLimits) -> bytes:
    """The bytes of the file. Raises DocumentError: the item's own, if it has one; for an empty or too large file."""
    if item.error is not None:
        raise item.error
    if item.data is not None:
        data = item.data
    elif item.location is not None:
        data = _read_object(item.location, limits)
    else:
        data = _read_file(item, limits)
    if not data:
        raise BrokenDocument("the file is empty")
    _check_size(len(data), limits)
    return data


def _read_file(item: SourceItem, limits: DecodeLimits) -> bytes:
    assert item.path is not None
    try:
        # Not blocking: opening a pipe that nobody writes to would otherwise wait for ever.
        descriptor = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnsupportedDocument("this is no regular file", hint="Save its content to a file first.")
            _check_size(status.st_size, limits)
            return file.read()
    except OSError as error:
        raise SourceUnreadable(f"the file cannot be opened: {error.strerror}") from error


def _read_object(location: BucketPath, limits: DecodeLimits) -> bytes:
    _check_size(location.size or 0, limits)
    try:
        # What a listing said of its size may be out of date, or a lie.
        return location.read_up_to(int(limits.file_mb * (1 << 20)) + 1)
    except OSError as error:
        raise SourceUnreadable(
            f"the object cannot be read: {error.strerror}",
            hint="Check that the store can be reached, and what the credentials in the environment allow.",
        ) from error


def _check_size(size: int, limits: DecodeLimits) -> None:
    if size > limits.file_mb * (1 << 20):
        raise LimitExceeded(f"the file has {size / (1 << 20):,.1f} MiB, more than {limits.file_mb:g} (limits.file_mb)")
