"""The main of a decoder process: reads requests from standard input, answers on standard output, ends at their end.

It imports Pillow and pypdfium2 alone, takes limits on itself before it sees the first byte of a document, and
can neither write files nor start processes. It opens no file and no connection: documents come through the pipe.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
from collections import OrderedDict
from typing import BinaryIO

from docflow.documents.pdf import Pdf
from docflow.documents.pictures import Picture
from docflow.documents.wire import LENGTHS, Body, Header, Limits, head_of, pack_words
from docflow.errors import DocumentError, LimitExceeded

PDF = "application/pdf"
_MOST_HELD = 8


class Worker:
    """Answers requests. The documents opened last are held, so that rendering a page does not parse it all again."""

    def __init__(self, requests: BinaryIO, answers: io.FileIO) -> None:
        self._requests, self._answers = requests, answers
        self._held: OrderedDict[str, Pdf | Picture] = OrderedDict()
        self._limits: Limits

    def serve(self) -> None:
        """Answer until the other side closes the pipe."""
        while (request := self._next()) is not None:
            header, body = request
            try:
                self._answer(header, body)
            except DocumentError as error:
                self._send_error(error)
            except MemoryError:
                for held in list(self._held):
                    self._release(held)
                self._send_error(
                    LimitExceeded(f"it takes more than {self._limits.decode_memory_mb:,} MiB (limits.decode_memory_mb)")
                )

    def _answer(self, header: Header, body: bytes) -> None:
        match header["do"]:
            case "limit":
                self._limits = Limits(**header["limits"])
                _limit_this_process(self._limits)
            case "open":
                document = self._hold(header, body)
                if isinstance(document, Pdf):
                    self._send_pdf_pages(document)
                else:
                    self._send_picture_pages(document)
                self._send({"end": True})
            case "hold":
                self._hold(header, body)
                self._send({"end": True})
            case "render":
                self._render(header)
            case "encode":
                self._encode(header)

    def _hold(self, header: Header, body: bytes) -> Pdf | Picture:
        self._release(header["id"])
        document: Pdf | Picture
        if header["media_type"] == PDF:
            document = Pdf(body, self._limits)
        else:
            document = Picture(body, header["media_type"], self._limits, header["max_side"], header["page_tokens"])
        self._held[header["id"]] = document
        while len(self._held) > 1 and (
            len(self._held) > _MOST_HELD
            or sum(held.held_bytes for held in self._held.values()) > self._limits.held_mb << 20
        ):
            self._release(next(iter(self._held)))
        return document

    def _release(self, document_id: str) -> None:
        document = self._held.pop(document_id, None)
        if isinstance(document, Pdf):
            document.close()

    def _send_pdf_pages(self, document: Pdf) -> None:
        for index in range(document.pages):
            page = document.read(index)
            words = page.words
            self._send(
                {
                    "width": page.width,
                    "height": page.height,
                    "rotation": page.rotation,
                    "text_layer": page.text_layer,
                    "words": len(words.texts),
                    "turn": words.turn,
                },
                pack_words(words.texts, words.boxes, words.segments),
            )

    def _send_picture_pages(self, document: Picture) -> None:
        for width, height in document.sizes:
            self._send({"width": width, "height": height, "rotation": 0, "text_layer": False, "words": 0, "turn": 0})

    def _held_document(self, header: Header) -> Pdf | Picture | None:
        """The document that a request is about; None, and the other side told so, where it is not held any more."""
        document = self._held.get(header["id"])
        if document is None:
            self._send({"missing": True})
        else:
            self._held.move_to_end(header["id"])
        return document

    def _encode(self, header: Header) -> None:
        document = self._held_document(header)
        if document is not None:
            self._send({}, document.encoded(header["page"], header["width"], header["height"]))

    def _render(self, header: Header) -> None:
        document = self._held_document(header)
        if document is None:
            return
        index, max_side, max_pixels = header["page"], header["max_side"], header["max_pixels"]
        if isinstance(document, Pdf):
            with document.rendered(index, header["dpi"], max_side, max_pixels) as pixels:
                answer = {"mode": "RGB", "width": pixels.width, "height": pixels.height, "stride": pixels.stride}
                self._send(answer, pixels.data)
        else:
            image = document.render(index, max_side, max_pixels)
            width, height = image.size
            answer = {"mode": image.mode, "width": width, "height": height, "stride": width * len(image.getbands())}
            self._send(answer, image.tobytes())

    def _next(self) -> tuple[Header, bytes] | None:
        lengths = self._requests.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            return None
        header_length, body_length = LENGTHS.unpack(lengths)
        header = json.loads(self._requests.read(header_length))
        body = self._requests.read(body_length)
        return None if len(body) < body_length else (header, body)

    def _send_error(self, error: DocumentError) -> None:
        self._send({"error": type(error).__name__, "message": error.message, "hint": error.hint})

    def _send(self, header: Header, body: Body = b"") -> None:
        head = head_of(header, len(body))
        parts = (head + body,) if len(body) < 1 << 16 else (head, body)
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[self._answers.write(view) :]


def _limit_this_process(limits: Limits) -> None:
    """What the operating system keeps this process from, whatever a document makes of its decoder."""
    for kind, most in (
        (resource.RLIMIT_AS, limits.decode_memory_mb << 20),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        # macOS refuses some of these; the limits that are docflow's own (pixels, pages, time) hold there too.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def main() -> None:
    # Ctrl-C in a terminal reaches this process too; when to stop is for the process that started it to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = io.FileIO(os.dup(1), "wb")
    # Whatever a library prints must not get among the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    # The other side gone in the middle of an answer is an end like any other.
    with contextlib.suppress(BrokenPipeError):
        Worker(sys.stdin.buffer, answers).serve()


if __name__ == "__main__":
    main()
