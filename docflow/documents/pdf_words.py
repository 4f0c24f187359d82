"""The words of a PDF page: their texts as printed, their boxes as displayed, and which stand together.

PDFium counts in points from the bottom left of the unrotated page; everything that leaves this file counts
from the top left of the page as it is displayed. Call cost rules the code: a page has some thousand characters,
so PDFium is asked per word, not per character.
"""

from __future__ import annotations

import ctypes
import math
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pypdfium2.raw as pdfium

from docflow.documents.wire import COORDINATE_SCALE
from docflow.errors import BrokenDocument, LimitExceeded


@dataclass(frozen=True, slots=True)
class Words:
    """Words in PDFium's order: texts, four coordinates a word in hundredths of a point, and segment numbers.

    ``turn`` is how far most of them are turned clockwise on the displayed page: 0, 90, 180 or 270 degrees.
    """

    texts: list[str] = field(default_factory=list)
    boxes: array[int] = field(default_factory=lambda: array("i"))
    segments: array[int] = field(default_factory=lambda: array("i"))
    turn: int = 0


class Frame:
    """Where the displayed page lies in PDFium's coordinates, and the way from there to hundredths of a point."""

    def __init__(self, page: Any) -> None:
        rect = pdfium.FS_RECTF()
        pdfium.FPDF_GetPageBoundingBox(page, ctypes.byref(rect))
        self.rotation = 90 * (pdfium.FPDFPage_GetRotation(page) % 4)
        self.width: float = pdfium.FPDF_GetPageWidthF(page)
        self.height: float = pdfium.FPDF_GetPageHeightF(page)
        self._box = rect.left, rect.bottom, rect.right, rect.top

    def displayed(
        self, left: _Floats, bottom: _Floats, right: _Floats, top: _Floats
    ) -> tuple[_Ints, _Ints, _Ints, _Ints]:
        """x0, y0, x1, y1 of many boxes as displayed, in hundredths of a point, of the edges as PDFium has them."""
        page_left, page_bottom, page_right, page_top = self._box
        if self.rotation == 90:
            return _from(page_bottom, bottom), _from(page_left, left), _from(page_bottom, top), _from(page_left, right)
        if self.rotation == 180:
            return _to(page_right, right), _from(page_bottom, bottom), _to(page_right, left), _from(page_bottom, top)
        if self.rotation == 270:
            return _to(page_top, top), _to(page_right, right), _to(page_top, bottom), _to(page_right, left)
        return _from(page_left, left), _to(page_top, top), _from(page_left, right), _to(page_top, bottom)


_Floats = Sequence[float]
_Ints = list[int]


def _from(edge: float, values: _Floats) -> _Ints:
    """How far the values lie beyond an edge, in hundredths. What lies before it is negative, and may be rounded up."""
    offset = 0.5 - edge * COORDINATE_SCALE
    return [int(value * COORDINATE_SCALE + offset) for value in values]


def _to(edge: float, values: _Floats) -> _Ints:
    """How far the values lie before an edge."""
    offset = 0.5 + edge * COORDINATE_SCALE
    return [int(offset - value * COORDINATE_SCALE) for value in values]


# PDFium marks a hyphen at the end of a line with one of these, and joins the lines; as printed, the word ends there.
_LINE_END_HYPHENS = "\x02\ufffe"
_WORD = re.compile(rf"[^\s{_LINE_END_HYPHENS}]+[{_LINE_END_HYPHENS}]?|[{_LINE_END_HYPHENS}]")
_NOT_PRINTED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060\ufeff\ufffe\ud800-\udfff]")
_AS_PRINTED = {
    **dict.fromkeys(map(ord, _LINE_END_HYPHENS + "\xad"), "-"),
    # Direction marks and characters without width; PDFium gives the text in logical order without them as well.
    **dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF]),
    # What has no Unicode value in its font cannot be known.
    **dict.fromkeys([0, 1, *range(3, 9), *range(14, 28), *range(0x7F, 0xA0)], "\ufffd"),
}


def address_of(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _text_of(text_page: Any, count: int) -> str:
    """The page's text, one character of the string for each of PDFium's, so that positions can be used for both."""
    buffer = (ctypes.c_ushort * (2 * count + 2))()
    units = max(0, pdfium.FPDFText_GetText(text_page, 0, count, buffer) - 1)
    text = memoryview(buffer).cast("B")[: 2 * units].tobytes().decode("utf-16-le", "surrogatepass")
    if len(text) == count:
        return text
    if units == count:  # characters outside of the basic plane: PDFium counts the halves of their surrogate pairs
        return "".join(map(chr, buffer[:units]))
    # Characters without a Unicode value are left out of the whole text: ask for each one.
    unicode_of = pdfium.FPDFText_GetUnicode
    return "".join([chr(code) if (code := unicode_of(text_page, i)) < 0x110000 else "\0" for i in range(count)])


def _as_printed(word: str) -> str:
    """A word without what cannot be seen, and with what cannot be known marked."""
    whole = word.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return whole.translate(_AS_PRINTED)


# As in pypdfium2, but with addresses as plain numbers: converting pointers would take most of the time of a call.
_count_rects = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)(
    address_of(pdfium.FPDFText_CountRects)
)
_get_rect = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 4)(
    address_of(pdfium.FPDFText_GetRect)
)
_SAMPLED = 64
_MOST_TURNED = 0.6
_LEAST_INK = 0.1  # points
_DOUBLE = ctypes.sizeof(ctypes.c_double)


def words_of(text_page: Any, frame: Frame, most: int, index: int) -> Words:
    """The words of PDFium's text page; ``index`` is for the error. Raises LimitExceeded beyond ``most`` words."""
    count = pdfium.FPDFText_CountChars(text_page)
    if count < 1:
        return Words()
    text = _text_of(text_page, count)

    # 1) Where the words stand in the text and, in the same order, the edges of their boxes: left, top, right, bottom.
    handle = address_of(text_page)
    edges = (ctypes.c_double * (4 * count))()
    to = ctypes.addressof(edges)
    spans: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        start, end = span = match.span()
        if _count_rects(handle, start, end - start) == 1:
            _get_rect(handle, 0, to, to + _DOUBLE, to + 2 * _DOUBLE, to + 3 * _DOUBLE)
            to += 4 * _DOUBLE
            spans.append(span)
            continue
        for first, after, *box in _pieces(text_page, start, end):
            edges[4 * len(spans) : 4 * len(spans) + 4] = box
            to += 4 * _DOUBLE
            spans.append((first, after))
    if len(spans) > most:
        raise LimitExceeded(f"page {index + 1} of the PDF has more than {most:,} words (limits.words)")

    # 2) Boxes as displayed.
    last = 4 * len(spans)
    left, top, right, bottom = edges[0:last:4], edges[1:last:4], edges[2:last:4], edges[3:last:4]
    for i in [i for i in range(len(spans)) if right[i] - left[i] < _LEAST_INK or top[i] - bottom[i] < _LEAST_INK]:
        # A font that is not at hand, or that does not say how large its characters are.
        left[i], bottom[i], right[i], top[i] = _loose_box(text_page, *spans[i])
    if not math.isfinite(sum(left) + sum(top) + sum(right) + sum(bottom)):
        raise BrokenDocument(f"text on page {index + 1} of the PDF stands nowhere")
    x0, y0, x1, y1 = frame.displayed(left, bottom, right, top)

    # 3) Words as printed, without those off the page.
    words = [text[start:end] for start, end in spans]
    if _NOT_PRINTED.search(text) is not None:
        words = [_as_printed(word) for word in words]
    width, height = round(frame.width * COORDINATE_SCALE), round(frame.height * COORDINATE_SCALE)
    if words and (not all(words) or min(x0) < 0 or min(y0) < 0 or max(x1) > width or max(y1) > height):
        kept = [
            i for i, word in enumerate(words) if word and x0[i] < width and y0[i] < height and x1[i] > 0 and y1[i] > 0
        ]
        words, spans = [words[i] for i in kept], [spans[i] for i in kept]
        x0, y0 = [max(0, x0[i]) for i in kept], [max(0, y0[i]) for i in kept]
        x1, y1 = [min(width, x1[i]) for i in kept], [min(height, y1[i]) for i in kept]

    boxes = array("i", bytes(16 * len(words)))
    boxes[0::4], boxes[1::4], boxes[2::4], boxes[3::4] = array("i", x0), array("i", y0), array("i", x1), array("i", y1)

    # 4) Stretches of words, along the way the text runs.
    turn = _turn(text_page, spans, frame.rotation)
    if turn == 90:
        x0, y0, x1, y1 = y0, [width - x for x in x1], y1, [width - x for x in x0]
    elif turn == 180:
        x0, y0, x1, y1 = (
            [width - x for x in x1],
            [height - y for y in y1],
            [width - x for x in x0],
            [height - y for y in y0],
        )
    elif turn == 270:
        x0, y0, x1, y1 = [height - y for y in y1], x0, [height - y for y in y0], x1
    return Words(words, boxes, _segments(text, spans, x0, y0, x1, y1), turn)


def _turn(text_page: Any, spans: list[tuple[int, int]], rotation: int) -> int:
    """The turn that most of a sample of words share; 0 where they differ."""
    sample = spans[:: max(1, len(spans) // _SAMPLED)]
    turns = Counter(
        round(math.degrees(pdfium.FPDFText_GetCharAngle(text_page, start)) / 90) * 90 for start, _ in sample
    )
    angle, times = turns.most_common(1)[0] if turns else (0, 0)
    return (angle + rotation) % 360 if times > _MOST_TURNED * len(sample) else 0


def _segments(text: str, spans: list[tuple[int, int]], x0: _Ints, y0: _Ints, x1: _Ints, y1: _Ints) -> array[int]:
    """A number for each word: the same as the last one's on the same line, no farther away than the line is high."""
    numbers = array("i")
    number, line_end = -1, -1
    right_before = top_before = bottom_before = 0
    for (start, end), left, top, right, bottom in zip(spans, x0, y0, x1, y1, strict=True):
        height = max(bottom - top, bottom_before - top_before)
        close = -height < left - right_before <= height and top < bottom_before and bottom > top_before
        if start > line_end or not close:
            number += 1
        if start > line_end:
            line_end = text.find("\n", end)
            if line_end < 0:
                line_end = len(text)
        numbers.append(number)
        right_before, top_before, bottom_before = right, top, bottom
    return numbers


_Piece = tuple[int, int, float, float, float, float]


def _pieces(text_page: Any, start: int, end: int) -> list[_Piece]:
    """A word that PDFium pieced together from several text objects, taken apart again where these stand far apart.

    Each piece: first character, end, left, top, right, bottom.
    """
    pieces: list[_Piece] = []
    for position in range(start, end):
        left, bottom, right, top = _ink_box(text_page, position)
        if pieces:
            first, _, left_before, top_before, right_before, bottom_before = pieces[-1]
            reach = 1.5 * max(top - bottom, top_before - bottom_before)
            across = max(left - right_before, left_before - right)
            if across <= reach and max(bottom - top_before, bottom_before - top) <= reach:
                left, right = min(left, left_before), max(right, right_before)
                bottom, top = min(bottom, bottom_before), max(top, top_before)
                pieces[-1] = (first, position + 1, left, top, right, bottom)
                continue
        pieces.append((position, position + 1, left, top, right, bottom))
    return pieces


def _ink_box(text_page: Any, position: int) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a character as drawn."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    pdfium.FPDFText_GetCharBox(text_page, position, *map(ctypes.byref, (left, right, bottom, top)))
    if right.value - left.value < _LEAST_INK or top.value - bottom.value < _LEAST_INK:
        return _loose_box(text_page, position, position + 1)
    return left.value, bottom.value, right.value, top.value


def _loose_box(text_page: Any, start: int, end: int) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of some characters, each as wide as its advance and as high as its font's lines."""
    rect = pdfium.FS_RECTF()
    boxes = []
    for position in range(start, end):
        if pdfium.FPDFText_GetLooseCharBox(text_page, position, ctypes.byref(rect)):
            boxes.append((rect.left, rect.bottom, rect.right, rect.top))
    if not boxes:
        return 0.0, 0.0, 0.0, 0.0
    left, bottom, right, top = zip(*boxes, strict=True)
    return min(left), min(bottom), max(right), max(top)
