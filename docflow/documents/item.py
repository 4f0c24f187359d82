"""One thing to open, and what it goes by in a dataset."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from docflow.buckets import BucketPath
from docflow.errors import DocumentError

NOT_DOCUMENTS = frozenset(
    ".avro .bak .c .cfg .conf .cpp .css .csv .db .doc .docx .duckdb .eml .exe .gz .h .htm .html .ini .ipynb .js"  # noqa: SIM905
    " .json .jsonl .lock .log .md .mp3 .mp4 .msg .ods .odt .parquet .pickle .pkl .ppt .pptx .ps .py .pyc .rst .rtf"
    " .sh .so .sqlite .svg .tar .tmp .toml .tsv .txt .wav .xls .xlsx .xml .yaml .yml .zip".split()
)
"""Suffixes of files that a folder is likely to hold beside its documents: passed over without a look inside."""


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One thing to open. ``source`` names it in the dataset: relative to the SOURCE that was asked for (to the working
    directory where several were), or a URI.

    Either ``path``, ``location`` (in a bucket) or ``data`` is set, or ``error``: then it was found but cannot be read,
    and opening it raises that error. ``size`` is in bytes, ``mtime`` in seconds since 1970, where known. ``stamp`` is a
    text that changes whenever the content does, ``changed`` when that last happened, or might have, in seconds since
    1970.
    """

    source: str
    path: Path | None = None
    data: bytes | None = None
    size: int | None = None
    mtime: float | None = None
    error: DocumentError | None = None
    stamp: str | None = None
    changed: float | None = None
    location: BucketPath | None = None


_LOOKS_ENCODED = re.compile(rb"%(?=[0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]|[\udc80-\udcff]")


def encoded(name: str) -> str:
    """A file name as text that can stand in a dataset: bytes that are not UTF-8, and control characters, as %XX.

    A % that would read as one of these is encoded too, so that different files never share a name.
    """
    name = os.fsdecode(_LOOKS_ENCODED.sub(b"%25", os.fsencode(name)))
    return _CONTROL.sub(lambda match: "".join(f"%{byte:02X}" for byte in os.fsencode(match[0])), name)
