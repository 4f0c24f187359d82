"""How docflow and its decoder processes talk: a message is a small JSON header and raw bytes.

Twelve bytes come first: the length of the header (4) and of the body (8), little-endian. Nothing is ever
unpickled or evaluated: a decoder that a hostile file has taken over can only send numbers, text and pixels.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LENGTHS = struct.Struct("<IQ")
MOST_HEADER_BYTES = 1 << 20

Header = dict[str, Any]
Body = bytes | bytearray | memoryview

COORDINATE_SCALE = 100
"""Coordinates travel as whole hundredths of a point."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The part of ``settings.DecodeLimits`` that decoder processes keep; named and meant as there."""

    pixels: int
    pages: int
    page_points: float
    words: int
    decode_memory_mb: int
    held_mb: int = 96


def head_of(header: Header, body_length: int) -> bytes:
    """What goes over the pipe before a body of that length."""
    packed = json.dumps(header, separators=(",", ":")).encode()
    return LENGTHS.pack(len(packed), body_length) + packed


def pack_words(texts: Sequence[str], boxes: array[int], segments: array[int]) -> bytes:
    """The words of a page: four coordinates and a segment number a word, then the texts, a line each."""
    return boxes.tobytes() + segments.tobytes() + "\n".join(texts).encode("utf-8", "replace")


def unpack_words(body: Body, count: int) -> tuple[list[str], array[int], array[int]]:
    """The texts, boxes and segments that ``pack_words`` packed. Raises ValueError when the bytes are not that."""
    view = memoryview(body)
    boxes, segments = array("i"), array("i")
    end_of_boxes = count * 4 * boxes.itemsize
    end_of_segments = end_of_boxes + count * segments.itemsize
    boxes.frombytes(view[:end_of_boxes])
    segments.frombytes(view[end_of_boxes:end_of_segments])
    texts = str(view[end_of_segments:], "utf-8").split("\n") if count else []
    if not len(texts) == len(segments) == len(boxes) // 4 == count:
        raise ValueError(f"{count} words were announced, {len(texts)} came")
    return texts, boxes, segments
