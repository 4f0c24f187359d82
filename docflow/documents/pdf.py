"""PDF -> pages, through PDFium's C interface. Runs in decoder processes only, on untrusted bytes."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium
from PIL import Image

from docflow.documents.pdf_words import Frame, Words, address_of, words_of
from docflow.documents.pictures import fit, jpeg
from docflow.documents.text_layer import is_text_layer
from docflow.documents.wire import Limits
from docflow.errors import BrokenDocument, EncryptedDocument, LimitExceeded, UnsupportedDocument

POINTS_PER_INCH = 72
_SMALLEST_POINTS = 4


@dataclass(frozen=True, slots=True)
class PageText:
    """A page's size in points, its /Rotate, and its words where it has a text layer."""

    width: float
    height: float
    rotation: int
    text_layer: bool
    words: Words


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
        self._forms: Any = None
        self._forms_setup: Any = None
        self._handle = pdfium.FPDF_LoadMemDocument64(data, len(data), None)
        if not self._handle:
            code = pdfium.FPDF_GetLastError()
            if code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
                raise EncryptedDocument("the PDF is encrypted and needs a password")
            raise BrokenDocument("the PDF is damaged: there is no document to be found in it")
        self.pages = pdfium.FPDF_GetPageCount(self._handle)
        if self.pages < 1:
            self.close()
            raise BrokenDocument("the PDF has 0 pages")
        if self.pages > limits.pages:
            self.close()
            raise LimitExceeded(f"the PDF has {self.pages:,} pages, more than {limits.pages:,} (limits.pages)")

    def close(self) -> None:
        if self._forms:
            pdfium.FPDFDOC_ExitFormFillEnvironment(self._forms)
            self._forms = None
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
            frame = Frame(page)
            text_page = pdfium.FPDFText_LoadPage(page)
            if not text_page:
                raise BrokenDocument(f"the text of page {index + 1} cannot be read")
            try:
                words = words_of(text_page, frame, self.limits.words, index)
                layer = bool(words.texts) and is_text_layer(page, text_page, frame, words)
            finally:
                pdfium.FPDFText_ClosePage(text_page)
            size = round(frame.width, 3), round(frame.height, 3)
            return PageText(*size, frame.rotation, layer, words if layer else Words())

    @contextmanager
    def rendered(self, index: int, dpi: float, max_side: int | None, max_pixels: int | None) -> Iterator[Pixels]:
        """The page as displayed, at ``dpi`` or less, within the limits. Raises DocumentError."""
        most = min(max_pixels or self.limits.pixels, self.limits.pixels)
        with self._page(index) as page:
            frame = Frame(page)
            scale = dpi / POINTS_PER_INCH
            scale *= fit(frame.width * scale, frame.height * scale, max_side, most)
            # Rounded down, or a page at a limit would end up beyond it.
            width, height = max(1, int(frame.width * scale + 1e-6)), max(1, int(frame.height * scale + 1e-6))
            with _drawn(page, width, height) as pixels:
                yield pixels

    def encoded(self, index: int, width: int, height: int) -> bytes:
        """The page as displayed, drawn to fill that many pixels, as a JPEG. Raises DocumentError."""
        with self._page(index) as page, _drawn(page, width, height) as pixels:
            data: Any = pixels.data  # a buffer, which is all that Pillow needs
            image = Image.frombuffer("RGB", (pixels.width, pixels.height), data, "raw", "RGB", pixels.stride, 1)
            return jpeg(image, width, height)

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
            if _has_drawn_annotations(page):
                page = self._flattened(page, index)
            yield page
        finally:
            pdfium.FPDF_ClosePage(page)

    def _flattened(self, page: Any, index: int) -> Any:
        """The page with its form fields, stamps and notes as content like any other: read as text, drawn as pixels."""
        if self._forms is None and pdfium.FPDF_GetFormType(self._handle) != pdfium.FORMTYPE_NONE:
            self._forms_setup = pdfium.FPDF_FORMFILLINFO(version=2)
            self._forms = pdfium.FPDFDOC_InitFormFillEnvironment(self._handle, ctypes.byref(self._forms_setup))
        if self._forms:
            # Draws the fields that were filled in by a program that left the drawing to the viewer.
            pdfium.FORM_OnAfterLoadPage(page, self._forms)
        flattened = pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY) == pdfium.FLATTEN_SUCCESS
        if self._forms:
            pdfium.FORM_OnBeforeClosePage(page, self._forms)
        if not flattened:
            return page
        # What was flattened becomes readable text when the page is loaded anew.
        again = pdfium.FPDF_LoadPage(self._handle, index)
        if not again:
            return page
        pdfium.FPDF_ClosePage(page)
        return again

    def _check_size(self, width: float, height: float, index: int) -> None:
        if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
            raise BrokenDocument(f"page {index + 1} of the PDF has no area")
        if min(width, height) < _SMALLEST_POINTS:
            raise UnsupportedDocument(
                f"page {index + 1} of the PDF measures only {width:g} x {height:g} points",
                hint=f"A page needs at least {_SMALLEST_POINTS} points a side to show any text.",
            )
        if max(width, height) > self.limits.page_points:
            raise LimitExceeded(
                f"page {index + 1} of the PDF measures {width:,.0f} x {height:,.0f} points, "
                f"more than {self.limits.page_points:,.0f} (limits.page_points)"
            )


@contextmanager
def _drawn(page: Any, width: int, height: int) -> Iterator[Pixels]:
    """A page on white paper, stretched to that many pixels."""
    bitmap = pdfium.FPDFBitmap_CreateEx(width, height, pdfium.FPDFBitmap_BGR, None, 0)
    if not bitmap:
        raise MemoryError
    try:
        pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF)
        flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
        pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
        stride = pdfium.FPDFBitmap_GetStride(bitmap)
        buffer = (ctypes.c_ubyte * (stride * height)).from_address(address_of(pdfium.FPDFBitmap_GetBuffer(bitmap)))
        yield Pixels(width, height, stride, memoryview(buffer).cast("B"))
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)


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
