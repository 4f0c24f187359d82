"""Where documents come from: files, folders, globs, buckets, a list on standard input; in Python also what is in
memory.

Folders are read lazily, one at a time, so that the first document of a million is at hand at once. Links to
folders are not followed (a loop, or a link out of what was asked for, leads nowhere); links to files are.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from docflow.buckets import BucketPath, is_uri, local_path
from docflow.documents.bucket_sources import bucket_item, found_at, object_uri, objects_below, unlisted
from docflow.documents.item import NOT_DOCUMENTS
from docflow.documents.item import SourceItem as SourceItem
from docflow.documents.item import encoded as encoded
from docflow.documents.sniff import HEAD_BYTES, SUFFIXES, media_type
from docflow.errors import NothingToDo, SourceUnreadable, UsageError

if TYPE_CHECKING:
    from PIL import Image


def find(
    sources: str | Path | SourceItem | Sequence[str | Path | SourceItem],
    *,
    stdin: IO[str] | IO[bytes] | None = None,
    base: str | Path | None = None,
) -> Sources:
    """Every document of ``sources``, in order, found while you iterate.

    A source is a file, a folder (searched with everything below it), a glob (``*``, ``?``, ``[...]``, ``**``), or
    ``-``: then ``stdin`` lists files and folders, one a line. Relative ones start at ``base`` (default: the working
    directory). A URI (``file://``, ``s3://``, ``gs://``, ``az://``) names the same on this machine or in a bucket. A
    file that is named is always taken, whatever it holds. In folders and globs, files with a document's suffix are
    taken, and others whose first bytes are a document's; hidden ones are not.

    Files are named relative to the source that was given. Where several are given, or a list, they are named relative
    to ``base`` (a file URI outside of it), so that files of one name in two folders can be told apart; objects in
    buckets go by their URIs then.

    Raises NothingToDo for a file or folder that does not exist, UsageError for a source that cannot be one,
    SourceUnreadable for a store that does not answer or refuses.
    """
    if isinstance(sources, str | Path | SourceItem):
        sources = [sources]
    return Sources(sources, stdin, Path(base) if base is not None else Path.cwd())


class Sources(Iterator[SourceItem]):
    """The documents of some sources. ``skipped`` counts the files (and links to folders) passed over so far."""

    def __init__(
        self, sources: Iterable[str | Path | SourceItem], stdin: IO[str] | IO[bytes] | None, base: Path
    ) -> None:
        self.skipped = 0
        self._base = base
        sources = list(sources)
        self._several = len(sources) > 1
        parts = [self._part(source, stdin) for source in sources]
        if not parts:
            raise UsageError("no source was given", hint="Name a file, a folder, a glob, or - for a list on stdin.")
        self._items = (item for part in parts for item in part)

    def __next__(self) -> SourceItem:
        return next(self._items)

    def _part(self, source: str | Path | SourceItem, stdin: IO[str] | IO[bytes] | None) -> Iterator[SourceItem]:
        """The items of one source. What is wrong with the source itself is raised now, not while iterating."""
        if isinstance(source, SourceItem):
            return iter((source,))
        if str(source) == "-":
            if stdin is None:
                raise UsageError("- stands for a list on standard input, and there is none")
            return self._listed(stdin)
        text = os.fspath(source)
        if not text or "\0" in text:
            raise UsageError("a source needs a name")
        if isinstance(source, str) and is_uri(text):
            local = local_path(text)
            if local is None:
                return self._in_bucket(text, whole=self._several)
            text = os.fspath(local)
        path = self._base / text
        try:
            status = path.stat()
        except OSError as error:
            if isinstance(source, str) and (magic := _MAGIC.search(text)):
                return self._matching(text, magic.start())
            if isinstance(error, PermissionError):
                return iter((_unreadable(self._name(path), error),))
            raise NothingToDo(f"{text}: {error.strerror or error}", hint="Check the name of the source.") from error
        if stat.S_ISDIR(status.st_mode):
            return self._folder(path, self._prefix(path))
        return iter((_item(self._name(path), path, status),))

    def _name(self, path: Path) -> str:
        """What a file that was given goes by."""
        return self._from_base(path) if self._several else encoded(path.name)

    def _prefix(self, folder: Path) -> str:
        """What goes before the names of the files in a folder that was given."""
        return self._below_base(folder) if self._several else ""

    def _listed(self, stdin: IO[str] | IO[bytes]) -> Iterator[SourceItem]:
        """The files and folders that lines of text name; one that is missing becomes an item with an error."""
        for line in getattr(stdin, "buffer", stdin):
            text = (os.fsdecode(line) if isinstance(line, bytes) else line).rstrip("\r\n")
            if not text:
                continue
            if is_uri(text):
                try:
                    if (local := local_path(text)) is None:
                        yield from self._in_bucket(text, whole=True)
                        continue
                    text = os.fspath(local)
                except (UsageError, SourceUnreadable) as error:
                    yield unlisted(text, error)
                    continue
            path = self._base / text
            source = self._from_base(path)
            try:
                status = path.stat()
            except (OSError, ValueError) as error:  # ValueError: a NUL in the name
                yield _unreadable(source, error)
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._folder(path, self._below_base(path))
            else:
                yield _item(source, path, status)

    def _below_base(self, folder: Path) -> str:
        """The folder's name from the base, with a slash at its end; nothing for the base itself."""
        name = self._from_base(folder)
        return "" if name == "." else name + "/"

    def _from_base(self, path: Path) -> str:
        """Relative to the base where the path lies below it, else a file URI."""
        normal = os.path.normpath(path)
        relative = os.path.relpath(normal, self._base)
        return file_uri(normal) if relative.startswith("..") else encoded(relative)

    def _folder(self, folder: Path, prefix: str, glob: _Glob | None = None) -> Iterator[SourceItem]:
        """The documents in a folder and below, in the order of their names, a folder's own files first.

        ``prefix`` (encoded; empty or with a slash at its end) goes before their names. With a ``glob``, only what it
        matches.
        """
        waiting = [(os.fspath(folder), "")]
        while waiting:
            path, inside = waiting.pop()
            files: list[str] = []
            folders: list[str] = []
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.name)
                        elif entry.is_file() or (entry.is_symlink() and not os.path.isdir(entry.path)):
                            files.append(entry.name)
                        else:
                            self.skipped += 1  # a link to a folder, a socket, a device
            except OSError as error:
                yield _unreadable(f"{prefix}{encoded(inside)}" or "./", error, folder=True)
                continue
            files.sort()
            folders.sort(reverse=True)
            for name in files:
                relative = inside + name
                if glob is not None and not glob.takes(relative):
                    continue
                item = _item_if_document(prefix + encoded(relative), os.path.join(path, name))
                if item is None:
                    self.skipped += 1
                else:
                    yield item
            for name in folders:
                if glob is None or glob.enters(inside + name):
                    waiting.append((os.path.join(path, name), f"{inside}{name}/"))

    def _matching(self, text: str, magic: int) -> Iterator[SourceItem]:
        """The documents that a glob matches; those of a single one go by their names below the last folder before its
        first wildcard."""
        start = text.rfind("/", 0, magic) + 1
        folder, rest = self._base / text[:start], text[start:]
        if not folder.is_dir():
            raise NothingToDo(f"{text}: there is no folder {text[:start]}", hint="Check the name of the source.")
        return self._folder(folder, self._prefix(folder), _glob(rest))

    def _in_bucket(self, uri: str, *, whole: bool) -> Iterator[SourceItem]:
        """An object, or those below what a URI names, or those that a glob in it matches.

        ``whole`` names them by their URIs. What is wrong with the place itself is raised now.
        """
        magic = _MAGIC.search(uri)
        path = BucketPath.of(uri)
        found = None if uri.endswith("/") else found_at(path)
        if found is not None:
            return iter((bucket_item(object_uri(found) if whole else encoded(found.name), found),))
        glob = None
        if magic and not (path.key and path.is_dir()):
            start = uri.rfind("/", 0, magic.start()) + 1
            path, glob = BucketPath.of(uri[:start]), _glob(uri[start:])
        if not path.is_dir():
            raise NothingToDo(
                f"{uri}: there is no such object, and none below it", hint="Check the name of the source."
            )
        prefix = object_uri(path) + "/" if whole else ""
        return objects_below(path, prefix, glob.takes if glob else None, self._pass_over)

    def _pass_over(self) -> None:
        self.skipped += 1


_MAGIC = re.compile(r"[*?\[]")
_GLOB_PIECE = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


class _Glob:
    """A pattern for paths below a folder; one that matches a folder takes in what lies below it."""

    def __init__(self, text: str) -> None:
        self._parts = [part if part == "**" else _regex(part) for part in text.split("/") if part]

    def takes(self, path: str) -> bool:
        return self._matches(path.split("/"), self._parts, whole=True)

    def enters(self, folder: str) -> bool:
        """Whether anything below the folder can match."""
        return self._matches(folder.split("/"), self._parts, whole=False)

    def _matches(self, names: list[str], parts: list[str | re.Pattern[str]], *, whole: bool) -> bool:
        if not parts:
            return True
        if not names:
            return not whole or parts == ["**"]
        first = parts[0]
        if isinstance(first, str):
            # ** stands for no folder, or for one and what is left of **.
            return (
                not whole or self._matches(names, parts[1:], whole=True) or self._matches(names[1:], parts, whole=True)
            )
        return first.fullmatch(names[0]) is not None and self._matches(names[1:], parts[1:], whole=whole)


def _glob(text: str) -> _Glob:
    try:
        return _Glob(text)
    except re.error as error:
        raise UsageError(f"{text}: this is no pattern that files can match") from error


def _regex(part: str) -> re.Pattern[str]:
    """One part of a glob, between slashes."""
    return re.compile("".join(map(_regex_piece, _GLOB_PIECE.findall(part))), re.DOTALL)


def _regex_piece(piece: str) -> str:
    if piece.startswith("*"):
        return ".*"
    if piece == "?":
        return "."
    if len(piece) == 1:
        return re.escape(piece)
    negated = piece.startswith("[!")
    inside = piece[2 if negated else 1 : -1]
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside)
    return f"[{'^' if negated else ''}{escaped}]"


def _item_if_document(source: str, path: str) -> SourceItem | None:
    """The item of a file in a folder; None where neither its name nor its bytes are a document's."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in NOT_DOCUMENTS:
        return None
    try:
        status = os.stat(path)
        if suffix not in SUFFIXES and not _holds_document(path):
            return None
    except OSError as error:
        # A link to nowhere, a file without rights: worth a word only if it looked like a document.
        return _unreadable(source, error) if suffix in SUFFIXES else None
    return _item(source, Path(path), status)


def _holds_document(path: str) -> bool:
    with open(path, "rb", buffering=0) as file:
        return media_type(file.read(HEAD_BYTES)) is not None


def _item(source: str, path: Path, status: os.stat_result) -> SourceItem:
    # The time of the last change of any kind too: a program can set a file's time of modification back, but not that.
    stamp = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    changed = max(status.st_mtime, status.st_ctime)
    return SourceItem(source, path, size=status.st_size, mtime=status.st_mtime, stamp=stamp, changed=changed)


def _unreadable(source: str, error: OSError | ValueError, *, folder: bool = False) -> SourceItem:
    why = error.strerror if isinstance(error, OSError) else str(error)
    what = "folder" if folder else "file"
    return SourceItem(source, error=SourceUnreadable(f"the {what} cannot be opened: {why}"))


# --- names ----------------------------------------------------------------------------------------------------


def file_uri(path: str | Path) -> str:
    """The file URI of an absolute path, whatever bytes its name has."""
    from urllib.parse import quote_from_bytes

    return "file://" + quote_from_bytes(os.fsencode(path), safe="/")


# --- what Python holds already ----------------------------------------------------------------------------------


def from_bytes(data: bytes | bytearray | memoryview, *, name: str | None = None) -> SourceItem:
    """A document that is in memory. Without a ``name`` its source is ``memory:`` and the start of its hash."""
    data = bytes(data)
    source = encoded(name) if name else f"memory:{hashlib.sha256(data).hexdigest()[:16]}"
    return SourceItem(source, data=data, size=len(data))


def from_file(file: IO[bytes], *, name: str | None = None) -> SourceItem:
    """A document from an open binary file, read from where it stands. Raises UsageError for a text file object."""
    data: Any = file.read()
    if not isinstance(data, bytes):
        raise UsageError("the file object gives text", hint='Open the file with mode "rb".')
    own = getattr(file, "name", None)
    return from_bytes(data, name=name or (os.path.basename(own) if isinstance(own, str) else None))


def from_image(image: Image.Image, *, name: str | None = None) -> SourceItem:
    """A document from a Pillow image, as it would be shown: turned upright by its EXIF orientation."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    buffer = io.BytesIO()
    if upright.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        upright.save(buffer, format="PNG", compress_level=1)
    else:
        upright.save(buffer, format="TIFF")  # PNG has no CMYK, no floats, no Lab
    return from_bytes(buffer.getvalue(), name=name)
