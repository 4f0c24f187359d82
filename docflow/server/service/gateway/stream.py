"""A stream of server-sent events on its way through: whole events, counted, without what the client did not ask for."""

from __future__ import annotations

import re
from typing import Any

import orjson

MOST_EVENT_BYTES = 16 * 1024 * 1024
"""An event that is longer is no answer of a model."""
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_EVENT = re.compile(rb".*?\r?\n\r?\n", re.DOTALL)


class EventTooLong(Exception):
    """An event does not end."""


class Events:
    """Cuts a stream into whole events, and reads the usage out of them.

    With ``uncounted``, the event that brings nothing but the usage is left out: it came because the gateway asked.
    """

    def __init__(self, uncounted: bool) -> None:
        self.usage: dict[str, Any] | None = None
        self.model = ""
        self._uncounted = uncounted
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        """What can go on to the client now. Raises EventTooLong."""
        data = self._rest + piece if self._rest else piece
        if data.endswith((b"\n\n", b"\r\n\r\n")):
            end = len(data)
        else:
            end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4)
            if end < 4 and not (end >= 2 and data[:end].endswith(b"\n\n")):
                end = 0
        self._rest = data[end:]
        if len(self._rest) > MOST_EVENT_BYTES:
            raise EventTooLong
        whole = data[:end]
        return self._counted(whole) if _USAGE.search(whole) else whole

    def finish(self) -> bytes:
        """What is left when the upstream has ended."""
        rest, self._rest = self._rest, b""
        return self._counted(rest) if _USAGE.search(rest) else rest

    def _counted(self, whole: bytes) -> bytes:
        kept = bytearray()
        at = 0
        for found in _EVENT.finditer(whole):
            at = found.end()
            if self._keeps(found.group()):
                kept += found.group()
        if whole[at:] and self._keeps(whole[at:]):
            kept += whole[at:]
        return bytes(kept)

    def _keeps(self, event: bytes) -> bool:
        data = data_of(event)
        if data is None:
            return True
        if isinstance(data.get("usage"), dict):
            self.usage = data["usage"]
            self.model = str(data.get("model") or "")
            return not (self._uncounted and _says_nothing(data.get("choices")))
        return True


def data_of(event: bytes) -> dict[str, Any] | None:
    """The JSON object in an event; None where there is none."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        data = orjson.loads(b"\n".join(lines))
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None


def failed_at_once(first: bytes) -> str | None:
    """What the first event says where it is a failure of the server's, though the status was 200; else None."""
    if b'"error"' not in first[:2000]:
        return None
    event = _EVENT.match(first)
    data = data_of(event.group() if event else first)
    error = data.get("error") if data is not None else None
    if not isinstance(error, dict) or "choices" in (data or {}):
        return None
    code = error.get("code")
    if isinstance(code, int) and 400 <= code < 500 and code != 429:
        return None  # the request's own fault: the client is told
    return str(error.get("message") or "it failed")[:200]


def _says_nothing(choices: Any) -> bool:
    """Whether nothing is said: there are no choices, or empty ones, as litellm has them."""
    return isinstance(choices, list) and not any(
        not isinstance(one, dict) or one.get("delta") or one.get("text") or one.get("finish_reason") for one in choices
    )
