"""Whether the words of a PDF page say what the page shows, so that it need not be read by OCR."""

from __future__ import annotations

import ctypes
import re
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import pypdfium2.raw as pdfium

from docflow.documents.pdf_words import Frame, Words

_SAMPLED = 64
_MOST_UNKNOWN = 0.3
_SCAN_COVER = 0.5
_SCAN_LINES, _SCAN_CHARACTERS = 5, 80
_UNKNOWN = re.compile(r"[\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")


def is_text_layer(page: Any, text_page: Any, frame: Frame, words: Words) -> bool:
    """Whether the words say what the page shows, so that it need not be read by OCR.

    They do not where the font keeps no Unicode values (more than 0.3 of the characters unknown), nor where a few
    words (fewer than five lines or 80 characters: a stamp, a fax line, a page number) stand over pictures that
    cover half of the page. A whole page of invisible text over a scan is a text layer.
    """
    characters = "".join(words.texts)
    if len(_UNKNOWN.findall(characters)) > _MOST_UNKNOWN * len(characters) or _unmapped(text_page) > _MOST_UNKNOWN:
        return False
    if len(characters) >= _SCAN_CHARACTERS and _has_lines(words.boxes, _SCAN_LINES):
        return True
    return _picture_area(page) < _SCAN_COVER * frame.width * frame.height


def _unmapped(text_page: Any) -> float:
    """The share of characters for which PDFium had to guess, from a sample over the page."""
    count = pdfium.FPDFText_CountChars(text_page)
    sample = range(0, count, max(1, count // _SAMPLED))
    unmapped = [i for i in sample if pdfium.FPDFText_HasUnicodeMapError(text_page, i) == 1]
    return len(unmapped) / len(sample)


def _has_lines(boxes: array[int], number: int) -> bool:
    """Whether words stand at that many different heights."""
    lines: list[tuple[int, int]] = []
    for top, bottom in zip(boxes[1::4], boxes[3::4], strict=True):
        middle = (top + bottom) // 2
        if not any(line_top <= middle <= line_bottom for line_top, line_bottom in lines):
            lines.append((top, bottom))
            if len(lines) == number:
                return True
    return False


_DEEPEST_FORM = 8
_MOST_OBJECTS = 20_000


def _picture_area(page: Any) -> float:
    """Square points that the pictures of a page cover (counted twice where they overlap)."""
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    at = [ctypes.byref(value) for value in (left, bottom, right, top)]
    seen = 0
    area: float = 0.0

    def visit(count: int, object_at: Callable[[int], Any], grown: float, depth: int) -> None:
        nonlocal seen, area
        for index in range(count):
            seen += 1
            if seen > _MOST_OBJECTS:
                return
            thing = object_at(index)
            kind = pdfium.FPDFPageObj_GetType(thing)
            if kind == pdfium.FPDF_PAGEOBJ_IMAGE and pdfium.FPDFPageObj_GetBounds(thing, *at):
                area += abs((right.value - left.value) * (top.value - bottom.value)) * grown
            elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEEPEST_FORM:
                matrix = pdfium.FS_MATRIX()
                pdfium.FPDFPageObj_GetMatrix(thing, ctypes.byref(matrix))
                growth = abs(matrix.a * matrix.d - matrix.b * matrix.c)
                count_inside = pdfium.FPDFFormObj_CountObjects(thing)
                visit(count_inside, partial(pdfium.FPDFFormObj_GetObject, thing), grown * growth, depth + 1)

    visit(pdfium.FPDFPage_CountObjects(page), partial(pdfium.FPDFPage_GetObject, page), 1.0, 0)
    return area
