"""Documents that tests make: whole PDFs from a few objects, PDFs drawn with ReportLab, images as bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image
from reportlab.pdfgen.canvas import Canvas

HELVETICA = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def pdf_of(objects: list[bytes]) -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalogue."""
    out = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, table)
    start = out.rindex(b"xref\n0 ")
    return out + b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def stream(content: bytes) -> bytes:
    return b"<</Length %d>>stream\n%b\nendstream" % (len(content), content)


def pdf_page(
    content: bytes,
    *,
    font: bytes = HELVETICA,
    box: bytes = b"[0 0 300 200]",
    page: bytes = b"",
    catalogue: bytes = b"",
    more: tuple[bytes, ...] = (),
) -> bytes:
    """A PDF of one page with this content, whose font F1 is ``font``; ``more`` objects count from 5."""
    return pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R%b>>" % catalogue,
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox%b/Contents 4 0 R/Resources<</Font<</F1 %b>>>>%b>>" % (box, font, page),
            stream(content),
            *more,
        ]
    )


def drawn(draw: Callable[[Canvas], object], size: tuple[float, float] = (300, 200), **options: Any) -> bytes:
    """A PDF drawn by ``draw(canvas)``."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=size, **options)
    draw(canvas)
    canvas.save()
    return buffer.getvalue()


def image_bytes(image: Image.Image, format: str, **options: Any) -> bytes:  # noqa: A002 (Pillow's name)
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()
