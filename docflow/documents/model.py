"""The values that a document is made of: boxes, words, pages.

Coordinates are pixels of the upright image (after EXIF orientation) for images, and points from the top left
of the displayed page for PDF pages; a page's ``unit`` says which.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

Unit = Literal["px", "pt"]


class Box(NamedTuple):
    """An upright rectangle, left, top, right, bottom, in the unit of its page."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def center(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def union(self, other: Box) -> Box:
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def intersection(self, other: Box) -> float:
        """Area shared with another box."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, width) * max(0.0, height)

    @classmethod
    def around(cls, boxes: Iterable[Box]) -> Box:
        """The smallest box around all of ``boxes`` (at least one)."""
        x0, y0, x1, y1 = zip(*boxes, strict=True)
        return cls(min(x0), min(y0), max(x1), max(y1))


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of text without white space, where it stands, and how sure its reader is (1.0 for a text layer).

    ``segment`` counts the pieces that the reader found as one stretch of text (an OCR detection, a run of a
    PDF's text layer): words of one segment stand on one line and close together.
    ``levelled`` is where the word stands once the page is turned the right way up and its lines run level; a reader
    sets it where that differs from ``box`` (a page photographed sideways or askew). Find lines, columns and
    neighbours by ``level_box``; say where a value was read by ``box``.
    """

    text: str
    box: Box
    score: float = 1.0
    segment: int = 0
    levelled: Box | None = None

    @property
    def level_box(self) -> Box:
        """The box on the levelled page, in the unit of its page: the same as ``box`` on an upright, level page."""
        return self.levelled or self.box


_deferred: ContextVar[bool] = ContextVar("docflow_pixels_deferred", default=False)


@contextmanager
def deferred_pixels() -> Iterator[None]:
    """While this lasts, ``Page.save`` writes nothing: the pixels are made when an engine asks for them.

    SGLang's interpreter encodes every image that a program mentions, at once and as PNG; most engines want other bytes,
    and some none at all. A context variable, because the interpreter's own threads inherit it.
    """
    token = _deferred.set(True)
    try:
        yield
    finally:
        _deferred.reset(token)


WordReader = Callable[["Page"], Sequence[Word]]
PageRenderer = Callable[["Page", int | None, int | None], "Image.Image"]
PageEncoder = Callable[["Page", int, int], bytes]


def _no_reader(page: Page) -> Sequence[Word]:
    return ()


def _encode_rendered(page: Page, width: int, height: int) -> bytes:
    from docflow.documents.pictures import jpeg

    return jpeg(page.render(), width, height)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Page:
    """One page of a document: its size at once, its pixels and words when first asked for.

    ``rotation`` is the clockwise turn in degrees that was applied to bring the page upright (a PDF's /Rotate).
    ``text_layer`` says that the words come from the file itself and not from OCR.
    ``legibility`` is the share of the page's text (by length, 0 to 1) that its reader could read, set when it has read
    the words: low for a script that the OCR model lacks, and for handwriting.
    """

    document_id: str
    number: int
    width: float
    height: float
    unit: Unit
    renderer: PageRenderer
    rotation: int = 0
    text_layer: bool = False
    layer_words: tuple[Word, ...] = ()
    reader: WordReader = _no_reader
    encoder: PageEncoder = _encode_rendered
    legibility: float = 1.0
    _words: tuple[Word, ...] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of the page in reading order of their reader; read when first asked for.

        Raises ReadingError or DocumentError when the page cannot be read.
        """
        with self._lock:  # reading may have begun in another thread, beside an engine's call
            if self._words is None:
                self._words = self.layer_words if self.text_layer else tuple(self.reader(self))
            return self._words

    def render(self, *, max_side: int | None = None, max_pixels: int | None = None) -> Image.Image:
        """The upright page as an RGB image, scaled down to the limits given. Raises DocumentError."""
        return self.renderer(self, max_side, max_pixels)

    def encode(self, width: int, height: int) -> bytes:
        """The upright page as a JPEG of exactly that many pixels, the same bytes every time. Raises DocumentError."""
        return self.encoder(self, width, height)

    def save(self, stream: object, format: str = "PNG") -> None:  # noqa: A002 (the name Pillow uses)
        """Write the page's pixels, as Pillow's images do: so a Page can stand wherever an image is expected."""
        if _deferred.get():
            return
        self.render().save(stream, format=format)  # type: ignore[arg-type]


@dataclass(slots=True, eq=False)
class Document:
    """One file's content. ``id`` is the SHA-256 of its bytes; ``source`` is where it was found."""

    id: str
    source: str
    media_type: str
    pages: tuple[Page, ...]

    def read_with(self, reader: WordReader) -> Document:
        """The same document, whose pages without a text layer get their words from ``reader``."""
        for page in self.pages:
            page.reader = reader
        return self
