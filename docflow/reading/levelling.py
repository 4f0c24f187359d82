"""The geometry of a page that was photographed sideways, upside down or askew. Lives in the OCR worker only.

Points are rows of (x, y) in pixels, y downwards. A quad is the four corners of a line of text: where the line begins
above, ends above, ends below and begins below, as its reader sees them. An angle is the fall of the lines to the
right, in degrees: a page turned clockwise by 3 degrees has a skew of 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Affine = NDArray[np.float64]
"""Two rows of three numbers: what OpenCV calls an affine matrix."""


def shift(x: float, y: float) -> Affine:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def quarter_turn_back(width: int) -> Affine:
    """From an image that was turned by a quarter to the left back to the image of this width that it was made from."""
    return np.array([[0.0, -1.0, width], [1.0, 0.0, 0.0]])


def rotation(degrees: float, width: float, height: float) -> tuple[Affine, int, int]:
    """Turn an image of this size clockwise, corners and all: the mapping, and the new width and height."""
    angle = np.radians(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    new_width = int(np.ceil(abs(width * cos) + abs(height * sin)))
    new_height = int(np.ceil(abs(width * sin) + abs(height * cos)))
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    middle = turn[:, :2] @ np.array([width / 2, height / 2])
    turn[:, 2] = np.array([new_width / 2, new_height / 2]) - middle
    return turn, new_width, new_height


def after(outer: Affine, inner: Affine) -> Affine:
    """The mapping that applies ``inner`` first and ``outer`` then."""
    linear = outer[:, :2] @ inner[:, :2]
    offset = outer[:, :2] @ inner[:, 2] + outer[:, 2]
    return np.hstack([linear, offset[:, None]])


def inverse(affine: Affine) -> Affine:
    linear = np.linalg.inv(affine[:, :2])
    return np.hstack([linear, -(linear @ affine[:, 2])[:, None]])


def mapped(affine: Affine, points: Points) -> Points:
    """Points of any shape (..., 2) through an affine mapping."""
    return points @ affine[:, :2].T + affine[:, 2]


def sides(quads: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Length along the upper edge and along the left edge of each quad."""
    return np.linalg.norm(quads[:, 1] - quads[:, 0], axis=1), np.linalg.norm(quads[:, 3] - quads[:, 0], axis=1)


def is_sideways(quads: Points) -> bool:
    """Whether most of the text (by length) runs up or down the page."""
    along, across = sides(quads)
    return float(along[along >= 1.5 * across].sum()) < float(across[across >= 1.5 * along].sum())


def dominant_skew(quads: Points) -> float:
    """The angle of most of the text, by length; 0 where there are too few long lines to tell."""
    along, across = sides(quads)
    long = along >= 3 * across
    if np.count_nonzero(long) < 3:
        return 0.0
    lines = quads[long]
    run = (lines[:, 1] + lines[:, 2] - lines[:, 0] - lines[:, 3]) / 2
    angles = np.degrees(np.arctan2(run[:, 1], run[:, 0]))
    order = np.argsort(angles)
    weight = np.cumsum(along[long][order])
    return float(angles[order][np.searchsorted(weight, weight[-1] / 2)])


def part_of(quad: Points, begin: float, end: float) -> Points:
    """The piece of a quad between two places along it, each from 0 (where it begins) to 1."""
    above, below = quad[1] - quad[0], quad[2] - quad[3]
    return np.array([quad[0] + begin * above, quad[0] + end * above, quad[3] + end * below, quad[3] + begin * below])


def upright(points: Points) -> tuple[float, float, float, float]:
    """The upright box around points: left, top, right, bottom."""
    x0, y0 = points.min(axis=0)
    x1, y1 = points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def reading_order(boxes: Sequence[tuple[float, float, float, float]]) -> list[int]:
    """The indices of level boxes row by row from the top, each row from the left."""
    rows: list[tuple[float, float, list[int]]] = []  # middle and height of what began the row, its members
    for index in sorted(range(len(boxes)), key=lambda i: boxes[i][1] + boxes[i][3]):
        x0, y0, x1, y1 = boxes[index]
        middle, height = (y0 + y1) / 2, y1 - y0
        for row_middle, row_height, members in reversed(rows[-6:]):
            beside = all(
                min(x1, boxes[i][2]) - max(x0, boxes[i][0]) < 0.3 * min(x1 - x0, boxes[i][2] - boxes[i][0])
                for i in members
            )
            if beside and abs(middle - row_middle) < 0.5 * min(height, row_height):
                members.append(index)
                break
        else:
            rows.append((middle, height, [index]))
    return [index for _, _, members in rows for index in sorted(members, key=lambda i: boxes[i][0])]
