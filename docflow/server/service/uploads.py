"""What requests bring: documents as files of their own on disk, and the fields beside them.

Bodies are counted while they arrive and never held in memory. A file's name is only ever shown: on disk it is a number.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from docflow.server.service.refusals import Refusal

MOST_FIELDS = 40
MOST_FIELD_BYTES = 262_144
"""One field beside the documents; a schema is the largest."""
MOST_NAME = 200
"""Characters of a file's name that are kept."""
_BUFFER_BYTES = 262_144
_JSON_AT_ONCE = 4
"""Bodies of JSON that are taken apart at once: each stands in memory meanwhile."""
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Upload:
    """A document as it was sent: what it is called, and the file that holds its bytes."""

    name: str
    path: Path
    size: int


@dataclass(slots=True)
class Received:
    """What a request brought. ``folder`` holds the documents; ``close`` removes it."""

    folder: Path
    uploads: list[Upload] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Uploads:
    """Takes in requests, each into a folder of its own below ``folder``, which belongs to this user alone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.iterdir():
            if time.time() - left.stat().st_mtime < 60:  # of one that is just starting, perhaps
                continue
            if (descriptor := _lock(left)) is not None:  # of a service that was killed
                shutil.rmtree(left, ignore_errors=True)
                os.close(descriptor)
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._lock = _lock(self._folder)
        self._json = asyncio.Semaphore(_JSON_AT_ONCE)

    def close(self) -> None:
        """Remove what is left of requests that were in work."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    async def receive(self, request: Request, *, most_bytes: int, most_files: int) -> Received:
        """The documents and fields of a request, multipart or JSON. Raises Refusal."""
        kind, _ = parse_options_header(request.headers.get("content-type", ""))
        if kind not in (b"multipart/form-data", b"application/json"):
            raise Refusal(415, "send multipart/form-data or application/json", code="unsupported_media_type")
        received = Received(self._folder / secrets.token_hex(16))
        await asyncio.to_thread(received.folder.mkdir, mode=0o700)
        sink = _Sink(received, most_bytes, most_files)
        try:
            if kind == b"application/json":
                await self._receive_json(request, sink)
            else:
                await self._receive_multipart(request, sink)
            if not received.uploads:
                raise Refusal(422, "the request has no document", hint="Send it as file=@NAME, or in documents.")
        except ClientDisconnect:
            sink.close()
            received.close()
            raise Refusal(400, "the request broke off", code="broken_request") from None
        except BaseException:
            sink.close()
            received.close()
            raise
        return received

    async def _receive_multipart(self, request: Request, sink: _Sink) -> None:
        parts = _Parts(request.headers["content-type"], sink)
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _BUFFER_BYTES:
                await asyncio.to_thread(parts.feed, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(parts.feed, bytes(waiting))
        parts.end()

    async def _receive_json(self, request: Request, sink: _Sink) -> None:
        body = sink.received.folder / "body"
        waiting = bytearray()
        with _created(body) as file:
            async for chunk in request.stream():
                waiting += chunk
                if len(waiting) >= _BUFFER_BYTES:
                    await asyncio.to_thread(file.write, bytes(waiting))
                    waiting.clear()
            file.write(waiting)
        async with self._json:
            await asyncio.to_thread(_take_json, body, sink)
        body.unlink()


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the folder for this process; None where another holds it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


class _Sink:
    """Writes documents, and knows when they are too many or too large."""

    def __init__(self, received: Received, most_bytes: int, most_files: int) -> None:
        self.received = received
        self._most_bytes, self._most_files = most_bytes, most_files
        self._left = most_bytes
        self._file: IO[bytes] | None = None
        self._name = ""
        self._size = 0

    def begin(self, name: str) -> None:
        number = len(self.received.uploads) + 1
        if number > self._most_files:
            raise Refusal(413, f"a request takes {self._most_files:,} documents at most", code="too_many")
        self._name, self._size = shown_name(name, number), 0
        self._file = _created(_path(self.received.folder, number))

    def write(self, data: bytes) -> None:
        assert self._file is not None
        self._size += len(data)
        self._left -= len(data)
        if self._left < 0:
            raise Refusal(413, f"the documents are larger than {self._most_bytes:,} bytes together", code="too_large")
        self._file.write(data)

    def finish(self) -> None:
        self.close()
        path = _path(self.received.folder, len(self.received.uploads) + 1)
        self.received.uploads.append(Upload(self._name, path, self._size))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def give(self, name: str, value: Any) -> None:
        """A field beside the documents."""
        fields = self.received.fields
        if name in fields:
            raise Refusal(422, f"{name[:60]!r} is given twice")
        if len(fields) >= MOST_FIELDS:
            raise Refusal(413, f"a request takes {MOST_FIELDS} fields at most", code="too_many")
        fields[name] = value


def _created(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06}"


def shown_name(name: str, number: int) -> str:
    """What a document is called: the last part of the name that was sent, without what cannot be shown."""
    last = re.split(r"[/\\]", name)[-1].strip()
    cleaned = _CONTROL.sub("\ufffd", last)[:MOST_NAME]
    return f"document-{number}" if cleaned in ("", ".", "..") else cleaned


class _Parts:
    """A multipart body, part by part as it arrives: files into the sink, short texts into its fields."""

    def __init__(self, content_type: str, sink: _Sink) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary or len(boundary) > 200:
            raise _broken("its boundary is missing")
        self._sink = sink
        self._disposition = b""
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._name = ""
        self._is_document = False
        self._text = bytearray()
        self._ended = False
        self._begun = 0
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._part_begins,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._all_ends,
        }
        self._parser = MultipartParser(boundary, cast("Any", callbacks))

    def feed(self, data: bytes) -> None:
        """Take more of the body. Raises Refusal."""
        if not data:
            return
        try:
            self._parser.write(data)
        except FormParserError:
            raise _broken("it is not well formed") from None

    def end(self) -> None:
        """The body is at its end. Raises Refusal where that came too early."""
        if not self._ended:
            raise _broken("its end is missing")

    def _all_ends(self) -> None:
        self._ended = True

    def _part_begins(self) -> None:
        self._begun += 1
        self._disposition = b""
        self._text.clear()

    def _header_ends(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise _broken("a part of it has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        # A schema may be sent as a file too: it is a field all the same.
        self._is_document = b"filename" in options and self._name != "schema"
        if self._is_document:
            if self._name not in ("file", "files"):
                raise Refusal(422, f"documents are sent as file, not as {self._name[:60]!r}")
            self._sink.begin(options[b"filename"].decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_document:
            self._sink.write(data[start:end])
            return
        if len(self._text) + end - start > MOST_FIELD_BYTES:
            raise Refusal(413, f"{self._name[:60]!r} is larger than {MOST_FIELD_BYTES:,} bytes", code="too_large")
        self._text.extend(data[start:end])

    def _part_ends(self) -> None:
        if self._is_document:
            self._sink.finish()
            return
        try:
            text = self._text.decode()
        except UnicodeDecodeError:
            raise Refusal(422, f"{self._name[:60]!r} is no UTF-8") from None
        self._sink.give(self._name, text)


def _take_json(body: Path, sink: _Sink) -> None:
    """The documents and fields of a body of JSON. Raises Refusal."""
    try:
        content = json.loads(body.read_bytes())
    except (ValueError, RecursionError):
        raise Refusal(400, "the request is no JSON", code="broken_request") from None
    documents = content.pop("documents", None) if isinstance(content, dict) else None
    if not isinstance(documents, list) or not documents:
        raise Refusal(422, 'documents: list them as {"name": ..., "data": ...}', code="invalid_request")
    for number, document in enumerate(documents):
        if not isinstance(document, dict) or not document.keys() <= {"name", "data"}:
            raise Refusal(422, f"documents.{number}: give name and data", code="invalid_request")
        name, data = document.get("name", ""), document.get("data")
        if not isinstance(name, str) or not isinstance(data, str):
            raise Refusal(422, f"documents.{number}: name and data are texts", code="invalid_request")
        sink.begin(name)
        sink.write(_bytes_of(data, number))
        sink.finish()
    for name, value in content.items():
        sink.give(name, value)


def _bytes_of(data: str, number: int) -> bytes:
    prefix = _DATA_URL.match(data)
    try:
        return base64.b64decode(data[prefix.end() if prefix else 0 :].strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(
            400, f"documents.{number}: data is neither base64 nor a data: URL", code="broken_request"
        ) from None


def _broken(why: str) -> Refusal:
    return Refusal(400, f"the multipart body cannot be read: {why}", code="broken_request")
