"""Pages made of given words, for tests that need no file."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from docflow.documents.model import Box, Document, Page, Word


def page_of(lines: Sequence[str], number: int = 1, *, text_layer: bool = True) -> Page:
    """A page with a line of words a text, 10 units a character and 20 a line."""
    words = tuple(word for row, line in enumerate(lines) for word in _words(line, row))
    width = 10.0 * max((len(line) for line in lines), default=10) + 20
    return Page(
        document_id="d" * 64,
        number=number,
        width=width,
        height=20.0 * len(lines) + 20,
        unit="px",
        renderer=lambda page, _side, _pixels: Image.new("RGB", (int(page.width), int(page.height)), "white"),
        text_layer=text_layer,
        layer_words=words,
        reader=lambda _: words,
    )


def _words(line: str, row: int) -> list[Word]:
    words = []
    column = 0
    for piece in line.split(" "):
        if piece:
            box = Box(10.0 * column, 20.0 * row, 10.0 * (column + len(piece)), 20.0 * row + 16)
            words.append(Word(piece, box, 1.0, row))
        column += len(piece) + 1
    return words


def document_of(*pages: Page) -> Document:
    return Document("d" * 64, "made.png", "image/png", tuple(pages))
