"""Messages over a pipe: four bytes of length, then the bytes."""

from __future__ import annotations

import struct
from typing import IO

_LENGTH = struct.Struct(">I")


def read_message(stream: IO[bytes]) -> bytes:
    """The next message. Raises EOFError where the stream ends."""
    return _exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0])


def write_message(stream: IO[bytes], data: bytes) -> None:
    """Send one message. Raises OSError where nobody reads any more."""
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)  # a buffered stream gives less only at its end
    if len(data) < size:
        raise EOFError
    return data
