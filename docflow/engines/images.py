"""Pages as images for a model: fitted to Qwen2-VL's grid of cells, encoded once, the same bytes every time.

Qwen2-VL reads an image in patches of 14 x 14 pixels, four of which make one token: a cell of 28 x 28. An image whose
sides are whole cells, with no more of them than the server allows, is taken as it is; any other is resampled by the
server, once more and on its own terms. A server's cache goes by the pixels, so a page must always come out the same.
"""

from __future__ import annotations

import base64
import math
import threading
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

from docflow.documents.model import Box, Page

CELL = 28
"""Pixels of a token's side."""
MAX_TOKENS = 1280
MIN_TOKENS = 4
MOST_RATIO = 200
"""Qwen2-VL's processor refuses images whose longer side is more times the shorter."""
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


def fitted_size(width: float, height: float, max_tokens: int = MAX_TOKENS) -> tuple[int, int]:
    """The size in pixels at which a page of ``width`` x ``height`` pixels is shown to a model.

    Whole cells, at most ``max_tokens`` of them; no larger than the page, but for a page of less than four cells; the
    page's shape is kept as well as whole cells allow.
    """
    short, long = sorted((width, height))
    scale = min(1.0, math.sqrt(max_tokens * CELL * CELL / (width * height))) / CELL
    fewest, most = _grid(short * scale, long * scale, max_tokens)
    return (fewest * CELL, most * CELL) if width <= height else (most * CELL, fewest * CELL)


def _grid(short: float, long: float, max_tokens: int) -> tuple[int, int]:
    """The whole numbers of cells nearest to these, in shape first (four times over) and in area."""
    grids = [(2, 2), (1, 4)]
    for a in {max(1, math.floor(short)), math.ceil(short)}:
        for b in (math.floor(long), math.ceil(long)):
            grids.append((a, min(max(a, b), MOST_RATIO * a, max_tokens // a)))
    allowed = [(a, b) for a, b in grids if a <= b and MIN_TOKENS <= a * b <= max_tokens]
    ratio, area = long / short, short * long
    return min(allowed, key=lambda g: (4 * abs(math.log(g[1] / g[0] / ratio)) + abs(math.log(g[0] * g[1] / area)), g))
