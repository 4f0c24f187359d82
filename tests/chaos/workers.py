"""A run over Dask workers ends with the same rows when workers are killed under it, and the run itself.

    python tests/chaos/workers.py [--times 6]

300 small documents, two Dask workers of this machine, and an engine behind HTTP that takes its time. Every few seconds
(drawn uniformly) one of the workers is killed, ``--times`` times; every third kill takes the whole run instead, with
all its processes, which is then started again. At the end a run tries what failed once more, as the one does that was
left alone: a document at which two workers died in a row has a failed row by then. A reader reads all along.

Prints a table and, as its last line, a JSON object; exit code 1 for any difference to a run without Dask that was left
alone, for whatever a reader must not meet, and for a run that ended in an error.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.chaos import papers
from tests.chaos.comparing import differences, rows_of, written
from tests.chaos.process import ROOT, Watching, kill_all, table
from tests.engines.instant import InstantProcess

DOCUMENTS = 300
MOST_SECONDS = 600.0
VALUES = json.dumps({"number": "T-1", "company": "Acme Ltd", "total": "12.50"})


class Runs:
    """``docflow extract`` over the same documents, as a user starts it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self._url = folder, url
        self.codes: Counter[int] = Counter()
        self.starts = 0

    def start(self, out: Path, *flags: str) -> subprocess.Popen[bytes]:
        self.starts += 1
        command = [sys.executable, "-m", "docflow", "extract", str(self.folder / "documents"), "--out", str(out)]
        command += ["--program", f"{ROOT / 'tests/chaos/papers.py'}:ticket", "--engine", f"sglang={self._url}"]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )

    def to_end(self, out: Path, *flags: str) -> None:
        self.ended(self.start(out, *flags))

    def ended(self, process: subprocess.Popen[bytes]) -> None:
        try:
            self.codes[process.wait(MOST_SECONDS)] += 1
        finally:
            kill_all(process)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of a run that do the work."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
        return [one for one in below if {"dask", "worker"} <= set(" ".join(one.cmdline()).replace("_", " ").split())]
    except psutil.NoSuchProcess:
        return []


def disturb(runs: Runs, out: Path, times: int, draw: random.Random) -> Counter[str]:
    """Kill workers and runs; how often each."""
    kills: Counter[str] = Counter()
    flags = ("--runner", "dask")
    process = runs.start(out, *flags)
    deadline = time.monotonic() + MOST_SECONDS
    while kills.total() < times and time.monotonic() < deadline:
        before, due = written(out), time.monotonic() + draw.uniform(1, 4)
        while process.poll() is None and (time.monotonic() < due or not workers_of(process) or written(out) == before):
            time.sleep(0.2)
        if process.poll() is not None:
            break
        if kills.total() % 3 == 2:
            kill_all(process)
            kills["run"] += 1
            process = runs.start(out, *flags)
        else:
            draw.choice(workers_of(process)).kill()
            kills["worker"] += 1
    runs.ended(process)
    return kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=6, help="kills, if the run lasts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="a folder for the files (default: the system's)")
    given = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="docflow-workers-", dir=given.scratch) as name,
        InstantProcess("sglang", "--seconds", "0.3", "--values", VALUES) as server,
    ):
        folder = Path(name).resolve()
        for key in [key for key in os.environ if key.startswith("PREFECT")]:
            del os.environ[key]
        os.environ |= {
            "DOCFLOW_CACHE_DIR": str(folder / "cache"),
            "DOCFLOW_EXTRACTION__GROUNDING": "text-layer",
            "DOCFLOW_DASK__WORKERS": "2",
            "DOCFLOW_CONCURRENCY": "4",
        }
        papers.make(folder / "documents", DOCUMENTS)
        runs = Runs(folder, server.url)
        for flags in ((), ("--retry-failed",)):
            runs.to_end(folder / "undisturbed", "--runner", "direct", *flags)
        out = folder / "out"
        with Watching(out) as watching:
            kills = disturb(runs, out, given.times, random.Random(given.seed))
            runs.to_end(out, "--runner", "dask")
            runs.to_end(out, "--runner", "dask", "--retry-failed")
        found = rows_of(out)
        differing = differences(found, rows_of(folder / "undisturbed"))
        logs = (folder / "log").read_text(errors="replace")
    failed = sum(count for code, count in runs.codes.items() if code not in (0, 1))
    print(
        table(
            [
                ("kills of a worker", kills["worker"]),
                ("kills of the run", kills["run"]),
                ("starts", runs.starts),
                ("rows", found.total()),
                ("differences", len(differing)),
                ("readings meanwhile", watching.readings),
                ("what no reader may meet", len(watching.met)),
                ("runs that ended in an error", failed),
            ]
        )
    )
    for line in (*differing[:4], *map(str, watching.met[:4])):
        print(f"  {line}")
    right = bool(kills) and not (differing or watching.met or failed or "Traceback" in logs)
    if not right:
        print(logs[-3000:], file=sys.stderr)
    print(
        json.dumps(
            {
                "kills": dict(kills),
                "starts": runs.starts,
                "rows": found.total(),
                "differences": len(differing),
                "readings": watching.readings,
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
