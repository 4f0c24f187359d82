"""What kind of file these bytes are: from the bytes, never from the name."""

from __future__ import annotations

import re

HEAD_BYTES = 1024
"""How many bytes from the start of a file decide its kind (a PDF may begin with up to 1 KiB of something else)."""

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff .pdf .heic .heif .hif".split()  # noqa: SIM905 (reads better)
)
"""Suffixes under which documents are usually kept, in lower case."""

_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF


def media_type(head: bytes) -> str | None:
    """The media type of a file that starts with ``head`` (HEAD_BYTES are enough); None: no kind that docflow reads."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith(_TIFF_MARKS):
        return "image/tiff"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "image/bmp"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "image/heic"
    if b"%PDF-" in head[:HEAD_BYTES]:
        return "application/pdf"
    return None


def describe(head: bytes) -> str:
    """What a file of no known kind looks like, in words for an error message."""
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive or an office document"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return "an old office document"
    if head.startswith(b"%!PS"):
        return "PostScript"
    if re.match(rb"\s*<(!doctype|html|\?xml|svg)", head, re.IGNORECASE):
        return "HTML, SVG or XML"
    try:
        # A character may be cut off at the end of the head.
        text = head.decode("utf-8", errors="ignore" if len(head) >= HEAD_BYTES else "strict")
    except UnicodeDecodeError:
        return "an unknown kind of file"
    return "text" if all(c.isprintable() or c.isspace() for c in text) else "an unknown kind of file"
