"""One decoder process as its parent sees it: start, talk with a deadline, end.

Both pipes are non-blocking on this side, so that a process that hangs, in reading or in writing, is noticed in
time. One thread talks to a process at a time; the pool in ``decoder.py`` sees to that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from docflow.documents.wire import LENGTHS, MOST_HEADER_BYTES, Body, Header, Limits, head_of
from docflow.errors import (
    BrokenDocument,
    DecoderDied,
    DocumentError,
    EncryptedDocument,
    LimitExceeded,
    UnsupportedDocument,
)

if TYPE_CHECKING:
    from docflow.settings import DecodeLimits

_ERRORS: dict[str, type[DocumentError]] = {
    error.__name__: error for error in (BrokenDocument, EncryptedDocument, LimitExceeded, UnsupportedDocument)
}
_PIPE_BYTES = 1 << 20
_BODY_SLACK = 64 << 20
# A hostile document that takes a decoder over finds no secrets in its environment.
_ENVIRONMENT = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
)  # fmt: skip


class DecoderProcess:
    """A running decoder. ``used`` counts the documents it was given; ``ids`` are those it may still hold."""

    def __init__(self, limits: DecodeLimits) -> None:
        self.used = 0
        self.ids: list[str] = []
        self._seconds = limits.decode_seconds
        self._most_body = 4 * limits.pixels + _BODY_SLACK
        # -P: a file in the working directory must not be imported in place of a module.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "docflow.documents.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        for descriptor in (self._to, self._from):
            os.set_blocking(descriptor, False)
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                # This user may have no more in pipes: the usual size works as well, only slower.
                with contextlib.suppress(OSError):
                    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        names = [field.name for field in dataclasses.fields(Limits) if field.name in type(limits).model_fields]
        self._first: Header | None = {"do": "limit", "limits": {name: getattr(limits, name) for name in names}}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, header: Header, body: Body = b"") -> None:
        """Send a request. Raises DecoderDied."""
        if self._first is not None:
            # Sent with the first request and not at the start, so that starting a process never waits for it.
            first, self._first = self._first, None
            self.send(first)
        deadline = time.monotonic() + self._seconds
        for part in (head_of(header, len(body)), body):
            view = memoryview(part)
            while view:
                try:
                    view = view[os.write(self._to, view) :]
                except BlockingIOError:
                    self._wait(self._to, select.POLLOUT, deadline)
                except BrokenPipeError as error:
                    raise self._died() from error

    def receive(self) -> tuple[Header, bytearray]:
        """The next answer, within the time that one page may take.

        Raises the DocumentError that the decoder answered with, or DecoderDied.
        """
        deadline = time.monotonic() + self._seconds
        header_length, body_length = LENGTHS.unpack(self._read(LENGTHS.size, deadline))
        if header_length > MOST_HEADER_BYTES or body_length > self._most_body:
            raise self.nonsense()
        try:
            header = json.loads(self._read(header_length, deadline))
        except ValueError as error:
            raise self.nonsense() from error
        if not isinstance(header, dict):
            raise self.nonsense()
        if "error" in header:
            kind = _ERRORS.get(str(header["error"]), BrokenDocument)
            raise kind(str(header.get("message")), hint=str(header.get("hint") or kind.hint))
        return header, self._read(body_length, deadline)

    def nonsense(self) -> DecoderDied:
        """The error for an answer that no healthy decoder gives; the process is ended."""
        self.kill()
        return DecoderDied("the decoder gave an answer that makes no sense")

    def kill(self) -> None:
        """End the process at once: it has nothing to put away."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def _read(self, length: int, deadline: float) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            try:
                count = os.readv(self._from, [view])
            except BlockingIOError:
                self._wait(self._from, select.POLLIN, deadline)
                continue
            if count == 0:
                raise self._died()
            view = view[count:]
        return data

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        """Wait until the pipe can be read or written. Raises DecoderDied after the deadline."""
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self.kill()
            raise DecoderDied(
                f"decoding a page took longer than {self._seconds:g} seconds (limits.decode_seconds); it was stopped"
            )

    def _died(self) -> DecoderDied:
        """The error for a process that is no more, with what can be known of its end."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = 0
        self.kill()
        if code == -signal.SIGKILL:
            return DecoderDied("the decoder was killed from outside (perhaps the machine is out of memory)")
        if code < 0:
            return DecoderDied(f"the decoder crashed on this document ({signal.Signals(-code).name})")
        return DecoderDied(f"the decoder stopped in the middle of this document (exit code {code})")
