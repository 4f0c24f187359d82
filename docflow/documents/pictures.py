"""Image files -> upright pages in RGB or grey. Runs in decoder processes only, on untrusted bytes.

Every frame of a TIFF is a page (but not the thumbnails that some hold); of GIF, WebP and PNG animations the
first frame is the page: an animation is one picture.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageOps, UnidentifiedImageError

from docflow.documents.grid import fitted_size
from docflow.documents.wire import Limits
from docflow.errors import BrokenDocument, LimitExceeded, UnsupportedDocument

FORMATS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/gif": "GIF",
    "image/tiff": "TIFF",
    "image/heic": "HEIF",
}
SMALLEST_SIDE = 8
"""Pixels: no character that anybody can read is smaller."""

JPEG_QUALITY = 85
"""On scans fitted to 1,280 tokens: 43 dB from the pixels, 124 kB a page. 90 costs a fifth more bytes; PNG 4.5 times
as many, and 40 times the CPU; colours at full resolution gain 0.2 dB for a tenth more bytes and half again the CPU."""

_ORIENTATION = 0x0112
_NEW_SUBFILE_TYPE = 0x00FE
_PHOTOMETRIC = 0x0106
_SIDEWAYS = (5, 6, 7, 8)  # the EXIF orientations that swap width and height


def fit(width: float, height: float, max_side: int | None, max_pixels: int | None) -> float:
    """The scale (at most 1) at which width x height keeps within both limits."""
    scale = 1.0
    if max_side:
        scale = min(scale, max_side / max(width, height))
    if max_pixels:
        scale = min(scale, math.sqrt(max_pixels / (width * height)))
    return scale


class Picture:
    """One image file, held as its bytes; frames are decoded when asked for.

    The first page is decoded when the file is opened, so that a truncated file is refused at once: to the JPEG of
    ``page_tokens`` where that is given, else to the image of ``max_side``. That one result is kept until asked for.
    """

    def __init__(
        self, data: bytes, media_type: str, limits: Limits, max_side: int | None, page_tokens: int | None = None
    ) -> None:
        self.data = data
        self.format = FORMATS[media_type]
        self.limits = limits
        self.sizes: list[tuple[int, int]] = []
        self._frames: list[int] = []
        self._ready: tuple[int | None, Image.Image] | None = None
        self._ready_jpeg: tuple[tuple[int, int], bytes] | None = None
        if self.format == "HEIF":
            _register_heif()
        with _translated(self.limits), self._opened() as image:
            for frame in self._frames_of(image):
                self.sizes.append(self._checked_size(image))
                self._frames.append(frame)
        if page_tokens is not None:
            size = fitted_size(*self.sizes[0], page_tokens)
            self._ready_jpeg = (size, self.encoded(0, *size))
        elif max_side is not None:
            self._ready = (max_side, self.render(0, max_side, None))

    @property
    def held_bytes(self) -> int:
        width, height = self._ready[1].size if self._ready else (0, 0)
        return len(self.data) + 3 * width * height + (len(self._ready_jpeg[1]) if self._ready_jpeg else 0)

    def render(self, index: int, max_side: int | None, max_pixels: int | None) -> Image.Image:
        """A page, upright, as an RGB or L image within the limits. Raises DocumentError."""
        if self._ready and index == 0 and max_pixels is None and self._ready[0] == max_side:
            image, self._ready = self._ready[1], None
            return image
        width, height = self.sizes[index]
        scale = fit(width, height, max_side, max_pixels)
        target = max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6))
        with _translated(self.limits):
            return _resized(self._decoded(index, target), *target)

    def encoded(self, index: int, width: int, height: int) -> bytes:
        """A page, upright, as a JPEG of exactly that many pixels. Raises DocumentError."""
        if self._ready_jpeg and index == 0 and self._ready_jpeg[0] == (width, height):
            data, self._ready_jpeg = self._ready_jpeg[1], None
            return data
        with _translated(self.limits):
            return jpeg(self._decoded(index, (width, height)), width, height)

    def _decoded(self, index: int, target: tuple[int, int]) -> Image.Image:
        """A page, upright, as an RGB or L image: a JPEG no larger than needed for ``target``, where that is cheaper."""
        with self._opened() as image:
            if self._frames[index]:
                image.seek(self._frames[index])
            # TIFF turns its frames itself, while it loads them.
            orientation = 1 if self.format == "TIFF" else image.getexif().get(_ORIENTATION, 1)
            if self.format == "JPEG":
                image.draft(None, target[::-1] if orientation in _SIDEWAYS else target)
            image.load()
            return _turned(_grey_or_rgb(image), orientation)

    def _opened(self) -> Image.Image:
        return Image.open(io.BytesIO(self.data), formats=[self.format])

    def _frames_of(self, image: Image.Image) -> Iterator[int]:
        """The frames that are pages, with ``image`` standing at each in turn."""
        yield 0
        if self.format != "TIFF":
            return
        frame = 1
        while True:
            try:
                image.seek(frame)
            except EOFError:
                return
            if frame >= self.limits.pages:
                raise LimitExceeded(f"the image has more than {self.limits.pages:,} frames (limits.pages)")
            if not image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1:  # type: ignore[attr-defined]  # bit 0: a thumbnail
                yield frame
            frame += 1

    def _checked_size(self, image: Image.Image) -> tuple[int, int]:
        """Width and height after turning upright."""
        width, height = image.size
        if width * height > self.limits.pixels:
            raise LimitExceeded(
                f"the image has {width:,} x {height:,} pixels, more than {self.limits.pixels:,} (limits.pixels)"
            )
        if min(width, height) < SMALLEST_SIDE:
            raise UnsupportedDocument(
                f"the image has only {width} x {height} pixels",
                hint=f"An image needs at least {SMALLEST_SIDE} pixels a side to show any text.",
            )
        if self.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS:
            return height, width
        return width, height


def jpeg(image: Image.Image, width: int, height: int) -> bytes:
    """An RGB or L image, resampled to that size, as a JPEG: the same bytes for the same pixels."""
    buffer = io.BytesIO()
    _resized(image, width, height).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """Any loaded image as L or RGB, as it would look on white paper."""
    mode = image.mode
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image if mode in ("RGBA", "LA") else image.convert("LA" if mode == "La" else "RGBA")
        paper = Image.new("RGB", layer.size, "white")
        paper.paste(layer, mask=layer)
        return paper
    if mode in ("L", "RGB"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode.startswith("I;16"):
        # Pillow clips 16 bits at 255 when it converts; the high byte of each pixel is what is wanted.
        high = 0 if mode == "I;16B" else 1
        return _as_photographed(Image.frombytes("L", image.size, image.tobytes()[high::2]), image)
    if mode in ("I", "F"):
        return _as_photographed(_levels(image), image)
    if mode == "LAB":
        return image.getchannel("L")
    return image.convert("RGB")


def _as_photographed(grey: Image.Image, image: Image.Image) -> Image.Image:
    """Turn black and white round where a TIFF says that 0 is white; Pillow does so for 1 to 8 bits only."""
    tags = getattr(image, "tag_v2", None)
    return ImageOps.invert(grey) if tags is not None and tags.get(_PHOTOMETRIC) == 0 else grey


def _levels(image: Image.Image) -> Image.Image:
    """A 32-bit integer or float image in 256 levels: its range is a guess from the values that occur."""
    low, high = image.getextrema()
    if not isinstance(low, int | float) or not isinstance(high, int | float) or not math.isfinite(high - low):
        raise BrokenDocument("the image holds values that are no numbers")
    if low >= 0 and high <= 1 and image.mode == "F":
        bottom, top = 0.0, 1.0
    elif low >= 0 and high <= 255:
        bottom, top = 0.0, 255.0
    elif low >= 0 and high <= 65535:
        bottom, top = 0.0, 65535.0
    else:
        bottom, top = float(low), float(high)
    factor = 255.0 / (top - bottom)
    scaled = image.convert("F").point(lambda value: value * factor - bottom * factor)
    return scaled.convert("L")


def _register_heif() -> None:
    try:
        from pi_heif import register_heif_opener
    except ImportError as error:
        raise UnsupportedDocument(
            "HEIC needs a decoder that is not installed", hint="Install it with: pip install 'docflow[heic]'"
        ) from error
    register_heif_opener(thumbnails=False)


@contextmanager
def _translated(limits: Limits) -> Iterator[None]:
    """Pillow's errors, in docflow's words."""
    Image.MAX_IMAGE_PIXELS = limits.pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise LimitExceeded(f"the image has more than {limits.pixels:,} pixels (limits.pixels)") from error
    except UnidentifiedImageError as error:
        raise BrokenDocument("the image is damaged: its header cannot be read") from error
    # What Pillow's decoders raise on damaged files is not documented; these are what they were seen to raise.
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        TypeError,
        KeyError,
        IndexError,
        struct.error,
        zlib.error,
    ) as error:
        raise BrokenDocument(f"the image is damaged or cut off: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
