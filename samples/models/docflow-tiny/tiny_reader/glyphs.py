"""The letters of the grid: each 14 x 28 pixels, as the samples' sheets draw them and as JPEG leaves them."""

from __future__ import annotations

import io
import random
import re
from functools import lru_cache

import numpy as np
from maker.sheet import Face, Family, Sheet
from numpy.typing import NDArray
from PIL import Image

from docflow.documents.grid import CELL
from docflow.documents.pictures import JPEG_QUALITY

WIDTH, HEIGHT = CELL // 2, CELL
CHARACTERS = "".join(map(chr, range(32, 127)))
VARIANTS = 12
"""How often each letter stands in the table: once as drawn, and as it looks in JPEGs, with different neighbours."""

_FACE = Face("Courier-Bold")
_SIZE = WIDTH / 0.6  # a letter of Courier is six tenths as wide as its size
_BASELINE = 20.0


@lru_cache(maxsize=1)
def letters() -> NDArray[np.uint8]:
    """The gray picture of each character: characters x height x width."""
    sheet = Sheet((len(CHARACTERS) + 1) * WIDTH, HEIGHT, Family(_FACE, _FACE), _SIZE)
    sheet.text(0, _BASELINE, CHARACTERS)
    page = np.asarray(sheet.raster(1.0)[0].convert("L"))
    return np.stack([page[:, n * WIDTH : (n + 1) * WIDTH] for n in range(len(CHARACTERS))])


def composed(rows: list[str], columns: int) -> Image.Image:
    """Rows of text as a picture of ``columns`` cells across, two letters to a cell."""
    table = letters()
    page = np.full((len(rows) * HEIGHT, columns * CELL), 255, np.uint8)
    for down, row in enumerate(rows):
        for across, character in enumerate(row):
            page[down * HEIGHT : (down + 1) * HEIGHT, across * WIDTH : (across + 1) * WIDTH] = table[
                ord(character) - 32
            ]
    return Image.fromarray(page)


def off_grid(rows: list[str], columns: int, rng: random.Random) -> Image.Image:
    """The same letters, some pixels further right and down: no letter lies in its cell."""
    page = Image.new("L", ((columns + 1) * CELL, (len(rows) + 1) * CELL), 255)
    page.paste(composed(rows, columns), (rng.randrange(CELL), rng.randrange(CELL)))
    return page


def in_another_font(rows: list[str], columns: int, rng: random.Random) -> Image.Image:
    """The same rows in a font that was never learned, each text where it stood on the grid."""
    face = Face(rng.choice(("Courier", "Helvetica", "Times-Roman", "Vera")))
    sheet = Sheet(
        columns * CELL, len(rows) * HEIGHT, Family(face, face), _SIZE if face.font == "Courier" else _SIZE - 3
    )
    for down, row in enumerate(rows):
        for piece in re.finditer(r"\S+(?: \S+)*", row):
            sheet.text(piece.start() * WIDTH, down * HEIGHT + _BASELINE, piece.group())
    return sheet.raster(1.0)[0].convert("L")


@lru_cache(maxsize=1)
def ink_table() -> NDArray[np.float32]:
    """Every variant of every letter as ink (0 paper, 1 black): (characters * VARIANTS) x height x width."""
    rng = random.Random("letters in JPEGs")
    table = np.zeros((len(CHARACTERS), VARIANTS, HEIGHT, WIDTH), np.float32)
    table[:, 0] = 1 - letters() / 255
    for variant in range(1, VARIANTS):
        order = rng.sample(CHARACTERS * 2, 2 * len(CHARACTERS))
        rows = ["".join(order[start : start + 19]) for start in range(0, len(order), 19)]
        # The same place in every eighth cell: JPEG works in blocks of 8 pixels, for colour of 16.
        shift = variant % 4
        rows = [" " * shift + row for row in rows]
        stream = io.BytesIO()
        composed(rows, 12).convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
        seen = np.asarray(Image.open(stream).convert("L"))
        for down, row in enumerate(rows):
            for across, character in enumerate(row):
                if across >= shift:
                    box = seen[down * HEIGHT : (down + 1) * HEIGHT, across * WIDTH : (across + 1) * WIDTH]
                    table[ord(character) - 32, variant] = 1 - box / 255
    return table.reshape(-1, HEIGHT, WIDTH)
