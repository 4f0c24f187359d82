from __future__ import annotations

import pytest
from PIL import Image

from docflow.documents.sniff import describe, media_type
from tests.unit.documents.made import drawn, image_bytes


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("GIF", "image/gif"),
        ("TIFF", "image/tiff"),
    ],
)
def test_every_image_kind_is_known_by_its_bytes(format_: str, expected: str) -> None:
    assert media_type(image_bytes(Image.new("RGB", (20, 20)), format_)) == expected


def test_a_pdf_is_known_behind_leading_junk() -> None:
    pdf = drawn(lambda canvas: canvas.drawString(20, 20, "x"))
    assert media_type(pdf) == "application/pdf"
    assert media_type(b"Content-Type: application/pdf\r\n\r\n" + pdf) == "application/pdf"


def test_heic_is_known_by_its_brand_and_other_films_are_not() -> None:
    assert media_type(b"\0\0\0\x18ftypheic\0\0\0\0") == "image/heic"
    assert media_type(b"\0\0\0\x18ftypmp42\0\0\0\0") is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"BM", b"BMW is a car, and this is a sentence.", b"RIFF\0\0\0\0WAVEfmt "]
)
def test_bytes_that_only_begin_alike_are_no_document(data: bytes) -> None:
    assert media_type(data) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Dear Sir,\nplease find", "text"),
        ("Grüße aus Köln".encode(), "text"),
        (b"PK\x03\x04\x14\0", "a ZIP archive or an office document"),
        (b"<!DOCTYPE html><html>", "HTML, SVG or XML"),
        (b"\x00\x01\x02\x03\xff", "an unknown kind of file"),
    ],
)
def test_what_is_no_document_is_described(data: bytes, words: str) -> None:
    assert describe(data) == words
