"""Source -> documents -> pages.

``find`` lists what there is to read, a ``Decoder`` opens it: the bytes are decoded in limited subprocesses, and
what comes back are pages with their size, their text layer where there is one, and pixels when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from docflow.documents.model import Box, Document, Page, Word

if TYPE_CHECKING:
    from docflow.documents.decoder import Decoder
    from docflow.documents.sources import SourceItem, Sources, find, from_bytes, from_file, from_image

__all__ = [
    "Box",
    "Decoder",
    "Document",
    "Page",
    "SourceItem",
    "Sources",
    "Word",
    "find",
    "from_bytes",
    "from_file",
    "from_image",
]

# The decoder processes import this package too, and start faster without its client side.
_HOME = {
    "Decoder": "decoder",
    "SourceItem": "sources",
    "Sources": "sources",
    "find": "sources",
    "from_bytes": "sources",
    "from_file": "sources",
    "from_image": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
