"""Page images with known text, and pages made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from docflow.documents.model import Page

RECEIPT = (
    "GREEN GARDEN LTD",
    "12 High Street, London",
    "Date: 12.03.2024   14:55",
    "Bread and butter          4.50",
    "Orange juice              3.25",
    "Apple pie                12.75",
    "TOTAL                    20.50",
    "Thank you for shopping",
)
"""Lines whose words stand once each where a test looks for them."""


def photograph(
    lines: Sequence[str] = RECEIPT, *, size: int = 26, font: str | None = None, turn: float = 0
) -> Image.Image:
    """The lines in black on white, then turned clockwise by ``turn`` degrees."""
    face = ImageFont.truetype(font, size) if font else ImageFont.load_default(size)
    image = Image.new("RGB", (size * 24, int(size * 1.8) * (len(lines) + 2)), "white")
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        draw.text((size * 2, int(size * 1.8) * (index + 1)), line, "black", font=face)
    return image.rotate(-turn, expand=True, fillcolor="white", resample=Image.Resampling.BICUBIC)


def page_with(image: Image.Image, *, unit_scale: float = 1.0, number: int = 1) -> Page:
    """A page without a text layer. ``unit_scale`` is its size in its own unit per pixel of the image."""

    def render(_page: Page, max_side: int | None, _max_pixels: int | None) -> Image.Image:
        copy = image.copy()
        if max_side is not None:
            copy.thumbnail((max_side, max_side))
        return copy

    return Page(
        document_id=hashlib.sha256(image.tobytes()).hexdigest(),
        number=number,
        width=image.width * unit_scale,
        height=image.height * unit_scale,
        unit="px" if unit_scale == 1 else "pt",
        renderer=render,
    )
