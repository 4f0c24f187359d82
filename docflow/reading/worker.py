"""The OCR worker: a process that reads page images from stdin and writes their words to stdout, until stdin ends.

Run as ``python -m docflow.reading.worker THREADS [MODEL_FOLDER]`` by docflow.reading.ocr. A request is two messages,
the image's size as JSON and its raw RGB bytes; an answer is one, in JSON. The first answer, before any request, says
whether the models could be loaded.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from docflow.reading.messages import read_message, write_message

RESIDENT_BYTES = 1 << 30
"""A worker that holds more memory than this gives back what it does not use. A page takes half a GiB."""


def main(arguments: list[str]) -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    requests: SimpleQueue[tuple[dict[str, Any], bytes]] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    threads, model = int(arguments[0]), Path(arguments[1]) if len(arguments) > 1 else None
    try:
        from docflow.reading.recognition import PageReader

        reader = PageReader(threads, model)
    except Exception as error:  # noqa: BLE001 (the process border: the parent says it to the user)
        write_message(answers, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        return
    write_message(answers, json.dumps({"ready": True}).encode())
    while True:
        header, pixels = requests.get()
        answer: dict[str, Any]
        try:
            words, legibility = reader.read(pixels, header["width"], header["height"])
            answer = {"words": words, "legibility": legibility}
        except Exception as error:  # noqa: BLE001 (the process border: one page is lost, the parent says why)
            answer = {"error": f"{type(error).__name__}: {error}"}
        write_message(answers, json.dumps(answer, ensure_ascii=False).encode())
        if _resident() > RESIDENT_BYTES:
            _give_memory_back()


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _give_memory_back() -> None:
    """Give the system what lies free between the pieces in use: tensors of every size leave gaps, more with each page.

    To do so after every page would cost a quarter of the time (see ``_KEEP_MEMORY`` in docflow.reading.ocr).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def _listen(requests: SimpleQueue[tuple[dict[str, Any], bytes]]) -> None:
    """Take requests from stdin; its end means that the parent is gone, so the process ends whatever it is doing."""
    stdin = sys.stdin.buffer
    try:
        while True:
            header = json.loads(read_message(stdin))
            requests.put((header, read_message(stdin)))
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
