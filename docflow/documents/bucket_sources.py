"""Documents in buckets: which objects of a listing are taken, and what they go by.

The rules are those of folders. A listing is read a page at a time, in the store's own order (the bytes of the keys),
and an object is opened only if its name does not say whether it is a document.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator

from docflow.buckets import NO_BUCKET, BucketPath
from docflow.documents.item import NOT_DOCUMENTS, SourceItem, encoded
from docflow.documents.sniff import HEAD_BYTES, SUFFIXES, media_type
from docflow.errors import DocflowError, NothingToDo, SourceUnreadable

_HINT = "Check that the store can be reached, and what the credentials in the environment allow."


def object_uri(path: BucketPath) -> str:
    """What an object goes by in a dataset where it is not named relative to a SOURCE."""
    return encoded(str(path))


def bucket_item(source: str, path: BucketPath) -> SourceItem:
    """The item of one object, with what a listing (or ``stat``) told of it."""
    modified = path.modified.timestamp() if path.modified else None
    # A store changes the ETag with the content, so that there is no time in which a change leaves no sign.
    stamp = f"{path.size} {path.etag} {modified}"
    return SourceItem(source, location=path, size=path.size, mtime=modified, stamp=stamp)


def unlisted(text: str, error: DocflowError) -> SourceItem:
    """The item of a line of a list that names no object."""
    return SourceItem(encoded(text), error=SourceUnreadable(error.message, hint=error.hint))


def _said(what: str, error: OSError) -> SourceUnreadable:
    return SourceUnreadable(f"{what} cannot be read: {error.strerror}", hint=_HINT)


def found_at(path: BucketPath) -> BucketPath | None:
    """The object at this path; None where there is only a listing to be made of what lies below.

    Raises SourceUnreadable where the store does not answer or refuses, NothingToDo where there is no such bucket.
    """
    try:
        path.reach()
        return path.stat() if path.key else None
    except FileNotFoundError as error:
        if path.key and error.strerror not in NO_BUCKET:
            return None
        raise NothingToDo(f"{path}: there is no such bucket", hint="Check the name of the source.") from error
    except OSError as error:
        raise _said(str(path), error) from error


def objects_below(
    folder: BucketPath, prefix: str, takes: Callable[[str], bool] | None, passed_over: Callable[[], None]
) -> Iterator[SourceItem]:
    """The documents among the objects below a path, in the order of their keys.

    ``prefix`` (encoded) goes before their names, which are relative to ``folder``. ``takes`` chooses by name,
    ``passed_over`` is called for each object that is chosen and is no document. A listing that breaks off becomes an
    item with an error: what was found before stays found.
    """
    start = len(folder.key) + 1 if folder.key else 0
    try:
        for found in folder.objects():
            name = found.key[start:]
            if any(part.startswith(".") for part in name.split("/")) or (takes is not None and not takes(name)):
                continue
            item = _item_if_document(prefix + encoded(name), found)
            if item is not None:
                yield item
            elif found.size or posixpath.splitext(name)[1]:  # else it is what some tools put in place of a folder
                passed_over()
    except OSError as error:
        yield SourceItem(prefix or "./", error=_said(f"the list of {folder}", error))


def _item_if_document(source: str, found: BucketPath) -> SourceItem | None:
    suffix = found.suffix.lower()
    if suffix in NOT_DOCUMENTS:
        return None
    if suffix not in SUFFIXES:
        try:
            head = found.read_range(0, min(HEAD_BYTES, found.size or 0))
        except OSError:  # worth a word only if it looked like a document
            return None
        if media_type(head) is None:
            return None
    return bucket_item(source, found)
