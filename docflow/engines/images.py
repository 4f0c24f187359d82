"""Pages as images for a model: fitted to the model's grid, encoded once, the same bytes every time.

A server's cache goes by the pixels, so a page must always come out the same: the image is made in one way, by one
decoder, and kept as long as its page.
"""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

from docflow.documents.grid import CELL, MAX_TOKENS, fitted_size
from docflow.documents.model import Box, Page

__all__ = ["CELL", "MAX_TOKENS", "PageImage", "fitted_size", "page_image"]

PDF_DPI = 300
"""A PDF page has no pixels of its own: it counts as scanned at this resolution."""


@dataclass(frozen=True)
class PageImage:
    """A page as a model gets it. ``tokens`` is what it costs a model of Qwen2-VL's kind."""

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    tokens: int
    page_size: tuple[float, float]

    @cached_property
    def data_uri(self) -> str:
        """The image as a ``data:`` URI."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"

    def to_page(self, box: Box) -> Box:
        """A box in pixels of this image as a box of the page, in the page's unit."""
        across, down = self.page_size[0] / self.width, self.page_size[1] / self.height
        return Box(box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down)


class _Kept:
    """The images of one page that were made, by their size."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.images: dict[tuple[int, int], PageImage] = {}


_kept: WeakKeyDictionary[Page, _Kept] = WeakKeyDictionary()
_lock = threading.Lock()


def page_image(page: Page, max_tokens: int = MAX_TOKENS) -> PageImage:
    """The page as a JPEG of at most ``max_tokens`` cells; made once and kept as long as the page. Raises DocumentError.

    Any number of threads may ask for it at once.
    """
    scale = PDF_DPI / 72 if page.unit == "pt" else 1.0
    width, height = fitted_size(page.width * scale, page.height * scale, max_tokens)
    with _lock:
        kept = _kept.setdefault(page, _Kept())
    with kept.lock:
        image = kept.images.get((width, height))
        if image is None:
            data = page.encode(width, height)
            tokens = width * height // (CELL * CELL)
            image = PageImage(data, "image/jpeg", width, height, tokens, (page.width, page.height))
            kept.images[width, height] = image
        return image
