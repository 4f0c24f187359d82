"""Truth files: a record for each document, in a folder, and which row of a dataset each one is about."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from docflow.buckets import BucketPath, Place
from docflow.errors import UsageError
from docflow.evaluation.places import Piece, TrueLine, read_boxes, read_lines

Pages = tuple[int, int]
"""First and last page, from 1."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What one document truly says. ``name`` is the file's path in its folder, without ``.json``.

    ``record`` is None for a document that is known to be unreadable. ``program`` is None where the file does not say
    which one it is for. ``boxes`` go by path; ``repeats`` are further places where the same value is printed;
    ``lines`` are all lines of text that are known of the document. ``source`` is set where the document itself is
    known, and not only its stem. ``pages`` are the first and the last page where the truth is about one document of
    several in a file: its name ends in ``.p3-4`` then.
    """

    name: str
    record: Mapping[str, Any] | None
    program: str | None = None
    boxes: Mapping[str, Sequence[Piece]] = field(default_factory=dict)
    repeats: Mapping[str, Sequence[Piece]] = field(default_factory=dict)
    lines: Sequence[TrueLine] = ()
    source: str | None = None
    pages: Pages | None = None

    def places(self, path: str) -> list[Sequence[Piece]]:
        """Every place where the value of a path is printed."""
        main = [self.boxes[path]] if self.boxes.get(path) else []
        return main + [[piece] for piece in self.repeats.get(path, ())]


def read_truths(folder: Place, renamed: Mapping[str, str] | None = None) -> list[Truth]:
    """The truth files below a folder, in the order of their names; ``renamed`` gives our names for their fields.

    Raises UsageError for a folder without any, and for a file that is no truth, StorageError where a store does not
    answer.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="TRUTH is a folder with a file STEM.json for each document.")
    names = sorted(name for name in _files_below(folder) if not PurePosixPath(name).name.startswith("."))
    if not names:
        raise UsageError(f"{folder} holds no truth", hint="It takes a file STEM.json for each document.")
    return [read_truth(folder / name, name.removesuffix(".json"), renamed or {}) for name in names]


def _files_below(folder: Place) -> Iterator[str]:
    """The names of the JSON files in a folder and all below it, with slashes between their parts."""
    if isinstance(folder, BucketPath):
        keys = (file.key[len(folder.key) :].lstrip("/") for file in folder.objects())
        yield from (key for key in keys if key.endswith(".json"))
    else:
        yield from (file.relative_to(folder).as_posix() for file in folder.rglob("*.json") if file.is_file())


def read_truth(path: Place, name: str, renamed: Mapping[str, str] | None = None) -> Truth:
    """One truth file: a record, a list with a record in it, or an object with ``record`` and perhaps ``boxes``.

    Raises UsageError.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"the truth {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the truth {path} is no valid JSON: {error}") from error
    if isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, dict):
        raise UsageError(f"the truth {path} is no record", hint='A record looks like {"total": "12.50"}.')
    wrapped = "record" in content and (content["record"] is None or isinstance(content["record"], dict))
    record = content["record"] if wrapped else content
    about = content if wrapped else {}
    try:
        boxes, repeats = read_boxes(about.get("boxes") or {}), read_boxes(about.get("repeats") or {})
        lines = read_lines(about.get("lines") or [])
    except ValueError as error:
        raise UsageError(f"the truth {path} has a box that is none: {error}") from error
    program = about.get("program")
    if record is not None and renamed:
        record = rename(record, renamed)
        boxes = {_renamed_path(path, renamed): pieces for path, pieces in boxes.items()}
        repeats = {_renamed_path(path, renamed): pieces for path, pieces in repeats.items()}
    pages = pages_of(name)[1]
    return Truth(name, record, program if isinstance(program, str) else None, boxes, repeats, lines, pages=pages)


_PAGES = re.compile(r"\.p([1-9]\d{0,5})(?:-([1-9]\d{0,5}))?$")


def pages_of(name: str) -> tuple[str, Pages | None]:
    """The name of a truth without the pages at its end, and these: ``scan.p3-4`` is about pages 3 and 4 of ``scan``."""
    found = _PAGES.search(name)
    if found is None:
        return name, None
    return name[: found.start()], (int(found[1]), int(found[2] or found[1]))


def reviewed_truths(out: Place, program: str | None = None) -> list[Truth]:
    """What reviewers said of a dataset (OUT/corrections), as truth.

    Of a document that was reviewed wholly the corrected record is the truth. Of any other it is the leaves that
    somebody decided, and the lists whose every leaf somebody did: what was not looked at is not judged. Raises
    StorageError.
    """
    from docflow.storage.corrections import as_truth

    truths = []
    for reviewed in as_truth(out, program):
        record = reviewed.record if reviewed.complete else _decided(reviewed.record, reviewed.decided, "")
        if record:
            part = reviewed.part
            name = reviewed.source if part is None else "{}.p{}-{}".format(reviewed.source, *part)
            truths.append(Truth(name, record, reviewed.program, source=reviewed.source, pages=part))
    return truths


def _decided(record: Mapping[str, Any], decided: Container[str], path: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in record.items():
        inner = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            kept[name] = _decided(value, decided, inner)
        elif _is_decided(value, decided, inner):
            kept[name] = value
    return {name: value for name, value in kept.items() if value != {}}


def _is_decided(value: Any, decided: Container[str], path: str) -> bool:
    if isinstance(value, Mapping):
        return all(_is_decided(inner, decided, f"{path}.{name}") for name, inner in value.items())
    if isinstance(value, list) and value:
        return all(_is_decided(inner, decided, f"{path}[{index}]") for index, inner in enumerate(value))
    return path in decided


# --- other people's names -----------------------------------------------------------------------------------------

_Keys = tuple[str | int, ...]


def read_renames(given: Iterable[str]) -> dict[str, str]:
    """Renames such as ``lines=items`` and ``lines[].name=items[].description``. Raises UsageError."""
    renames = {}
    for text in given:
        theirs, equals, ours = (part.strip() for part in text.partition("="))
        if not (equals and theirs and ours):
            raise UsageError(f"{text!r} is no rename", hint="Write --map theirs=ours, as in --map lines=items.")
        if theirs.count("[]") != ours.count("[]"):
            raise UsageError(
                f"{text!r} moves a field into or out of a list", hint="Both sides need as many [] as the other."
            )
        renames[theirs] = ours
    return renames


def rename(record: Mapping[str, Any], renames: Mapping[str, str]) -> dict[str, Any]:
    """A record with fields renamed, whole lists and groups too; the longest rename that fits a leaf is taken."""
    renamed: dict[str, Any] = {}
    for name, whole in record.items():
        for keys, value in _flat(whole, (str(name),)):
            try:
                _put(renamed, _renamed_keys(keys, renames), value)
            except (TypeError, AttributeError) as error:  # a group where another name already put a value
                raise UsageError(f"two fields of a truth both become {_pattern(keys)!r}") from error
    return renamed


def _flat(value: Any, keys: _Keys) -> Iterable[tuple[_Keys, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, (*keys, str(key)))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _flat(inner, (*keys, index))
    else:
        yield keys, value


def _renamed_keys(keys: _Keys, renames: Mapping[str, str]) -> _Keys:
    for end in range(len(keys), 0, -1):
        ours = renames.get(_pattern(keys[:end]))
        if ours is not None:
            indices = iter(key for key in keys[:end] if isinstance(key, int))
            renamed: list[str | int] = []
            for part in ours.replace("[]", ".[]").split("."):
                renamed.append(next(indices) if part == "[]" else part)
            return (*renamed, *keys[end:])
    return keys


def _pattern(keys: _Keys) -> str:
    """``("items", 3, "price")`` as ``items[].price``."""
    pattern = ""
    for key in keys:
        pattern += "[]" if isinstance(key, int) else f".{key}" if pattern else key
    return pattern


def _put(into: Any, keys: _Keys, value: Any) -> None:
    for key, following in pairwise(keys):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(key, int):
            into.extend(None for _ in range(key + 1 - len(into)))
            into[key] = into[key] if into[key] is not None else empty
            into = into[key]
        else:
            into = into.setdefault(key, empty)
    last = keys[-1]
    if isinstance(last, int):
        into.extend(None for _ in range(last + 1 - len(into)))
    into[last] = value


def _renamed_path(path: str, renames: Mapping[str, str]) -> str:
    from docflow.extraction.leaves import path_of

    keys: list[str | int] = []
    for part in path.replace("[", ".[").split("."):
        keys.append(int(part[1:-1]) if part.startswith("[") and part[1:-1].isdigit() else part)
    return path_of(_renamed_keys(tuple(keys), renames))


# --- which row a truth is about -----------------------------------------------------------------------------------


def match(names: Iterable[str], sources: Iterable[str]) -> dict[str, str]:
    """The source that each truth is about, by the source's stem; where several share it, by their folders too.

    Pages at the end of a truth's name (``scan.p3-4``) do not count, unless there is a source of that very stem. Truths
    without a source are left out. Raises UsageError where one fits several sources equally well, or two fit one.
    """
    by_stem: dict[str, list[PurePosixPath]] = defaultdict(list)
    written: dict[PurePosixPath, str] = {}  # a path makes one slash of the several in a URI
    for source in dict.fromkeys(sources):
        path = PurePosixPath(source)
        written[path] = source
        for stem in {path.stem, path.name}:  # 0001.json and 0001.jpg.json are both about 0001.jpg
            by_stem[stem].append(path)
    matched: dict[str, str] = {}
    taken: dict[tuple[str, Pages | None], str] = {}
    for name in names:
        parts, pages = PurePosixPath(name).parts, None
        if parts[-1] not in by_stem:
            whole, pages = pages_of(name)
            parts = PurePosixPath(whole).parts
        candidates = by_stem.get(parts[-1], [])
        if not candidates:
            continue
        shared = {path: _shared_folders(parts[:-1], path.parts[:-1]) for path in candidates}
        most = max(shared.values())
        best = sorted(written[path] for path in candidates if shared[path] == most)
        if len(best) > 1:
            raise UsageError(
                f"{name}.json fits several documents: {', '.join(best[:3])}",
                hint="Lay the truth files out in the same folders as the documents.",
            )
        if (best[0], pages) in taken:
            raise UsageError(f"{taken[best[0], pages]}.json and {name}.json are both about {best[0]}")
        taken[best[0], pages] = name
        matched[name] = best[0]
    return matched


def _shared_folders(one: Sequence[str], other: Sequence[str]) -> int:
    """How many folders two paths share, from the innermost outwards."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
