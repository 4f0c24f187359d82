"""A run goes on and ends with the same rows when Prefect's server or its database goes away under it.

    python tests/chaos/servers.py [CASE ...]

Each case is a run of 300 small documents as a Prefect flow, which is hit after a third of them:

- embedded: docflow's own Prefect server is killed;
- killed: the user's server (PREFECT_API_URL) is killed and stays away;
- restarted: it is killed, and started again on the same port and database some seconds later;
- database: the PostgreSQL under it is killed, and started again some seconds later.

A reader reads all along. Prints a table and, as its last line, a JSON object; exit code 1 for any difference to a run
that was left alone, for whatever a reader must not meet, for a run that ends in an error or shows a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from docflow.deploy.local.process import free_port
from tests.chaos import papers
from tests.chaos.comparing import differences, rows_of
from tests.chaos.process import Victim, Watching, run_to_end
from tests.integration.prefect_server import Postgres, Prefect, postgres_binaries, prefect_on

AWAY_SECONDS = 4.0
DOCUMENTS = 300
MOST_SECONDS = 400.0
"""A run takes 10 s; the rest is what Prefect's client waits for a server that is away."""

Hit = Callable[[Victim], None]


class Cases:
    """The same run under each blow; what came of it is in ``rows``."""

    def __init__(self, folder: Path, wanted: Counter[str]) -> None:
        self.folder, self.documents, self.wanted = folder, folder / "documents", wanted
        self.rows: list[dict[str, Any]] = []

    def run(self, name: str, hit: Hit, environment: Mapping[str, str] | None = None) -> None:
        """One run, hit once a third of its documents are finished."""
        out, log = self.folder / name, self.folder / f"{name}.log"
        flags = ("--runner", "prefect", "--flow-first", "--seconds", "0.25")
        began = time.monotonic()
        with Watching(out) as watching, log.open("wb") as file:
            victim = Victim(self.documents, out, *flags, log=file, environment=environment)
            try:
                self._hit_after(victim, hit)
                code = victim.wait(MOST_SECONDS)
            finally:
                victim.kill()
        said = log.read_text(errors="replace")
        row = {
            "case": name,
            "code": code,
            "seconds": round(time.monotonic() - began, 1),
            "differences": differences(rows_of(out), self.wanted),
            "readings": watching.readings,
            "met": watching.met,
            "tracebacks": said.count("Traceback"),
            "said": said.strip(),
        }
        row["right"] = code in (0, 1) and not (row["differences"] or row["met"] or row["tracebacks"])
        self.rows.append(row)

    def _hit_after(self, victim: Victim, hit: Hit) -> None:
        done = 0
        for _, word in victim.tells():
            done += word == "done"
            if done == DOCUMENTS // 3:
                hit(victim)
                return
            if word == "ended":
                raise SystemExit("the run ended before it was hit")


def kill_embedded(victim: Victim) -> None:
    """Kill docflow's own server below a run."""
    servers = [
        one
        for one in psutil.Process(victim.process.pid).children(recursive=True)
        if "docflow.flows.server" in one.cmdline()
    ]
    assert len(servers) == 1
    servers[0].kill()


@contextlib.contextmanager
def a_server(folder: Path, database: str) -> Iterator[tuple[Prefect, Callable[[], None], Callable[[], None]]]:
    """A Prefect server of the user's, how to kill it, and how to start it again where it was."""
    port = free_port()
    with contextlib.ExitStack() as ending:
        running = contextlib.ExitStack()
        ending.callback(lambda: running.close())
        prefect = running.enter_context(prefect_on(database, folder, os.environ, port))

        def start() -> None:
            running.enter_context(prefect_on(database, folder, os.environ, port))

        yield prefect, running.close, start


def later(*steps: Callable[[], Any]) -> threading.Thread:
    """Do these one after the other, with a while in between, beside whatever else is done."""

    def do() -> None:
        for step in steps:
            step()
            time.sleep(AWAY_SECONDS)

    thread = threading.Thread(target=do)
    thread.start()
    return thread


def on_users_server(cases: Cases, wanted: set[str], folder: Path) -> None:
    """The cases of a server of the user's, on PostgreSQL."""
    binaries = postgres_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed")
    with Postgres(binaries) as postgres, a_server(folder, postgres.url) as (prefect, kill, start):
        if "database" in wanted:
            waiting: list[threading.Thread] = []
            cases.run(
                "database",
                lambda _: waiting.append(later(lambda: postgres.stop(signal.SIGQUIT), postgres.start)),
                prefect.environment,
            )
            waiting[0].join()
        if "restarted" in wanted:
            waiting = []
            cases.run("restarted", lambda _: waiting.append(later(kill, start)), prefect.environment)
            waiting[0].join()
        if "killed" in wanted:
            cases.run("killed", lambda _: kill(), prefect.environment)


def main() -> int:
    names = ("embedded", "killed", "restarted", "database")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(names)} (default: all)")
    parser.add_argument("--scratch", type=Path, help="a folder for the files (default: the system's)")
    given = parser.parse_args()
    chosen = set(given.cases or names)
    if unknown := chosen.difference(names):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="docflow-servers-", dir=given.scratch) as name:
        folder = Path(name)
        for key in [key for key in os.environ if key.startswith("PREFECT")]:
            del os.environ[key]
        os.environ["DOCFLOW_CACHE_DIR"] = str(folder / "cache")
        papers.make(folder / "documents", DOCUMENTS)
        run_to_end(folder / "documents", folder / "undisturbed", "--seconds", "0.01", log=folder / "undisturbed.log")
        cases = Cases(folder, rows_of(folder / "undisturbed"))
        if "embedded" in chosen:
            cases.run("embedded", kill_embedded)
        if chosen != {"embedded"}:
            on_users_server(cases, chosen, folder)
    print(f"{'':12}{'code':>6}{'seconds':>10}{'differences':>13}{'readings':>10}{'met':>6}{'tracebacks':>12}")
    for row in cases.rows:
        print(
            f"{row['case']:12}{row['code']:>6}{row['seconds']:>10}{len(row['differences']):>13}{row['readings']:>10}"
            f"{len(row['met']):>6}{row['tracebacks']:>12}"
        )
        for line in (*row["differences"][:4], *map(str, row["met"][:4])):
            print(f"  {line}")
        print("  " + row["said"][-1500:].replace("\n", "\n  "))
    right = all(row["right"] for row in cases.rows)
    found = [
        {name: value if not isinstance(value, list) else len(value) for name, value in row.items() if name != "said"}
        for row in cases.rows
    ]
    print(json.dumps({"cases": found, "seconds": round(time.monotonic() - began, 1), "right": right}))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
