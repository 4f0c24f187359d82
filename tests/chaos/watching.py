"""Someone who reads a dataset all along: ``python -m tests.chaos.watching OUT``, until its standard input ends.

Prints a JSON object a line for whatever a reader must never meet (a part that cannot be read, a document that is there
twice, fewer rows than before), and at the end one with the number of readings.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import docflow
from docflow.errors import DocflowError
from docflow.storage.places import Place, place_of
from tests.chaos.comparing import written

PAUSE_SECONDS = 0.1
KEY = ["source", "document_id", "program"]
COUNT = "SELECT count(*) AS rows, count(DISTINCT (source, document_id, program)) AS documents FROM records"


class Watcher:
    """Reads in one way after the other; what it met is in ``met``."""

    def __init__(self, out: Place) -> None:
        self._out = out
        self._rows = 0
        self.readings = 0
        self.met: list[dict[str, Any]] = []

    def read(self, how: str) -> None:
        if not self._rows and not written(self._out):
            return
        try:
            dataset = docflow.open(self._out)
            if how == "duckdb":
                (answer,) = dataset.query(COUNT).to_pylist()
                rows, documents = answer["rows"], answer["documents"]
            else:
                table = dataset.arrow(columns=None if how == "whole" else KEY)
                rows, documents = len(table), len(table.select(KEY).group_by(KEY).aggregate([]))
        except DocflowError as error:
            self._meet("broken", how, f"{type(error).__name__}: {error.message}")
            return
        except Exception as error:
            self._meet("traceback", how, f"{type(error).__name__}: {error}")
            return
        self.readings += 1
        if documents < rows:
            self._meet("doubled", how, f"{rows} rows of {documents} documents")
        if documents < self._rows:
            self._meet("fewer", how, f"{documents} documents, and {self._rows} before")
        self._rows = max(self._rows, documents)

    def _meet(self, what: str, how: str, said: str) -> None:
        self.met.append({"met": what, "reading": how, "said": said[:300]})
        print(json.dumps(self.met[-1]), flush=True)


def main() -> None:
    watcher = Watcher(place_of(sys.argv[1]))
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    ways = ("key", "duckdb", "whole")
    turn = 0
    while not ended.is_set():
        watcher.read(ways[turn % len(ways)])
        turn += 1
        time.sleep(PAUSE_SECONDS)
    print(json.dumps({"readings": watcher.readings, "violations": len(watcher.met)}), flush=True)


if __name__ == "__main__":
    main()
