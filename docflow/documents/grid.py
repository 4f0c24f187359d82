"""The grid on which Qwen2-VL's kind of model reads an image, and the size at which a page fits it.

Such a model reads an image in patches of 14 x 14 pixels, four of which make one token: a cell of 28 x 28. An image
whose sides are whole cells, with no more of them than the server allows, is taken as it is; any other is resampled by
the server, once more and on its own terms.
"""

from __future__ import annotations

import math

CELL = 28
"""Pixels of a token's side."""
MAX_TOKENS = 1280
MIN_TOKENS = 4
MOST_RATIO = 200
"""The model's processor refuses images whose longer side is more times the shorter."""


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
    """The whole numbers of cells nearest to these, in shape (which counts four times) and in area."""
    ratio, area = long / short, short * long
    grids = [(2, 2), (1, 4)]
    for a in {max(1, math.floor(short)), math.ceil(short)}:
        most = min(math.ceil(long), MOST_RATIO * a, max_tokens // a)
        grids += [
            (a, min(max(a, b), most)) for b in (math.floor(long), most, math.floor(a * ratio), math.ceil(a * ratio))
        ]

    def distance(grid: tuple[int, int]) -> float:
        a, b = grid
        return 4 * abs(math.log(b / a / ratio)) + abs(math.log(a * b / area))

    allowed = [(a, b) for a, b in grids if a <= b and MIN_TOKENS <= a * b <= max_tokens]
    return min(allowed, key=lambda grid: (distance(grid), grid))
