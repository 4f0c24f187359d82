"""Opening documents: a few decoder processes behind one object that any number of threads may use.

A document that kills its decoder is lost alone: the process is replaced, its neighbours go on in the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from itertools import repeat
from pathlib import PurePath
from typing import TYPE_CHECKING, Self

from docflow.documents.content import read_content
from docflow.documents.model import Box, Document, Page, Unit, Word
from docflow.documents.process import DecoderProcess
from docflow.documents.sniff import HEAD_BYTES, SUFFIXES, describe, media_type
from docflow.documents.wire import COORDINATE_SCALE, Header, unpack_words
from docflow.errors import BrokenDocument, DecoderDied, DocumentError, UnsupportedDocument, UsageError

if TYPE_CHECKING:
    from PIL import Image

    from docflow.documents.sources import SourceItem
    from docflow.settings import DecodeLimits

_PDF = "application/pdf"
_KEPT_BYTES = 4 << 20
"""Files up to this size stay in memory while their document is used; larger ones are read again for rendering."""
_IDS_REMEMBERED = 8
_JPEG_START = b"\xff\xd8\xff"


class Decoder:
    """Opens documents in decoder processes, at most ``workers`` at once; a context manager.

    ``pdf_dpi`` is the resolution at which PDF pages are rendered (less where a limit asks for it). An image is decoded
    once to be checked; what comes of that is kept, so that the first use is cheap: its JPEG for a model of
    ``page_tokens`` tokens where that is given, else its pixels of ``max_side``.
    """

    def __init__(
        self,
        limits: DecodeLimits | None = None,
        *,
        workers: int = 2,
        pdf_dpi: float = 200,
        max_side: int = 2_000,
        page_tokens: int | None = None,
    ) -> None:
        if limits is None:
            from docflow.settings import DecodeLimits

            limits = DecodeLimits()
        self.limits = limits
        self._pdf_dpi, self._max_side, self._page_tokens = pdf_dpi, max_side, page_tokens
        self._workers = max(1, workers)
        self._running = 0
        self._idle: list[DecoderProcess] = []
        self._changed = threading.Condition()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self, count: int | None = None) -> None:
        """Start decoder processes (all of them, or ``count``) without waiting until they are up."""
        # One that cannot be started now is an error of the document that needs it.
        with self._changed, contextlib.suppress(OSError):
            while not self._closed and self._running < min(count or self._workers, self._workers):
                self._idle.append(DecoderProcess(self.limits))
                self._running += 1
                self._changed.notify()

    def close(self) -> None:
        """End the decoder processes. Those at work end with the page that they are at."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._running -= len(idle)
            self._changed.notify_all()
        for process in idle:
            process.kill()

    def open(self, item: SourceItem) -> Document:
        """The document with the size of every page, and the words of pages that have a text layer.

        The first page of an image file is decoded too, so that a damaged one is refused here. Raises DocumentError.
        """
        data = read_content(item, self.limits)
        kind = _kind_of(item, data)
        content = _Content(self, item, hashlib.sha256(data).hexdigest(), kind, data)
        pages: list[Page] = []
        with self._process(content.id) as process:
            process.used += 1
            content.send(process, data, "open", self._max_side, self._page_tokens)
            while "end" not in (answer := process.receive())[0]:
                try:
                    pages.append(_page(content, len(pages) + 1, *answer))
                except (KeyError, TypeError, ValueError) as error:
                    raise process.nonsense() from error
        if not pages:
            raise BrokenDocument("the document has 0 pages")
        if len(data) > _KEPT_BYTES and item.path is not None:
            content.data = None
        return Document(content.id, item.source, kind, tuple(pages))

    @contextlib.contextmanager
    def _process(self, document_id: str) -> Iterator[DecoderProcess]:
        """A process for this thread alone; one that holds the document, if one is free."""
        process = self._take(document_id)
        try:
            yield process
        except DecoderDied:
            self._drop(process)
            raise
        except DocumentError:
            self._give_back(process)  # it answered with an error: nothing is wrong with the process
            raise
        except BaseException:
            # Stopped in the middle of an answer: whatever comes next from this process would be taken for another's.
            process.kill()
            self._drop(process)
            raise
        else:
            if document_id not in process.ids:
                process.ids = [*process.ids[1 - _IDS_REMEMBERED :], document_id]
            self._give_back(process)

    def _take(self, document_id: str) -> DecoderProcess:
        with self._changed:
            while True:
                if self._closed:
                    raise UsageError("the decoder was closed while documents are still in use")
                dead = [process for process in self._idle if not process.alive]
                for process in dead:  # killed between two documents: nobody's loss
                    self._idle.remove(process)
                    process.kill()
                    self._running -= 1
                if self._idle:
                    chosen = next((p for p in self._idle if document_id in p.ids), self._idle[-1])
                    self._idle.remove(chosen)
                    return chosen
                if self._running < self._workers:
                    self._running += 1
                    break
                self._changed.wait()
        try:
            return DecoderProcess(self.limits)
        except OSError as error:
            with self._changed:
                self._running -= 1
                self._changed.notify()
            raise DecoderDied(f"no decoder can be started: {error}") from error

    def _give_back(self, process: DecoderProcess) -> None:
        if process.used >= self.limits.recycle_after:
            process.kill()
            self._drop(process)
            return
        with self._changed:
            if not self._closed:
                self._idle.append(process)
                self._changed.notify()
                return
            self._running -= 1
        process.kill()

    def _drop(self, process: DecoderProcess) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify()

    def _render(self, content: _Content, page: Page, max_side: int | None, max_pixels: int | None) -> Image.Image:
        request = {"do": "render", "dpi": self._pdf_dpi, "max_side": max_side, "max_pixels": max_pixels}
        with self._process(content.id) as process:
            header, pixels = self._ask(process, content, page, request)
            try:
                return _image(header, pixels)
            except (KeyError, TypeError, ValueError) as error:
                raise process.nonsense() from error

    def _encode(self, content: _Content, page: Page, width: int, height: int) -> bytes:
        request = {"do": "encode", "width": width, "height": height}
        with self._process(content.id) as process:
            _, data = self._ask(process, content, page, request)
            if not data.startswith(_JPEG_START):
                raise process.nonsense()
            return bytes(data)

    def _ask(self, process: DecoderProcess, content: _Content, page: Page, request: Header) -> tuple[Header, bytearray]:
        """A decoder's answer about a page; a process that does not hold the document is given it first."""
        request = {**request, "id": content.id, "page": page.number - 1}
        process.send(request)
        answer = process.receive()
        if answer[0].get("missing"):
            content.send(process, content.read(), "hold")
            process.receive()
            process.send(request)
            answer = process.receive()
        return answer


class _Content:
    """What rendering a document's pages needs: where its bytes are."""

    def __init__(self, decoder: Decoder, item: SourceItem, id_: str, kind: str, data: bytes) -> None:
        self._decoder, self._item = decoder, item
        self.id, self.kind = id_, kind
        self.data: bytes | None = data

    def send(
        self,
        process: DecoderProcess,
        data: bytes,
        what: str,
        max_side: int | None = None,
        page_tokens: int | None = None,
    ) -> None:
        request = {"do": what, "id": self.id, "media_type": self.kind}
        process.send({**request, "max_side": max_side, "page_tokens": page_tokens}, data)

    def read(self) -> bytes:
        """The document's bytes, the same as when it was opened. Raises DocumentError."""
        if self.data is not None:
            return self.data
        data = read_content(self._item, self._decoder.limits)
        if hashlib.sha256(data).hexdigest() != self.id:
            raise BrokenDocument("the file changed while it was being read", hint="Run again.", retryable=True)
        return data

    def render(self, page: Page, max_side: int | None, max_pixels: int | None) -> Image.Image:
        return self._decoder._render(self, page, max_side, max_pixels)

    def encode(self, page: Page, width: int, height: int) -> bytes:
        return self._decoder._encode(self, page, width, height)


def _kind_of(item: SourceItem, data: bytes) -> str:
    head = data[:HEAD_BYTES]
    kind = media_type(head)
    if kind is None:
        suffix = PurePath(item.source).suffix.lower()
        named = f"the file is named {suffix}, but its content is" if suffix in SUFFIXES else "the file is"
        raise UnsupportedDocument(f"{named} {describe(head)}")
    return kind


def _page(content: _Content, number: int, header: Header, body: bytearray) -> Page:
    """A page as a decoder described it. Raises KeyError, TypeError or ValueError where that makes no sense."""
    texts, coordinates, segments = unpack_words(body, int(header["words"]))
    width, height, turn = float(header["width"]), float(header["height"]), int(header["turn"])
    points = [coordinate / COORDINATE_SCALE for coordinate in coordinates]
    boxes = map(Box, points[::4], points[1::4], points[2::4], points[3::4])
    if turn == 0:
        words = [Word(*word) for word in zip(texts, boxes, repeat(1.0), segments)]
    else:
        words = [
            Word(text, box, 1.0, segment, _levelled(box, width, height, turn))
            for text, box, segment in zip(texts, boxes, segments, strict=True)
        ]
    unit: Unit = "pt" if content.kind == _PDF else "px"
    return Page(
        document_id=content.id,
        number=number,
        width=width,
        height=height,
        unit=unit,
        renderer=content.render,
        encoder=content.encode,
        rotation=int(header["rotation"]),
        text_layer=bool(header["text_layer"]),
        layer_words=tuple(words),
    )


def _levelled(box: Box, width: float, height: float, turn: int) -> Box:
    """Where a box of a page of that size lies once text that is turned clockwise by ``turn`` degrees runs level."""
    x0, y0, x1, y1 = box
    if turn == 90:
        return Box(y0, width - x1, y1, width - x0)
    if turn == 180:
        return Box(width - x1, height - y1, width - x0, height - y0)
    if turn == 270:
        return Box(height - y1, x0, height - y0, x1)
    raise ValueError(f"a turn of {turn} degrees")


def _image(header: Header, pixels: bytearray) -> Image.Image:
    """The image that a decoder sent. Raises KeyError, TypeError or ValueError where that makes no sense."""
    from PIL import Image

    mode, width, height, stride = header["mode"], int(header["width"]), int(header["height"]), int(header["stride"])
    if mode not in ("L", "RGB") or width < 1 or height < 1 or len(pixels) != stride * height:
        raise ValueError("the pixels do not fit the image")
    image = Image.frombuffer(mode, (width, height), pixels, "raw", mode, stride, 1)
    return image if mode == "RGB" else image.convert("RGB")
