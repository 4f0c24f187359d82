"""A run into a bucket ends with the same rows though the store answers 500 and 503, goes away, and the run dies.

    python tests/chaos/stores.py [--times 6]

300 small documents and OUT in a bucket of a server of the S3 protocol, behind a proxy that answers a tenth of the
requests itself, with 500 or 503, and loses some answers of the store to things that were put. Now and then nothing
comes through for a second. The run is killed ``--times`` times at moments that are drawn uniformly, and started
again. A reader reads all along, past the proxy.

Prints a table and, as its last line, a JSON object; exit code 1 for any difference to a run that was left alone, for
whatever a reader must not meet, and for a run that ended in an error.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from docflow.buckets import BucketPath
from tests.chaos import papers
from tests.chaos.comparing import differences, rows_of
from tests.chaos.process import Victim, Watching, run_to_end, table
from tests.engines.loopback import Received, response
from tests.integration.object_stores import StoreProxy, rclone

DOCUMENTS = 300
SPOILED = 0.1
"""The share of requests that the proxy answers itself."""
LOST = 0.05
"""The share of puts that arrive while their answer does not."""
AWAY_EVERY, AWAY_SECONDS = 10.0, 1.0


class BadStore(StoreProxy):
    """A store on a bad day, while ``bad`` is set."""

    def __init__(self, upstream: str, seed: int) -> None:
        super().__init__(upstream)
        self.bad = threading.Event()
        self.said: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._began = time.monotonic()

    async def handle(self, request: Received, writer: Any) -> None:
        self.said["requests"] += 1
        away = (time.monotonic() - self._began) % AWAY_EVERY > AWAY_EVERY - AWAY_SECONDS
        if self.bad.is_set() and (away or self._random.random() < SPOILED):
            status = self._random.choice((500, 503))
            self.said[str(status)] += 1
            code = {500: "InternalError", 503: "SlowDown"}[status]
            writer.write(response(status, f"<Error><Code>{code}</Code></Error>".encode()))
            return
        if self.bad.is_set() and request.method == "PUT" and self._random.random() < LOST:
            self.said["lost"] += 1
            self.lose += 1
        await super().handle(request, writer)
        self.requests.clear()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=6, help="kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="a folder for the files (default: the system's)")
    given = parser.parse_args()
    began = time.monotonic()
    draw = random.Random(given.seed)
    kills, starts, codes = 0, 0, Counter[int]()
    with (
        tempfile.TemporaryDirectory(prefix="docflow-stores-", dir=given.scratch) as name,
        rclone() as server,
        BadStore(server.url, given.seed) as store,
    ):
        folder = Path(name)
        os.environ.update({**server.environment(), "DOCFLOW_CACHE_DIR": str(folder / "cache")})
        through = {**os.environ, **server.environment(store.url)}
        papers.make(folder / "documents", DOCUMENTS)
        flags = ("--seconds", "0.05", "--chunk", "50")
        run_to_end(folder / "documents", folder / "undisturbed", *flags, log=folder / "log")
        server.make_bucket("bucket")
        out = BucketPath.of("s3://bucket/out")
        store.bad.set()
        with Watching(out) as watching:
            while kills < given.times and starts < 4 * given.times:
                starts += 1
                with (folder / "log").open("ab") as log:
                    victim = Victim(folder / "documents", out, *flags, log=log, environment=through)
                    try:
                        after = draw.randint(1, DOCUMENTS // max(1, given.times))
                        done = 0
                        for _, word in victim.tells(300):
                            done += word == "done"
                            if done == after or word == "ended":
                                break
                        time.sleep(draw.uniform(0, 1))
                        if victim.process.poll() is None:
                            kills += 1
                        else:
                            codes[victim.wait()] += 1
                            break
                    finally:
                        victim.kill()
            starts += 1
            codes[run_to_end(folder / "documents", out, *flags, log=folder / "log", environment=through)] += 1
        differing = differences(rows_of(out), rows_of(folder / "undisturbed"))
        logs = (folder / "log").read_text(errors="replace")
    failed = sum(count for code, count in codes.items() if code not in (0, 1))
    rows: list[tuple[str, object]] = [
        ("kills", kills),
        ("starts", starts),
        ("requests", store.said["requests"]),
        ("answered with 500", store.said["500"]),
        ("answered with 503", store.said["503"]),
        ("answers lost", store.said["lost"]),
        ("readings meanwhile", watching.readings),
        ("differences", len(differing)),
        ("what no reader may meet", len(watching.met)),
        ("runs that ended in an error", failed),
    ]
    print(table(rows))
    for line in (*differing[:4], *map(str, watching.met[:4])):
        print(f"  {line}")
    right = not (differing or watching.met or failed or "Traceback" in logs)
    if not right:
        print(logs[-3000:], file=sys.stderr)
    print(
        json.dumps(
            {
                "kills": kills,
                "starts": starts,
                **store.said,
                "readings": watching.readings,
                "differences": len(differing),
                "met": len(watching.met),
                "failed_runs": failed,
                "seconds": round(time.monotonic() - began, 1),
                "right": right,
            }
        )
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
