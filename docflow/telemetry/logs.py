"""Log lines for machines: exactly one JSON object a line, written by a thread of their own.

Whoever logs only hands a finished line over: neither a slow disk nor a full pipe holds a request back. What cannot be
written in time is dropped, and counted.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import orjson

from docflow.errors import ConfigError

log = logging.getLogger("docflow.telemetry")

MOST_WAITING = 20_000
"""Lines that wait to be written, at most."""
EVERY_SECONDS = 0.2
"""How often lines are written: what a process that is killed can lose."""
MOST_CHARACTERS = 500
"""Characters of one text in a line: what a client names may be long."""

_BREAKS = {number: f"\\u{number:04x}" for number in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Characters that JSON lets stand and that some readers take for the end of a line."""


class Lines:
    """Writes lines to a file, or to stdout without one, from a thread. ``dropped`` is told of lines that are lost.

    A file that was moved away, as log rotation does, is begun anew. Raises ConfigError when it cannot be written.
    """

    def __init__(self, path: Path | None = None, dropped: Callable[[int], None] = lambda count: None) -> None:
        self._path, self._dropped = path, dropped
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._lost = 0
        self._ended = threading.Event()
        self._file: IO[bytes] | None = None
        self._inode = 0
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._open(path)
            except OSError as error:
                raise ConfigError(f"telemetry.log_file {path} cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._work, name="log-lines", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Write this line soon. It has no line break in it."""
        with self._lock:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(line)
            else:
                self._lost += 1

    def close(self) -> None:
        """Write what waits, and end."""
        self._ended.set()
        self._thread.join()
        if self._file is not None:
            self._file.close()

    def _work(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
            lost, self._lost = self._lost, 0
        if lost:
            self._dropped(lost)
        if not lines:
            return
        text = "\n".join(lines) + "\n"
        try:
            if self._path is None:
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                self._reopened(self._path).write(text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError) as error:  # a full disk, a reader that went away
            self._dropped(len(lines))
            log.warning("%d log lines cannot be written: %s", len(lines), error)

    def _reopened(self, path: Path) -> IO[bytes]:
        """The file; a new one where it was moved away."""
        try:
            moved = os.stat(path).st_ino != self._inode
        except FileNotFoundError:
            moved = True
        if moved:
            self._open(path)
        assert self._file is not None
        return self._file

    def _open(self, path: Path) -> None:
        if self._file is not None:
            self._file.close()
        self._file = path.open("ab", buffering=0)  # what a full disk refuses must not come again with the next lines
        self._inode = os.fstat(self._file.fileno()).st_ino


def json_line(record: dict[str, Any]) -> str:
    """A record as one line: nothing in it can begin another, and long texts are cut."""
    for key, value in record.items():
        if value.__class__ is str and len(value) > MOST_CHARACTERS:
            record[key] = f"{value[:MOST_CHARACTERS]}…"
    try:
        line = orjson.dumps(record, default=str).decode()
    except TypeError:  # half a character, which is no text that can be written
        line = json.dumps(record, default=str)
    return line if line.isprintable() else line.translate(_BREAKS)


def now() -> str:
    """The time as lines carry it: ISO 8601, UTC, with milliseconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


class StructuredLogger:
    """The records of requests, responses and errors: each has ``timestamp``, ``event`` and ``request_id``.

    ``extra`` keyword fields are merged in. ``put`` gets each finished line; by default it goes to stderr through
    Python's logging, under ``name``, without any prefix.
    """

    def __init__(self, name: str, put: Callable[[str], None] | None = None) -> None:
        self._put_line = put
        self._log = logging.getLogger(name)
        if put is None:
            self._log.setLevel(logging.INFO)
            self._log.propagate = False
            if not self._log.handlers:  # a logger is the same one each time: its handler is added once
                handler = logging.StreamHandler()
                handler.setFormatter(logging.Formatter("%(message)s"))
                self._log.addHandler(handler)

    def log_request(self, request_id: str, prompt_length: int | None, **extra: Any) -> None:
        """A request came: ``prompt_length`` counts the characters of its prompt."""
        self._put(logging.INFO, "request", request_id, {"prompt_length": prompt_length} | extra)

    def log_response(self, request_id: str, latency: float, tokens: int | None, **extra: Any) -> None:
        """A request was answered after ``latency`` seconds with ``tokens`` tokens."""
        fields = {"latency_ms": round(latency * 1000, 3), "tokens_generated": tokens}
        self._put(logging.INFO, "response", request_id, fields | extra)

    def log_error(self, request_id: str, error: str, **extra: Any) -> None:
        """A request failed."""
        self._put(logging.ERROR, "error", request_id, {"error": error} | extra)

    def _put(self, level: int, event: str, request_id: str, fields: dict[str, Any]) -> None:
        line = json_line({"timestamp": now(), "event": event, "request_id": request_id, **fields})
        if self._put_line is not None:
            self._put_line(line)
        else:
            self._log.log(level, "%s", line)
