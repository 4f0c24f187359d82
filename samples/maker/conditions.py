"""How a sheet reaches docflow: as a clean image, scanned, photographed, as a PDF of this or that make, or broken."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from maker.sheet import Piece, Sheet

Matrix = NDArray[np.float64]
Pages = tuple[list[Image.Image], list[Matrix]]


@dataclass(frozen=True)
class Delivery:
    """A finished file, and for each page the matrix that takes points of the sheet to the unit of the page."""

    content: bytes
    suffix: str
    matrices: list[Matrix]
    unit: str

    def box(self, piece: Piece) -> list[float]:
        """Page (from 1) and upright box of a piece in the unit of the page."""
        corners = [(piece.x0, piece.y0), (piece.x1, piece.y0), (piece.x1, piece.y1), (piece.x0, piece.y1)]
        mapped = [self.matrices[piece.page - 1] @ np.array([x, y, 1.0]) for x, y in corners]
        xs, ys = [float(m[0] / m[2]) for m in mapped], [float(m[1] / m[2]) for m in mapped]
        return [piece.page, *(round(value, 1) for value in (min(xs), min(ys), max(xs), max(ys)))]


def _scaled(scale: float) -> Matrix:
    return np.diag([scale, scale, 1.0])


def resolution(sheet: Sheet, rng: random.Random) -> float:
    """Pixels a point: fine for small slips, about 150 dpi for whole pages."""
    return rng.uniform(2.5, 2.9) if sheet.width < 300 else rng.uniform(2.0, 2.2) if sheet.width > 500 else 2.3


def _encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format_name, **options)
    return out.getvalue()


def _clean(sheet: Sheet, rng: random.Random) -> Pages:
    scale = resolution(sheet, rng)
    images = sheet.raster(scale)
    return images, [_scaled(scale)] * len(images)


def _noise(image: Image.Image, rng: random.Random, strength: float) -> Image.Image:
    dice = np.random.default_rng(rng.getrandbits(32))
    pixels = np.asarray(image, dtype=np.float32)
    grain = dice.normal(0.0, strength, pixels.shape[:2]).astype(np.float32)
    if pixels.ndim == 3:
        grain = grain[:, :, None]
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def _scan(sheet: Sheet, rng: random.Random) -> Pages:
    """Grey, a little turned, soft, faded and grainy, with specks."""
    images, matrices = _clean(sheet, rng)
    out = []
    for number, image in enumerate(images):
        angle = rng.uniform(-1.6, 1.6)
        grey = image.convert("L").rotate(angle, Image.Resampling.BICUBIC, fillcolor=248)
        matrices[number] = _rotation(angle, image.width / 2, image.height / 2) @ matrices[number]
        dark, light = rng.uniform(15, 80), rng.uniform(232, 252)
        grey = grey.point([round(dark + (light - dark) * level / 255) for level in range(256)])
        grey = grey.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.7)))
        pixels = np.asarray(grey).copy()
        dice = np.random.default_rng(rng.getrandbits(32))
        specks = rng.randrange(40)
        pixels[dice.integers(0, pixels.shape[0], specks), dice.integers(0, pixels.shape[1], specks)] = 60
        if rng.random() < 0.3:  # the shadow of a lid that was not quite closed
            pixels[:, : rng.randrange(4, 12)] //= 3
        out.append(_noise(Image.fromarray(pixels), rng, rng.uniform(1.5, 4.5)))
    return out, matrices


def _rotation(degrees: float, x: float, y: float) -> Matrix:
    """Pillow's turn (counter-clockwise on the screen) about a point, for column vectors of pixels."""
    turn = np.deg2rad(degrees)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.array([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y], [0, 0, 1]])


def _homography(source: list[tuple[float, float]], target: list[tuple[float, float]]) -> Matrix:
    """The projective map that takes four points to four points."""
    rows, right = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    solution = np.linalg.solve(np.array(rows, dtype=np.float64), np.array(right, dtype=np.float64))
    return np.append(solution, 1.0).reshape(3, 3)


def _photo(sheet: Sheet, rng: random.Random) -> Pages:
    """On a table, seen a little from the side, turned up to six degrees, with a shadow and grain."""
    images, matrices = _clean(sheet, rng)
    out = []
    for number, image in enumerate(images):
        margin = round(0.08 * max(image.size))
        size = (image.width + 2 * margin, image.height + 2 * margin)
        corners = [
            (0.0, 0.0),
            (float(image.width), 0.0),
            (float(image.width), float(image.height)),
            (0.0, float(image.height)),
        ]
        # A long slip that is turned by six degrees would leave the picture: turn it less.
        steepest = min(6.0, float(np.rad2deg(np.arctan(1.3 * margin / image.height))))
        turn = _rotation(rng.uniform(-steepest, steepest), image.width / 2, image.height / 2)
        target = []
        for x, y in corners:
            u, v, _ = turn @ np.array([x, y, 1.0])
            target.append(
                (
                    u + margin + rng.uniform(-0.02, 0.02) * image.width,
                    v + margin + rng.uniform(-0.015, 0.015) * image.height,
                )
            )
        forward = _homography(corners, target)
        back = np.linalg.inv(forward)
        coefficients = (back / back[2, 2]).ravel()[:8].tolist()
        paper = image.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
        mask = Image.new("L", image.size, 255).transform(
            size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR
        )
        table = _table(size, rng)
        table.paste(paper, (0, 0), mask)
        table = _light(table, rng).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 0.8)))
        out.append(_noise(table, rng, rng.uniform(2, 5)))
        matrices[number] = forward @ matrices[number]
    return out, matrices


def _table(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A table top: one colour with soft stripes."""
    dice = np.random.default_rng(rng.getrandbits(32))
    colour = np.array(rng.choice(((120, 84, 58), (70, 74, 80), (150, 140, 122), (46, 60, 72))), dtype=np.float32)
    stripes = np.repeat(dice.normal(0, 9, size[0] // 6 + 1), 6)[: size[0]]
    pixels = colour[None, None, :] + stripes[None, :, None] + np.zeros((size[1], 1, 1), dtype=np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _light(image: Image.Image, rng: random.Random) -> Image.Image:
    """Uneven light, a shadow with a soft edge across the page, and a warm or cold cast."""
    width, height = image.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    across = (np.cos(turn) * (x / width - 0.5) + np.sin(turn) * (y / height - 0.5)).astype(np.float32)
    shade = 1.0 + 0.22 * across
    edge = rng.uniform(-0.3, 0.3)
    shade *= 1.0 - rng.uniform(0.12, 0.4) / (1.0 + np.exp((across - edge) * rng.uniform(18, 60)))
    cast = np.array([rng.uniform(0.95, 1.0), rng.uniform(0.94, 0.98), rng.uniform(0.86, 0.98)], dtype=np.float32)
    return Image.fromarray(
        np.clip(np.asarray(image, dtype=np.float32) * shade[:, :, None] * cast, 0, 255).astype(np.uint8)
    )


def _first(pages: Pages, suffix: str, encode: Callable[[Image.Image], bytes]) -> Delivery:
    images, matrices = pages
    return Delivery(encode(images[0]), suffix, matrices[:1], "px")


def clean(sheet: Sheet, rng: random.Random) -> Delivery:
    """As it left the computer: PNG or a good JPEG."""
    if rng.random() < 0.6:
        return _first(_clean(sheet, rng), "png", lambda image: _encoded(image.quantize(32), "PNG", optimize=True))
    return _first(_clean(sheet, rng), "jpg", lambda image: _encoded(image, "JPEG", quality=72))


def scanned(sheet: Sheet, rng: random.Random) -> Delivery:
    """A flat-bed scan in grey."""
    return _first(_scan(sheet, rng), "jpg", lambda image: _encoded(image, "JPEG", quality=rng.randrange(38, 62)))


def photographed(sheet: Sheet, rng: random.Random) -> Delivery:
    """A picture taken with a telephone."""
    return _first(_photo(sheet, rng), "jpg", lambda image: _encoded(image, "JPEG", quality=rng.randrange(48, 66)))


def text_pdf(sheet: Sheet, rng: random.Random) -> Delivery:
    """A PDF with its text."""
    return Delivery(sheet.pdf(), "pdf", [_scaled(1.0)] * sheet.page, "pt")


def _page_pictures(sheet: Sheet, rng: random.Random, pages: list[int]) -> tuple[dict[int, bytes], list[Matrix]]:
    """JPEGs of scanned pages, and the matrices of all pages in points."""
    images, matrices = _scan(sheet, rng)
    to_points = [
        np.diag([sheet.width / image.width, sheet.height / image.height, 1.0]) @ matrix
        for image, matrix in zip(images, matrices, strict=True)
    ]
    pictures = {page: _encoded(images[page - 1], "JPEG", quality=50) for page in pages}
    return pictures, [to_points[page - 1] if page in pages else _scaled(1.0) for page in range(1, sheet.page + 1)]


def scanned_pdf(sheet: Sheet, rng: random.Random) -> Delivery:
    """A PDF that holds nothing but pictures of its pages."""
    pictures, matrices = _page_pictures(sheet, rng, list(range(1, sheet.page + 1)))
    return Delivery(sheet.pdf(pictures), "pdf", matrices, "pt")


def mixed_pdf(sheet: Sheet, rng: random.Random) -> Delivery:
    """A PDF whose last page is a picture and whose other pages have text."""
    pictures, matrices = _page_pictures(sheet, rng, [sheet.page])
    return Delivery(sheet.pdf(pictures), "pdf", matrices, "pt")


def frames_tiff(sheet: Sheet, rng: random.Random) -> Delivery:
    """A TIFF with a frame a page, black and white as a fax machine makes it."""
    images, matrices = _clean(sheet, rng)
    frames = [
        image.convert("L").point([0] * 150 + [255] * 106).convert("1", dither=Image.Dither.NONE) for image in images
    ]
    content = _encoded(frames[0], "TIFF", compression="group4", save_all=True, append_images=frames[1:], dpi=(150, 150))
    return Delivery(content, "tiff", matrices, "px")


def exif_turned(sheet: Sheet, rng: random.Random) -> Delivery:
    """A JPEG stored on its side, whose EXIF orientation says how to turn it; boxes are those of the upright image."""
    images, matrices = _photo(sheet, rng)
    turn, orientation = rng.choice(
        ((Image.Transpose.ROTATE_90, 6), (Image.Transpose.ROTATE_270, 8), (Image.Transpose.ROTATE_180, 3))
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    return Delivery(
        _encoded(images[0].transpose(turn), "JPEG", quality=60, exif=exif.tobytes()), "jpg", matrices[:1], "px"
    )


def sideways(sheet: Sheet, rng: random.Random) -> Delivery:
    """A scan that lay the wrong way round in the scanner; boxes are those of the image as it is."""
    images, matrices = _scan(sheet, rng)
    width, height = images[0].size
    turn, matrix = rng.choice(
        (
            (Image.Transpose.ROTATE_90, [[0, 1, 0], [-1, 0, width], [0, 0, 1]]),
            (Image.Transpose.ROTATE_180, [[-1, 0, width], [0, -1, height], [0, 0, 1]]),
            (Image.Transpose.ROTATE_270, [[0, -1, height], [1, 0, 0], [0, 0, 1]]),
        )
    )
    content = _encoded(images[0].transpose(turn), "JPEG", quality=55)
    return Delivery(content, "jpg", [np.array(matrix, dtype=np.float64) @ matrices[0]], "px")


def cmyk_jpeg(sheet: Sheet, rng: random.Random) -> Delivery:
    """A JPEG in the colours of a print shop."""
    return _first(_clean(sheet, rng), "jpg", lambda image: _encoded(image.convert("CMYK"), "JPEG", quality=60))


def webp(sheet: Sheet, rng: random.Random) -> Delivery:
    """A lossy WebP of a photograph."""
    return _first(_photo(sheet, rng), "webp", lambda image: _encoded(image, "WEBP", quality=50, method=4))


def bmp(sheet: Sheet, rng: random.Random) -> Delivery:
    """A BMP of one bit a pixel."""
    return _first(
        _clean(sheet, rng),
        "bmp",
        lambda image: _encoded(image.convert("L").point([0] * 160 + [255] * 96).convert("1"), "BMP"),
    )


def gif(sheet: Sheet, rng: random.Random) -> Delivery:
    """A GIF with eight greys."""
    return _first(_clean(sheet, rng), "gif", lambda image: _encoded(image.convert("L").quantize(8), "GIF"))


def broken(sheet: Sheet, rng: random.Random) -> Delivery:
    """A JPEG that was cut off while it was copied: no reader may make a record of it."""
    whole = _encoded(_clean(sheet, rng)[0][0], "JPEG", quality=60)
    return Delivery(whole[: len(whole) // 5], "jpg", [], "px")


CONDITIONS: dict[str, Callable[[Sheet, random.Random], Delivery]] = {
    "clean": clean,
    "scanned": scanned,
    "photographed": photographed,
    "text_pdf": text_pdf,
    "scanned_pdf": scanned_pdf,
    "mixed_pdf": mixed_pdf,
    "frames_tiff": frames_tiff,
    "exif_turned": exif_turned,
    "sideways": sideways,
    "cmyk_jpeg": cmyk_jpeg,
    "webp": webp,
    "bmp": bmp,
    "gif": gif,
    "broken": broken,
}
