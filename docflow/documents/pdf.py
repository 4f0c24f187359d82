"""PDF -> pages with their text layer, through PDFium's C interface. Runs in decoder processes only, on untrusted bytes.

PDFium counts in points from the bottom left of the unrotated page; everything that leaves this file counts
from the top left of the page as it is displayed. Call cost rules the code: a page has some thousand characters,
so PDFium is asked per word, not per character.
"""

from __future__ import annotations

import ctypes
import math
import re
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pypdfium2.raw as pdfium

from docflow.documents.pictures import fit
from docflow.documents.wire import COORDINATE_SCALE, Limits
from docflow.errors import BrokenDocument, EncryptedDocument, LimitExceeded

POINTS_PER_INCH = 72
_WITHOUT_WORDS: tuple[list[str], array[int], array[int]] = ([], array("i"), array("i"))


@dataclass(frozen=True, slots=True)
class PageText:
    """A page's size in points, its /Rotate, and its words where it has a text layer."""

    width: float
    height: float
    rotation: int
    text_layer: bool
    texts: list[str]
    boxes: array[int]
    segments: array[int]


@dataclass(frozen=True, slots=True)
class Pixels:
    """A rendered page: RGB rows of ``stride`` bytes. ``data`` dies with the bitmap: use it inside the ``with``."""

    width: int
    height: int
    stride: int
    data: memoryview


class Pdf:
    """One PDF, held as its bytes and PDFium's handle. Raises DocumentError when it cannot be opened."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data  # PDFium reads from it for as long as the handle lives
        self.limits = limits
        _check_whole(data)
        self._handle = pdfium.FPDF_LoadMemDocument64(data, len(data), None)
        if not self._handle:
            code = pdfium.FPDF_GetLastError()
            if code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
                raise EncryptedDocument("the PDF is encrypted and needs a password")
            raise BrokenDocument("the PDF is damaged: PDFium finds no document in it")
        self.pages = pdfium.FPDF_GetPageCount(self._handle)
        if self.pages < 1:
            self.close()
            raise BrokenDocument("the PDF has 0 pages")
        if self.pages > limits.pages:
            self.close()
            raise LimitExceeded(f"the PDF has {self.pages:,} pages, more than {limits.pages:,} (limits.pages)")

    def close(self) -> None:
        if self._handle:
            pdfium.FPDF_CloseDocument(self._handle)
            self._handle = None

    @property
    def held_bytes(self) -> int:
        # PDFium's parsed objects and fonts come on top: about as much again, by experience.
        return 2 * len(self.data)

    def read(self, index: int) -> PageText:
        """A page's size and words. Raises DocumentError."""
        with self._page(index) as page:
            frame = _Frame(page)
            text_page = pdfium.FPDFText_LoadPage(page)
            if not text_page:
                raise BrokenDocument(f"the text of page {index + 1} cannot be read")
            try:
                texts, boxes, segments = _words(text_page, frame, self.limits.words, index)
                layer = bool(texts) and _is_text_layer(page, text_page, frame, texts, boxes)
            finally:
                pdfium.FPDFText_ClosePage(text_page)
            if not layer:
                texts, boxes, segments = _WITHOUT_WORDS
            return PageText(round(frame.width, 3), round(frame.height, 3), frame.rotation, layer, texts, boxes, segments)

    @contextmanager
    def rendered(self, index: int, dpi: float, max_side: int | None, max_pixels: int | None) -> Iterator[Pixels]:
        """The page as displayed, at ``dpi`` or less, within the limits. Raises DocumentError."""
        most = min(max_pixels or self.limits.pixels, self.limits.pixels)
        with self._page(index) as page:
            frame = _Frame(page)
            scale = dpi / POINTS_PER_INCH
            scale *= fit(frame.width * scale, frame.height * scale, max_side, most)
            # Rounded down, or a page at a limit would end up beyond it.
            width, height = max(1, int(frame.width * scale + 1e-6)), max(1, int(frame.height * scale + 1e-6))
            bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGR, None, 0)
            if not bitmap:
                raise MemoryError
            try:
                pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF)
                flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
                pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
                stride = pdfium.FPDFBitmap_GetStride(bitmap)
                address = ctypes.cast(pdfium.FPDFBitmap_GetBuffer(bitmap), ctypes.c_void_p).value
                if not address:
                    raise MemoryError
                buffer = (ctypes.c_ubyte * (stride * height)).from_address(address)
                yield Pixels(width, height, stride, memoryview(buffer).cast("B"))
            finally:
                pdfium.FPDFBitmap_Destroy(bitmap)

    @contextmanager
    def _page(self, index: int) -> Iterator[Any]:
        """PDFium's handle of a page within the limits, with what its form fields say drawn into it."""
        size = pdfium.FS_SIZEF()
        if not pdfium.FPDF_GetPageSizeByIndexF(self._handle, index, ctypes.byref(size)):
            raise BrokenDocument(f"page {index + 1} of the PDF is damaged")
        self._check_size(size.width, size.height, index)
        page = pdfium.FPDF_LoadPage(self._handle, index)
        if not page:
            raise BrokenDocument(f"page {index + 1} of the PDF is damaged")
        try:
            if _has_drawn_annotations(page) and pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == 1:
                # Flattened annotations are page content like any other, text included, but only once loaded anew.
                pdfium.FPDF_ClosePage(page)
                page = pdfium.FPDF_LoadPage(self._handle, index)
                if not page:
                    raise BrokenDocument(f"the form fields of page {index + 1} are damaged")
            yield page
        finally:
            if page:
                pdfium.FPDF_ClosePage(page)

    def _check_size(self, width: float, height: float, index: int) -> None:
        if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
            raise BrokenDocument(f"page {index + 1} of the PDF has no area")
        if max(width, height) > self.limits.page_points:
            raise LimitExceeded(
                f"page {index + 1} of the PDF measures {width:,.0f} x {height:,.0f} points, "
                f"more than {self.limits.page_points:,.0f} (limits.page_points)"
            )


def _check_whole(data: bytes) -> None:
    """Refuse a PDF whose end is missing: PDFium would repair it and show what is left as if it were all."""
    linearized = re.search(rb"/Linearized\b.{0,200}?/L\s+(\d{1,15})", data[:2048], re.DOTALL)
    if b"startxref" not in data or (linearized and int(linearized[1]) > len(data)):
        raise BrokenDocument("the PDF is cut off: its end is missing")


_DRAWN = (pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP)
_MOST_ANNOTATIONS = 5_000


def _has_drawn_annotations(page: Any) -> bool:
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MOST_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        subtype = pdfium.FPDFAnnot_GetSubtype(annotation)
        pdfium.FPDFPage_CloseAnnot(annotation)
        if subtype in _DRAWN:
            return True
    return False


class _Frame:
    """Where the displayed page lies in PDFium's coordinates, and the way from there to hundredths of a point."""

    def __init__(self, page: Any) -> None:
        rect = pdfium.FS_RECTF()
        pdfium.FPDF_GetPageBoundingBox(page, ctypes.byref(rect))
        left, bottom, right, top = rect.left, rect.bottom, rect.right, rect.top
        self.rotation = 90 * (pdfium.FPDFPage_GetRotation(page) % 4)
        self.width: float = pdfium.FPDF_GetPageWidthF(page)
        self.height: float = pdfium.FPDF_GetPageHeightF(page)
        k = float(COORDINATE_SCALE)
        self.matrix = {
            0: (k, 0.0, -left * k, 0.0, -k, top * k),
            90: (0.0, k, -bottom * k, k, 0.0, -left * k),
            180: (-k, 0.0, right * k, 0.0, k, -bottom * k),
            270: (0.0, -k, top * k, -k, 0.0, right * k),
        }[self.rotation]
        """(a, b, c, d, e, f): a point (x, y) of PDFium's is displayed at (a x + b y + c, d x + e y + f)."""


# PDFium marks a hyphen at the end of a line with one of these, and joins the lines; as printed, the word ends there.
_LINE_END_HYPHENS = "\x02\ufffe"
_WORD = re.compile(rf"[^\s{_LINE_END_HYPHENS}]+[{_LINE_END_HYPHENS}]?|[{_LINE_END_HYPHENS}]")
_NOT_PRINTED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060\ufeff\ufffe\ud800-\udfff]")
_AS_PRINTED = {
    **dict.fromkeys(map(ord, _LINE_END_HYPHENS + "\xad"), "-"),
    # Direction marks and characters without width; PDFium gives the text in logical order without them as well.
    **dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF]),
    # What has no Unicode value in its font cannot be known.
    **dict.fromkeys([0, 1, *range(3, 9), *range(14, 28), *range(0x7F, 0xA0), *range(0xD800, 0xE000)], "\ufffd"),
}


def _text_of(text_page: Any, count: int) -> str:
    """The page's text, one character of the string for each of PDFium's, so that positions can be used for both."""
    buffer = (ctypes.c_ushort * (2 * count + 2))()  # a character outside the basic plane takes two
    units = pdfium.FPDFText_GetText(text_page, 0, count, buffer) - 1
    text = memoryview(buffer).cast("B")[: 2 * max(units, 0)].tobytes().decode("utf-16-le", "surrogatepass")
    if len(text) == count:
        return text
    # Characters without a Unicode value are left out of the whole text: ask for each one.
    unicode_of = pdfium.FPDFText_GetUnicode
    return "".join([chr(code) if (code := unicode_of(text_page, i)) < 0x110000 else "\0" for i in range(count)])


def _words(text_page: Any, frame: _Frame, most: int, index: int) -> tuple[list[str], array[int], array[int]]:
    """The words of a page in PDFium's order: texts, four coordinates a word, segment numbers."""
    texts: list[str] = []
    boxes, segments = array("i"), array("i")
    count = pdfium.FPDFText_CountChars(text_page)
    if count < 1:
        return texts, boxes, segments
    text = _text_of(text_page, count)
    cleaning = _NOT_PRINTED.search(text) is not None or "\x02" in text

    count_rects, get_rect = pdfium.FPDFText_CountRects, pdfium.FPDFText_GetRect
    left, top, right, bottom = ctypes.c_double(), ctypes.c_double(), ctypes.c_double(), ctypes.c_double()
    at_left, at_top, at_right, at_bottom = map(ctypes.byref, (left, top, right, bottom))
    a, b, c, d, e, f = frame.matrix
    page_width, page_height = round(frame.width * COORDINATE_SCALE), round(frame.height * COORDINATE_SCALE)
    segment = end_before = 0
    before = (0, 0, 0, 0)

    for match in _WORD.finditer(text):
        start, end = match.span()
        rects = count_rects(text_page, start, end - start)
        if rects == 1:
            get_rect(text_page, 0, at_left, at_top, at_right, at_bottom)
            pieces = [(start, end, left.value, bottom.value, right.value, top.value)]
        else:
            pieces = _pieces(text_page, start, end)
        for piece_start, piece_end, l, b_, r, t in pieces:  # noqa: E741
            if l == r or b_ == t:  # a font that does not say how large its characters are
                l, b_, r, t = _loose_box(text_page, piece_start, piece_end)  # noqa: E741
            x0, x1 = a * l + b * b_ + c, a * r + b * t + c
            y0, y1 = d * l + e * b_ + f, d * r + e * t + f
            if x0 > x1:
                x0, x1 = x1, x0
            if y0 > y1:
                y0, y1 = y1, y0
            box = (max(0, round(x0)), max(0, round(y0)), min(page_width, round(x1)), min(page_height, round(y1)))
            if box[0] > box[2] or box[1] > box[3] or x1 < 0 or y1 < 0:
                continue  # outside of what is displayed
            word = text[piece_start:piece_end]
            if cleaning:
                word = word.translate(_AS_PRINTED)
                if not word:
                    continue
            if texts and not _goes_on(before, box, text, end_before, piece_start):
                segment += 1
            texts.append(word)
            boxes.extend(box)
            segments.append(segment)
            before, end_before = box, piece_end
        if len(texts) > most:
            raise LimitExceeded(f"page {index + 1} of the PDF has more than {most:,} words (limits.words)")
    return texts, boxes, segments


def _goes_on(
    before: tuple[int, int, int, int], box: tuple[int, int, int, int], text: str, end: int, start: int
) -> bool:
    """Whether a word stands on the same line as the word before it, and as close to it as the line is high."""
    if "\n" in text[end:start] or "\r" in text[end:start]:
        return False
    height = max(before[3] - before[1], box[3] - box[1])
    return -height < box[0] - before[2] <= height and box[1] < before[3] and before[1] < box[3]


_Piece = tuple[int, int, float, float, float, float]


def _pieces(text_page: Any, start: int, end: int) -> list[_Piece]:
    """A word that PDFium pieced together from several text objects, taken apart again where these stand far apart.

    Each piece: first character, end, left, bottom, right, top.
    """
    pieces: list[_Piece] = []
    for position in range(start, end):
        l, b, r, t = _ink_box(text_page, position)  # noqa: E741
        if pieces:
            first, _, left, bottom, right, top = pieces[-1]
            reach = 1.5 * max(top - bottom, t - b)
            if l - right <= reach and left - r <= reach and b - top <= reach and bottom - t <= reach:
                pieces[-1] = (first, position + 1, min(l, left), min(b, bottom), max(r, right), max(t, top))
                continue
        pieces.append((position, position + 1, l, b, r, t))
    return pieces


def _ink_box(text_page: Any, position: int) -> tuple[float, float, float, float]:
    left, right, bottom, top = ctypes.c_double(), ctypes.c_double(), ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharBox(text_page, position, *map(ctypes.byref, (left, right, bottom, top)))
    if left.value == right.value or bottom.value == top.value:
        return _loose_box(text_page, position, position + 1)
    return left.value, bottom.value, right.value, top.value


def _loose_box(text_page: Any, start: int, end: int) -> tuple[float, float, float, float]:
    """Around some characters, each as wide as its advance and as high as its font's lines."""
    rect = pdfium.FS_RECTF()
    boxes = []
    for position in range(start, end):
        if pdfium.FPDFText_GetLooseCharBox(text_page, position, ctypes.byref(rect)):
            boxes.append((rect.left, rect.bottom, rect.right, rect.top))
    if not boxes:
        return 0.0, 0.0, 0.0, 0.0
    left, bottom, right, top = zip(*boxes, strict=True)
    return min(left), min(bottom), max(right), max(top)


# --- is it a text layer? ---------------------------------------------------------------------------------------

_MOST_UNKNOWN = 0.3
_SAMPLED = 64
_SCAN_COVER = 0.5
_SCAN_LINES, _SCAN_CHARACTERS = 5, 80
_UNKNOWN = re.compile(r"[\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")


def _is_text_layer(page: Any, text_page: Any, frame: _Frame, texts: list[str], boxes: array[int]) -> bool:
    """Whether the words say what the page shows, so that it need not be read by OCR.

    They do not where the font keeps no Unicode values (more than 0.3 of the characters unknown), nor where a few
    words (fewer than five lines or 80 characters: a stamp, a fax line, a page number) stand over pictures that
    cover half of the page. A whole page of invisible text over a scan is a text layer.
    """
    characters = "".join(texts)
    if len(_UNKNOWN.findall(characters)) > _MOST_UNKNOWN * len(characters) or _unmapped(text_page) > _MOST_UNKNOWN:
        return False
    if len(characters) >= _SCAN_CHARACTERS and _lines(boxes) >= _SCAN_LINES:
        return True
    return _picture_area(page) < _SCAN_COVER * frame.width * frame.height


def _unmapped(text_page: Any) -> float:
    """The share of characters for which PDFium had to guess, from a sample over the page."""
    count = pdfium.FPDFText_CountChars(text_page)
    sample = range(0, count, max(1, count // _SAMPLED))
    real = [i for i in sample if pdfium.FPDFText_IsGenerated(text_page, i) != 1]
    unmapped = [i for i in real if pdfium.FPDFText_HasUnicodeMapError(text_page, i) == 1]
    return len(unmapped) / max(1, len(real))


def _lines(boxes: array[int]) -> int:
    """How many different heights words stand at."""
    lines, low = 0, -1
    for y0, y1 in sorted(zip(boxes[1::4], boxes[3::4], strict=True)):
        if y0 >= low:
            lines += 1
            low = y0 + (y1 - y0) * 2 // 3
    return lines


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
