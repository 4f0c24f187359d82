"""Records as lines of JSON on stdout, for other programs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, TextIO

from docflow.storage.cells import json_value

if TYPE_CHECKING:
    from docflow.extraction.result import Result


class RecordWriter:
    """Writes a line of JSON a result, at once; when the reader is gone it falls silent and the run goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._open = True

    def write(self, result: Result[Any]) -> None:
        if not self._open:
            return
        try:
            # ASCII only: what a file name or a page holds cannot break a line, whatever the stream's encoding is.
            print(json.dumps(row_of(result), default=json_value), file=self._stream, flush=True)
        except BrokenPipeError:
            # What is still buffered must go somewhere: the interpreter flushes stdout once more when it ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._open = False


def row_of(result: Result[Any]) -> dict[str, Any]:
    """What a line says of one document: where it came from, how it went, its record, and the evidence for each leaf."""
    return {
        "source": result.source,
        "document_id": result.document_id,
        "first_page": result.first_page,
        "last_page": result.last_page,
        "program": result.program,
        "status": result.status,
        "record": result.data,
        "evidence": [
            {
                "path": leaf.path,
                "value": leaf.value,
                "raw": leaf.raw,
                "page": leaf.page,
                "box": leaf.box,
                "found": leaf.found,
                "confidence": leaf.confidence,
                "reason": leaf.reason,
            }
            for leaf in result.evidence
        ],
        "missing_rows": None
        if result.missing_rows is None
        else [{"path": row.path, "page": row.page, "box": row.box, "text": row.text} for row in result.missing_rows],
        "error": None
        if result.error is None
        else {
            "stage": result.error.stage,
            "type": result.error.type,
            "message": result.error.message,
            "hint": result.error.hint,
            "retryable": result.error.retryable,
        },
        "engine": result.engine,
        "model": result.model,
        "seconds": round(result.seconds, 3),
    }
