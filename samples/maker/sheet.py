"""A sheet of paper: text, lines and boxes at places in points, and what each printed piece means.

Everything is drawn once, as a PDF, and rasterised from there when pixels are wanted: so a document has the same
boxes whichever way it is delivered. The origin is the top left corner; ``y`` of a text is its baseline.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pypdfium2
from PIL import Image
from reportlab.lib.colors import HexColor
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen import canvas

Align = Literal["left", "right", "center"]

# Vera comes with reportlab; Helvetica, Times and Courier are built into every PDF reader; the Korean ones are
# names only, whose text can be extracted everywhere and drawn where the machine has such a font.
for _name, _file in (("Vera", "Vera.ttf"), ("Vera-Bold", "VeraBd.ttf"), ("Vera-Italic", "VeraIt.ttf")):
    pdfmetrics.registerFont(TTFont(_name, _file))
for _name in ("HYGothic-Medium", "HYSMyeongJo-Medium"):
    pdfmetrics.registerFont(UnicodeCIDFont(_name))


class Face(NamedTuple):
    """A font with its horizontal scale in percent and an outline in points that makes it heavier."""

    font: str
    stretch: float = 100
    stroke: float = 0


class Family(NamedTuple):
    """The faces of one document: for running text and for emphasis."""

    plain: Face
    bold: Face


FAMILIES = {
    "sans": Family(Face("Helvetica"), Face("Helvetica-Bold")),
    "narrow": Family(Face("Helvetica", 80), Face("Helvetica-Bold", 80)),
    "serif": Family(Face("Times-Roman"), Face("Times-Bold")),
    "wide": Family(Face("Vera"), Face("Vera-Bold")),
    "vera_narrow": Family(Face("Vera", 82), Face("Vera-Bold", 82)),
    "mono": Family(Face("Courier", 100, 0.25), Face("Courier-Bold")),
    "till": Family(Face("Courier-Bold", 88), Face("Courier-Bold", 100, 0.2)),
    "gothic": Family(Face("HYGothic-Medium"), Face("HYGothic-Medium", 100, 0.3)),
}


class Span(NamedTuple):
    """A piece of text; with a path it is (a piece of) the field there, whose whole canonical value is ``value``."""

    text: str
    path: str | None = None
    value: Any = None


class Placed(NamedTuple):
    """A text run where it stands on its page."""

    page: int
    x: float
    y: float
    text: str
    face: Face
    size: float
    colour: str


class Line(NamedTuple):
    page: int
    x0: float
    y0: float
    x1: float
    y1: float
    width: float
    colour: str
    dash: tuple[float, ...] = ()


class Area(NamedTuple):
    page: int
    x0: float
    y0: float
    x1: float
    y1: float
    fill: str | None
    edge: str | None
    radius: float = 0


class Piece(NamedTuple):
    """One printed piece of a field: its page from 1 and its box in points."""

    page: int
    x0: float
    y0: float
    x1: float
    y1: float


def text_width(text: str, face: Face, size: float) -> float:
    """Width of a line of text in points."""
    return float(pdfmetrics.stringWidth(text, face.font, size)) * face.stretch / 100


def wrapped(text: str, face: Face, size: float, width: float) -> list[str]:
    """The text in lines no wider than ``width`` points (a longer word stands alone)."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", face, size) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines or [""]


@dataclass
class Sheet:
    """One document being drawn. Sizes in points.

    ``values`` and ``pieces`` collect the truth by path; ``repeats`` holds where a field is printed once more.
    """

    width: float
    height: float
    family: Family
    size: float = 9
    page: int = 1
    texts: list[Placed] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    repeats: dict[str, list[Piece]] = field(default_factory=dict)

    def text(
        self,
        x: float,
        y: float,
        *spans: Span | str,
        align: Align = "left",
        bold: bool = False,
        size: float | None = None,
        colour: str = "#000000",
        face: Face | None = None,
        goes_on: bool = False,
    ) -> float:
        """Draw spans side by side on the baseline ``y``, aligned at ``x``; their width in points comes back.

        ``goes_on`` says that a field's text is another piece of it; without, it is the field printed once more.
        """
        face = face or (self.family.bold if bold else self.family.plain)
        size = size or self.size
        parts = [Span(span) if isinstance(span, str) else span for span in spans]
        widths = [text_width(part.text, face, size) for part in parts]
        left = x - {"left": 0.0, "right": 1.0, "center": 0.5}[align] * sum(widths)
        for part, width in zip(parts, widths, strict=True):
            if part.text.strip():
                self.texts.append(Placed(self.page, left, y, part.text, face, size, colour))
                if part.path:
                    repeated = part.path in self.pieces and not goes_on
                    self._mark(part, left, y, face, size, self.repeats if repeated else self.pieces)
            left += width
        return sum(widths)

    def _mark(self, span: Span, x: float, y: float, face: Face, size: float, pieces: dict[str, list[Piece]]) -> None:
        assert span.path is not None
        lead = len(span.text) - len(span.text.lstrip())
        x += text_width(span.text[:lead], face, size)
        text = span.text.strip()
        low = 0.21 if any(letter in "gjpqyQç,;()[]|$/" for letter in text) else 0.02
        box = Piece(self.page, x, y - 0.74 * size, x + text_width(text, face, size), y + low * size)
        self.values.setdefault(span.path, text if span.value is None else span.value)
        pieces.setdefault(span.path, []).append(box)

    def paragraph(
        self,
        x: float,
        y: float,
        text: str,
        width: float,
        *,
        path: str | None = None,
        value: Any = None,
        leading: float = 1.25,
        align: Align = "left",
        bold: bool = False,
        size: float | None = None,
        colour: str = "#000000",
        goes_on: bool = False,
    ) -> float:
        """Draw wrapped text whose first baseline is ``y``; the baseline after the last line comes back."""
        size = size or self.size
        face = self.family.bold if bold else self.family.plain
        for line in wrapped(text, face, size, width):
            span = Span(line, path, text if value is None else value) if path else Span(line)
            self.text(x, y, span, align=align, bold=bold, size=size, colour=colour, goes_on=goes_on)
            goes_on = True
            y += size * leading
        return y

    def rule(
        self,
        x0: float,
        y: float,
        x1: float,
        *,
        width: float = 0.6,
        colour: str = "#000000",
        dash: tuple[float, ...] = (),
    ) -> None:
        """A horizontal line."""
        self.lines.append(Line(self.page, x0, y, x1, y, width, colour, dash))

    def stroke(
        self, x0: float, y0: float, x1: float, y1: float, *, width: float = 0.6, colour: str = "#000000"
    ) -> None:
        """Any line."""
        self.lines.append(Line(self.page, x0, y0, x1, y1, width, colour))

    def area(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        *,
        fill: str | None = None,
        edge: str | None = None,
        radius: float = 0,
    ) -> None:
        """A rectangle, behind every text and line of its page."""
        self.areas.append(Area(self.page, x0, y0, x1, y1, fill, edge, radius))

    def new_page(self) -> None:
        """What follows is drawn on the next page."""
        self.page += 1

    def crop(self, bottom: float) -> None:
        """Cut the sheet (of one page) to this height, as a till cuts its paper."""
        self.height = bottom

    def collisions(self) -> list[str]:
        """Texts that run into each other or off the paper: a printer would not have let them pass."""
        found = []
        placed = [(text, text.x + text_width(text.text, text.face, text.size)) for text in self.texts]
        placed.sort(key=lambda entry: (entry[0].page, entry[0].y - entry[0].size))
        for number, (text, right) in enumerate(placed):
            if text.x < 2 or right > self.width - 2 or text.y < 8 or text.y > self.height - 2:
                found.append(f"{text.text!r} leaves the paper")
            for other, other_right in placed[number + 1 :]:
                if other.page != text.page or other.y - other.size > text.y:
                    break
                across = min(right, other_right) - max(text.x, other.x)
                down = min(text.y, other.y) - max(text.y - text.size * 0.7, other.y - other.size * 0.7)
                if across > 1 and down > 1:
                    found.append(f"{text.text!r} runs into {other.text!r}")
        return found

    def pdf(self, images: dict[int, bytes] | None = None) -> bytes:
        """The sheet as a PDF; a page in ``images`` is given as that picture (JPEG or PNG bytes), without any text."""
        out = io.BytesIO()
        pdf = canvas.Canvas(out, pagesize=(self.width, self.height), invariant=1, pageCompression=1)
        for page in range(1, self.page + 1):
            if images and page in images:
                pdf.drawImage(ImageReader(io.BytesIO(images[page])), 0, 0, self.width, self.height)
            else:
                self._draw(pdf, page)
            pdf.showPage()
        pdf.save()
        return out.getvalue()

    def _draw(self, pdf: Any, page: int) -> None:
        for area in (a for a in self.areas if a.page == page):
            if area.fill:
                pdf.setFillColor(HexColor(area.fill))
            if area.edge:
                pdf.setStrokeColor(HexColor(area.edge))
                pdf.setLineWidth(0.7)
            pdf.roundRect(
                area.x0,
                self.height - area.y1,
                area.x1 - area.x0,
                area.y1 - area.y0,
                area.radius,
                fill=int(bool(area.fill)),
                stroke=int(bool(area.edge)),
            )
        for line in (ln for ln in self.lines if ln.page == page):
            pdf.setStrokeColor(HexColor(line.colour))
            pdf.setLineWidth(line.width)
            pdf.setDash(list(line.dash))
            pdf.line(line.x0, self.height - line.y0, line.x1, self.height - line.y1)
        pdf.setDash([])
        for placed in (t for t in self.texts if t.page == page):
            colour = HexColor(placed.colour)
            pdf.setFillColor(colour)
            run = pdf.beginText(placed.x, self.height - placed.y)
            run.setFont(placed.face.font, placed.size)
            run.setHorizScale(placed.face.stretch)
            if placed.face.stroke:
                pdf.setStrokeColor(colour)
                pdf.setLineWidth(placed.face.stroke)
            run.setTextRenderMode(2 if placed.face.stroke else 0)
            run.textOut(placed.text)
            pdf.drawText(run)

    def raster(self, scale: float) -> list[Image.Image]:
        """Each page as an RGB image with ``scale`` pixels a point."""
        document = pypdfium2.PdfDocument(self.pdf())
        try:
            return [page.render(scale=scale).to_pil().convert("RGB") for page in document]
        finally:
            document.close()
