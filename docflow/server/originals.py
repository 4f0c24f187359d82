"""The files that a dataset was read from: found by name where a run says it looked, known by their content.

A file is only ever shown when its bytes are the document's (SHA-256), so a changed file, or another one of the same
name, never stands beside a record that is not its own.
"""

from __future__ import annotations

import io
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote_to_bytes

from docflow.buckets import Place, listed
from docflow.documents import Decoder, Document, SourceItem
from docflow.errors import DocumentError, SourceUnreadable
from docflow.settings import Settings

_DOCUMENTS_KEPT = 6
_IMAGES_KEPT = 48
_RUNS_LOOKED_AT = 200
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_GLOB = re.compile(r"[*?\[]")


def decoded(source: str) -> str:
    """The file name that a source names: the other way round from ``encoded``."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), os.fsencode(source)))


def recorded_bases(out: Place) -> list[Path]:
    """The folders that the runs of a dataset read from, the newest first."""
    bases: dict[Path, None] = {}
    for path in listed(out / "runs", "*.json")[: -_RUNS_LOOKED_AT - 1 : -1]:
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            started = Path(run.get("working_directory") or Path.cwd())
            sources = [text for text in run.get("sources", ()) if isinstance(text, str)]
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # a damaged summary of a run costs a hint on where to look, nothing else
        for text in sources:
            glob = _GLOB.search(text)
            base = started / (text if glob is None else text[: text.rfind("/", 0, glob.start()) + 1])
            for folder in (base, base.parent, started):
                bases.setdefault(folder)
    return list(bases)


class Originals:
    """Opens documents of a dataset and gives their pages as JPEG; a context manager, safe for threads."""

    def __init__(self, out: Place, settings: Settings, folder: Path | None = None) -> None:
        """``folder`` is where the sources lie; without it, where the runs of the dataset looked."""
        self._bases: Sequence[Path] = recorded_bases(out) if folder is None else [folder]
        self._given = folder is not None
        self._decoder = Decoder(settings.limits, workers=2, pdf_dpi=settings.reading.pdf_dpi)
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._images: OrderedDict[tuple[str, int, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoder.close()

    def image(self, document_id: str, sources: Iterable[str], page: int, max_side: int, quality: int = 82) -> bytes:
        """A page (from 1) as JPEG, at most ``max_side`` pixels wide and high. Raises DocumentError."""
        key = document_id, page, max_side, quality
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        document = self._open(document_id, sources)
        if not 1 <= page <= len(document.pages):
            raise SourceUnreadable(f"the document has no page {page}", hint="")
        buffer = io.BytesIO()
        document.pages[page - 1].render(max_side=max_side).save(buffer, "JPEG", quality=quality, optimize=True)
        with self._lock:
            self._images[key] = buffer.getvalue()
            while len(self._images) > _IMAGES_KEPT:
                self._images.popitem(last=False)
        return buffer.getvalue()

    def _open(self, document_id: str, sources: Iterable[str]) -> Document:
        with self._lock:
            if document_id in self._documents:
                self._documents.move_to_end(document_id)
                return self._documents[document_id]
        changed = False
        for path in self._candidates(sources):
            try:
                document = self._decoder.open(SourceItem(path.name, path))
            except SourceUnreadable:
                continue
            except DocumentError:  # some other file of that name; ours was read once
                changed = True
                continue
            if document.id != document_id:
                changed = True
                continue
            with self._lock:
                self._documents[document_id] = document
                while len(self._documents) > _DOCUMENTS_KEPT:
                    self._documents.popitem(last=False)
            return document
        if changed:
            raise SourceUnreadable(
                "the file has changed since it was read, so it is not shown", hint="Extract it again."
            )
        where = f"in {self._bases[0]}" if self._given else "where it was read"
        raise SourceUnreadable(f"the file is not found {where}", hint="Say where the files are with --source DIR.")

    def _candidates(self, sources: Iterable[str]) -> Iterator[Path]:
        for source in sources:
            if source.startswith("file://"):
                yield Path(os.fsdecode(unquote_to_bytes(source.removeprefix("file://"))))
                continue
            name = decoded(source)
            if "\0" in name or os.path.isabs(name) or ".." in name.split("/"):
                continue  # docflow writes no such source: whoever did wants to lead out of the folder
            for base in self._bases:
                path = base / name
                if path.is_file():
                    yield path
