"""Colours, orientation, frames: what an image file looks like once it is a page."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from docflow.documents.pictures import Picture, fit
from docflow.documents.sniff import media_type
from docflow.documents.wire import Limits
from docflow.errors import BrokenDocument, DocumentError, LimitExceeded, UnsupportedDocument
from tests.unit.documents.made import image_bytes

LIMITS = Limits(pixels=10_000_000, pages=5, page_points=14_400, words=1_000, decode_memory_mb=1_024)


def opened(data: bytes, limits: Limits = LIMITS, max_side: int | None = None) -> Picture:
    kind = media_type(data)
    assert kind is not None
    return Picture(data, kind, limits, max_side)


def page_of(data: bytes, index: int = 0, **wanted: int) -> Image.Image:
    image = opened(data).render(index, wanted.get("max_side"), wanted.get("max_pixels"))
    assert image.mode in ("L", "RGB")
    return image.convert("RGB")


def half_and_half(mode: str, left: Any, right: Any, size: tuple[int, int] = (40, 20)) -> Image.Image:
    """An image whose left half has one colour and whose right half another."""
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, size[0], size[1]))
    return image


def colours(image: Image.Image) -> tuple[Any, Any]:
    return image.getpixel((2, 2)), image.getpixel((image.width - 3, 2))


WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize(
    ("mode", "format_", "left", "right"),
    [
        ("1", "PNG", 0, 1),
        ("1", "TIFF", 0, 1),
        ("L", "PNG", 0, 255),
        ("RGB", "PNG", BLACK, WHITE),
        ("CMYK", "TIFF", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("CMYK", "JPEG", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("YCbCr", "TIFF", (0, 128, 128), (255, 128, 128)),
        ("I;16", "PNG", 0, 65535),
        ("I;16", "TIFF", 0, 65535),
        ("I", "TIFF", 0, 65535),
        ("F", "TIFF", 0.0, 1.0),
        ("F", "TIFF", 0.0, 255.0),
        ("F", "TIFF", -5.0, 5.0),
        ("LA", "PNG", (0, 255), (0, 0)),
        ("RGBA", "PNG", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("RGBA", "WEBP", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("RGBA", "TIFF", (0, 0, 0, 255), (0, 0, 0, 0)),
        ("RGB", "BMP", BLACK, WHITE),
        ("L", "GIF", 0, 255),
    ],
)
def test_black_is_black_and_white_or_see_through_is_white(mode: str, format_: str, left: Any, right: Any) -> None:
    options = {"lossless": True} if format_ == "WEBP" else {}
    seen = colours(page_of(image_bytes(half_and_half(mode, left, right), format_, **options)))
    for colour, expected in zip(seen, (BLACK, WHITE), strict=True):
        assert max(abs(a - b) for a, b in zip(colour, expected, strict=True)) <= 2


def test_sixteen_bits_keep_their_greys() -> None:
    pixels = struct.pack("<40H", *[0x4000] * 20, *[0xC000] * 20) * 20
    grey = page_of(image_bytes(Image.frombytes("I;16", (40, 20), pixels), "PNG"))
    assert colours(grey) == ((0x40,) * 3, (0xC0,) * 3)


def test_a_tiff_of_sixteen_bits_in_which_zero_is_white_is_turned_round() -> None:
    data = bytearray(image_bytes(half_and_half("I;16", 0, 65535), "TIFF"))
    # PhotometricInterpretation (262), one SHORT: 1 (0 is black) becomes 0 (0 is white).
    place = data.index(struct.pack("<HHI", 262, 3, 1))
    data[place + 8 : place + 10] = b"\0\0"
    assert colours(page_of(bytes(data))) == (WHITE, BLACK)


def test_a_photoshop_cmyk_jpeg_with_inverted_inks_comes_out_right() -> None:
    # Pillow writes the Adobe marker and inverted inks, as Photoshop does; without the marker they are not inverted.
    red = Image.new("CMYK", (40, 20), (0, 255, 255, 0))
    data = image_bytes(red, "JPEG", quality=95)
    assert b"Adobe" in data
    r, g, b = colours(page_of(data))[0]
    assert r > 240
    assert g < 15
    assert b < 15


def test_a_palette_with_a_transparent_colour_shows_the_paper_there() -> None:
    image = half_and_half("P", 0, 1)
    image.putpalette([200, 0, 0, 0, 0, 200])
    left, right = colours(page_of(image_bytes(image, "PNG", transparency=1)))
    assert (left, right) == ((200, 0, 0), WHITE)


def test_lab_keeps_its_lightness() -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(half_and_half("RGB", BLACK, WHITE), to_lab)
    assert lab is not None
    left, right = colours(page_of(image_bytes(lab, "TIFF")))
    assert (left, right) == (BLACK, WHITE)


# --- orientation


def _with_orientation(orientation: int, format_: str) -> bytes:
    """An image that shows a dark top left corner, 60 x 40, once it is turned as its EXIF orientation says."""
    upright = Image.new("L", (64, 48), 255)
    upright.paste(0, (0, 0, 24, 16))
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return image_bytes(stored, format_, exif=exif)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(orientation: int, format_: str) -> None:
    picture = opened(_with_orientation(orientation, format_))
    assert picture.sizes == [(64, 48)]
    image = picture.render(0, None, None).convert("L")
    assert image.size == (64, 48)
    corners = [image.crop((x, y, x + 8, y + 8)).getextrema() for x, y in ((0, 0), (56, 0), (0, 40), (56, 40))]
    assert corners[0][1] < 60  # type: ignore[operator]
    assert all(corner[0] > 195 for corner in corners[1:])  # type: ignore[operator]


def test_orientation_and_scaling_go_together() -> None:
    image = page_of(_with_orientation(6, "JPEG"), max_side=32)
    assert image.size == (32, 24)
    assert image.getpixel((2, 2))[0] < 60  # type: ignore[index]


# --- size


@settings(deadline=None)  # the machine may be busy
@given(st.integers(8, 300), st.integers(8, 300), st.integers(8, 300), st.integers(64, 20_000))
def test_a_page_keeps_within_both_limits_and_its_shape(width: int, height: int, max_side: int, max_pixels: int) -> None:
    data = image_bytes(Image.new("L", (width, height)), "BMP")
    image = opened(data).render(0, max_side, max_pixels)
    assert max(image.size) <= max_side
    assert image.width * image.height <= max_pixels
    scale = fit(width, height, max_side, max_pixels)
    assert abs(image.width - width * scale) <= 1
    assert abs(image.height - height * scale) <= 1


def test_a_page_is_never_made_larger() -> None:
    assert page_of(image_bytes(Image.new("L", (30, 20)), "PNG"), max_side=2_000).size == (30, 20)


def test_what_was_decoded_at_opening_is_the_same_as_decoded_later() -> None:
    data = image_bytes(Image.effect_noise((400, 300), 80), "JPEG")
    picture = opened(data, max_side=100)
    first = picture.render(0, 100, None)
    assert first.size == (100, 75)
    assert first.tobytes() == picture.render(0, 100, None).tobytes()


# --- frames


def _frames(format_: str, count: int, **options: Any) -> bytes:
    images = [Image.new("L", (40 + 10 * i, 30), 50 * i) for i in range(count)]
    return image_bytes(images[0], format_, save_all=True, append_images=images[1:], **options)


def test_every_frame_of_a_tiff_is_a_page() -> None:
    data = _frames("TIFF", 3)
    assert opened(data).sizes == [(40, 30), (50, 30), (60, 30)]
    assert [page_of(data, i).getpixel((1, 1)) for i in range(3)] == [(0,) * 3, (50,) * 3, (100,) * 3]


def test_frames_of_a_tiff_are_turned_each_by_its_own_orientation() -> None:
    turned = Image.open(io.BytesIO(_with_orientation(6, "TIFF")))
    data = image_bytes(Image.new("L", (40, 30)), "TIFF", save_all=True, append_images=[turned])
    picture = opened(data)
    sizes = [picture.render(i, None, None).size for i in range(len(picture.sizes))]
    assert picture.sizes == sizes


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_one_page(format_: str) -> None:
    images = [Image.new("L", (40, 30), 120 * i) for i in range(3)]
    data = image_bytes(images[0], format_, save_all=True, append_images=images[1:])
    assert opened(data).sizes == [(40, 30)]
    assert max(page_of(data).getpixel((5, 5))) < 10  # type: ignore[arg-type]


def test_thumbnails_in_a_tiff_are_no_pages() -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer) as writer:
        Image.new("L", (40, 30)).save(writer, format="TIFF")
        writer.newFrame()
        Image.new("L", (20, 15)).save(writer, format="TIFF", tiffinfo={254: 1})
    assert opened(buffer.getvalue()).sizes == [(40, 30)]


# --- limits and damage


def test_more_frames_than_allowed_are_refused_by_name_of_the_limit() -> None:
    with pytest.raises(LimitExceeded, match=r"limits\.pages"):
        opened(_frames("TIFF", LIMITS.pages + 1))
    assert len(opened(_frames("TIFF", LIMITS.pages)).sizes) == LIMITS.pages


@pytest.mark.parametrize("factor", [1.2, 3])
def test_more_pixels_than_allowed_are_refused_by_name_of_the_limit(factor: float) -> None:
    data = image_bytes(Image.new("1", (1_000, 1_000)), "PNG")
    limits = Limits(int(1_000_000 / factor), pages=5, page_points=14_400, words=1_000, decode_memory_mb=1_024)
    with pytest.raises(LimitExceeded, match=r"limits\.pixels"):
        opened(data, limits)


def test_an_image_too_small_for_text_is_refused() -> None:
    with pytest.raises(UnsupportedDocument, match="1 x 1"):
        opened(image_bytes(Image.new("L", (1, 1)), "PNG"))


MAKERS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda image: image_bytes(image, "JPEG"),
    "progressive JPEG": lambda image: image_bytes(image, "JPEG", progressive=True),
    "PNG": lambda image: image_bytes(image, "PNG"),
    "WEBP": lambda image: image_bytes(image, "WEBP"),
    "BMP": lambda image: image_bytes(image, "BMP"),
    "GIF": lambda image: image_bytes(image, "GIF"),
    "TIFF": lambda image: image_bytes(image, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_broken(kind: str, part: float) -> None:
    data = MAKERS[kind](Image.effect_noise((300, 200), 90).convert("RGB"))
    with pytest.raises(BrokenDocument):
        opened(data[: int(len(data) * part)], max_side=100)


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(sorted(MAKERS)), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8))
def test_damage_anywhere_is_a_page_or_a_document_error(kind: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(MAKERS[kind](Image.effect_noise((60, 40), 90).convert("RGB")))
    for place, value in damage:
        data[int(place * len(data))] = value
    if media_type(bytes(data)) is None:
        return
    try:
        image = opened(bytes(data), max_side=30).render(0, 30, None)
    except DocumentError:
        return
    assert image.mode in ("L", "RGB")
