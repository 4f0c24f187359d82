"""Pages as JPEGs of a given size: image files of every kind, and PDF pages."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageDraw

from docflow.documents.pdf import Pdf
from docflow.documents.pictures import Picture
from docflow.documents.wire import Limits
from docflow.errors import BrokenDocument
from tests.unit.documents.made import drawn, image_bytes
from tests.unit.documents.test_pictures import opened

LIMITS = Limits(pixels=10_000_000, pages=10, page_points=14_400, words=1_000, decode_memory_mb=1_024)


def shown(data: bytes) -> Image.Image:
    assert data.startswith(b"\xff\xd8\xff")
    return Image.open(io.BytesIO(data), formats=["JPEG"])


def marked(mode: str = "RGB", size: tuple[int, int] = (700, 900)) -> Image.Image:
    """A white page whose top left quarter is black."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 2, size[1] // 2), fill="black")
    return image.convert(mode)


@pytest.mark.parametrize(
    ("format_", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "1"), ("TIFF", "1"), ("WEBP", "RGB")],
)
def test_an_image_becomes_a_jpeg_of_exactly_the_size_asked_for(format_: str, mode: str) -> None:
    picture = opened(image_bytes(marked(mode), format_))
    image = shown(picture.encoded(0, 336, 448)).convert("L")
    assert image.size == (336, 448)
    assert image.getpixel((80, 100)) < 10
    assert image.getpixel((250, 100)) > 245
    assert image.getpixel((80, 350)) > 245


def test_a_grey_page_stays_grey() -> None:
    assert shown(opened(image_bytes(marked("L"), "PNG")).encoded(0, 280, 364)).mode == "L"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photograph_is_turned_upright_before_it_is_fitted(orientation: int) -> None:
    image = marked()
    turned = (
        image.transpose(
            {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
        )
        if orientation > 1
        else image
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = shown(opened(image_bytes(turned, "JPEG", exif=exif)).encoded(0, 336, 448)).convert("L")
    assert got.size == (336, 448)
    assert got.getpixel((80, 100)) < 10
    assert got.getpixel((250, 100)) > 245


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}])
def test_the_same_page_is_the_same_bytes_whatever_was_asked_before(options: dict[str, Any]) -> None:
    data = image_bytes(marked(size=(1400, 1800)), "JPEG", **options)
    first = opened(data).encoded(0, 336, 448)
    again = opened(data, max_side=100)
    again.render(0, 100, None)
    again.encoded(0, 56, 84)
    assert again.encoded(0, 336, 448) == first
    prepared = Picture(data, "image/jpeg", LIMITS, None, page_tokens=16 * 12)
    assert [prepared.encoded(0, 336, 448) for _ in range(2)] == [first] * 2


def test_a_cut_off_image_is_broken_when_it_is_encoded_too() -> None:
    data = image_bytes(marked(), "JPEG")
    picture = Picture(data, "image/jpeg", LIMITS, None)
    picture.data = data[: len(data) // 2]
    with pytest.raises(BrokenDocument):
        picture.encoded(0, 336, 448)
    with pytest.raises(BrokenDocument):
        Picture(data[: len(data) // 2], "image/jpeg", LIMITS, 2_000, page_tokens=1280)


def test_a_pdf_page_is_drawn_to_fill_the_size() -> None:
    pdf = Pdf(drawn(lambda canvas: canvas.rect(0, 100, 150, 100, fill=1)), LIMITS)
    data = pdf.encoded(0, 448, 280)
    image = shown(data).convert("L")
    assert image.size == (448, 280)
    assert image.getpixel((100, 60)) < 10
    assert image.getpixel((350, 60)) > 245
    assert image.getpixel((100, 220)) > 245
    assert pdf.encoded(0, 448, 280) == data


def test_a_turned_pdf_page_is_encoded_as_it_is_displayed() -> None:
    def draw(canvas: Any) -> None:
        canvas.setPageRotation(90)
        canvas.rect(0, 0, 150, 100, fill=1)  # bottom left; displayed top left

    image = shown(Pdf(drawn(draw), LIMITS).encoded(0, 280, 448)).convert("L")
    assert image.getpixel((60, 100)) < 10
    assert image.getpixel((220, 100)) > 245
    assert image.getpixel((60, 350)) > 245
