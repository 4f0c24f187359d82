"""Images in requests: within limits, decoded in the limited processes, and small enough to be kept."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from docflow.documents import Decoder, from_bytes
from docflow.documents.grid import CELL
from docflow.documents.model import Page
from docflow.documents.sniff import HEAD_BYTES, describe, media_type
from docflow.engines.images import page_image
from docflow.errors import UnsupportedDocument
from docflow.server.service.refusals import Refusal
from docflow.settings import Settings

MOST_IMAGES = 8
"""Images of one request, the frames of a TIFF counted one by one."""
TAKEN = ("image/jpeg", "image/png", "image/webp", "image/tiff")
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shown:
    """An image as a model is shown it, and how many bytes keeping it takes."""

    page: Page
    size: int


class Images:
    """Makes pages of what requests bring. Safe to call from several threads; ``close`` ends its processes."""

    def __init__(self, settings: Settings) -> None:
        self._most_bytes = settings.serve.upload_bytes
        self._side = settings.serve.image_side // CELL * CELL
        self.page_tokens = page_tokens(settings.serve.image_side)
        limits = settings.limits.model_copy(update={"pages": MOST_IMAGES})
        self._decoder = Decoder(limits, workers=2, max_side=self._side, page_tokens=self.page_tokens)

    def close(self) -> None:
        self._decoder.close()

    def open(self, images: Sequence[bytes]) -> list[Shown]:
        """The images of one request. Blocks while they are decoded.

        Raises Refusal where they are too many, too large, or of a kind that is not taken; DocumentError where one
        cannot be read.
        """
        if len(images) > MOST_IMAGES:
            raise Refusal(422, f"a request takes {MOST_IMAGES} images at most, this one has {len(images)}")
        if sum(map(len, images)) > self._most_bytes:
            raise Refusal(413, f"the images are larger than {self._most_bytes:,} bytes", code="too_large")
        shown: list[Shown] = []
        for data in images:
            kind = media_type(data[:HEAD_BYTES])
            if data and kind not in TAKEN:
                what = kind or describe(data[:HEAD_BYTES])
                raise UnsupportedDocument(
                    f"this is {what}, not an image that is taken here",
                    hint="Send JPEG, PNG, WebP or TIFF; /v1/extract takes PDF too.",
                )
            shown += [self._shown(page) for page in self._decoder.open(from_bytes(data)).pages]
            if len(shown) > MOST_IMAGES:
                raise Refusal(422, f"a request takes {MOST_IMAGES} images at most, frames counted")
        return shown

    def _shown(self, page: Page) -> Shown:
        """The page scaled down to the longest side, as a JPEG alone: the file itself is not kept."""
        scale = min(1.0, self._side / max(page.width, page.height))
        small = Page(
            page.document_id,
            page.number,
            max(1, math.floor(page.width * scale)),
            max(1, math.floor(page.height * scale)),
            "px",
            page.renderer,
            encoder=lambda _, width, height: page.encode(width, height),
        )
        image = page_image(small, self.page_tokens)
        kept = Page(
            page.document_id,
            page.number,
            small.width,
            small.height,
            "px",
            renderer=_not_kept,
            encoder=lambda _page, _width, _height: image.data,
        )
        page_image(kept, self.page_tokens)  # made now: of the same size, so it is asked for once
        return Shown(kept, len(image.data))


def page_tokens(side: int) -> int:
    """The tokens of the largest image whose longer side has ``side`` pixels."""
    return max(4, (side // CELL) ** 2)


def decoded(text: str) -> bytes:
    """The bytes of an image in JSON: a ``data:`` URL or base64. Raises Refusal: nothing is fetched, no path opened."""
    marked = _DATA_URL.match(text)
    if marked is None and ":" in text[:64]:
        raise Refusal(400, "an image is a data: URL or base64: nothing is fetched, and no path is opened")
    try:
        return base64.b64decode("".join(text[marked.end() if marked else 0 :].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, "the image is not valid base64", code="BrokenDocument") from error


def _not_kept(page: Page, max_side: int | None, max_pixels: int | None) -> NoReturn:
    raise UnsupportedDocument("an image of a conversation is kept as a model is shown it, and for models alone")
