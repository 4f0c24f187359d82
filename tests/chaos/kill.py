"""A run that is killed again and again ends with the rows of one that was left alone.

    python tests/chaos/kill.py --times 50

300 small documents, an engine that takes some milliseconds. The run is killed (SIGKILL, with all processes that it
started) ``--times`` times, each at a moment that is drawn uniformly over the undisturbed run after its first part, and
started again each time. Some of the kills are then held back to where they are rare: between the writing of a part and
its rename, right after the rename, while a chunk is tried again, before a part that was replaced goes. Four in five
fall into the first pass, the others into a second one that tries the failed documents again. A fifth as many kills go
to a run as a Prefect flow. A reader reads all along.

Prints a table and, as its last line, a JSON object. Exit code 1 for any difference but in ``created_at, run_id,
seconds, attempts, usage``, and for whatever a reader must not meet.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.chaos import papers
from tests.chaos.comparing import differences, rows_of, written
from tests.chaos.process import Victim, Watching, run_to_end, table
from tests.integration.prefect_server import prefect_on

KINDS = ("any moment", "rename", "any moment", "again", "any moment", "renamed")
"""Kills of the first pass, over and over."""
SECOND_KINDS = ("rename", "remove", "any moment", "renamed")
"""Kills of the second pass, which tries the failed documents again."""
MOST_ROUNDS = 20
SAID = {
    "any moment": "at any moment",
    "rename": "between write and rename",
    "renamed": "right after a rename",
    "again": "while a chunk is tried again",
    "remove": "before a replaced part goes",
}


@dataclass
class Undisturbed:
    """A run that was left alone: when each document was finished, when it had its first part, when it ended."""

    done: list[float]
    first_part: float
    ended: float

    def reached(self, moment: float) -> tuple[int, float]:
        """The documents that were finished at a moment, and the seconds since the last of them."""
        count = bisect.bisect_right(self.done, moment)
        return count, moment - (self.done[count - 1] if count else 0.0)


@dataclass
class Report:
    """What happened."""

    runner: str
    kills: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    rounds: int = 0
    rows: int = 0
    readings: int = 0
    differences: list[str] = field(default_factory=list)
    met: list[dict[str, Any]] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        return not (self.differences or self.met or self.codes)


class Killing:
    """Runs over the same documents with one runner, which are killed."""

    def __init__(self, runner: str, folder: Path, seconds: float, seed: int) -> None:
        self.report = Report(runner)
        self.folder, self.documents = folder, folder / "documents"
        self.flags = ("--runner", runner, "--seconds", str(seconds))
        self.random = random.Random(seed)
        self.log = folder / f"{runner}.log"

    def undisturbed(self, *, keep: bool) -> tuple[Undisturbed, Undisturbed]:
        """Both passes without a kill; ``keep`` leaves the dataset for comparison."""
        out = self.folder / ("undisturbed" if keep else f"timed-{self.report.runner}")
        return self._timed(out), self._timed(out, "--retry-failed")

    def _timed(self, out: Path, *flags: str) -> Undisturbed:
        with self.log.open("ab") as log:
            victim = Victim(self.documents, out, *self.flags, *flags, log=log)
            told = list(victim.tells())
            code = victim.wait()
        if code not in (0, 1):
            raise SystemExit(f"the run that nothing disturbs ended with {code}: {self.log.read_text()[-2000:]}")
        done = [at - victim.began for at, word in told if word == "done"]
        parts = [at - victim.began for at, word in told if word == "part"]
        return Undisturbed(done, parts[0], told[-1][0] - victim.began)

    def kill(self, times: int, first: Undisturbed, second: Undisturbed, wanted: Counter[str]) -> None:
        """Whole rounds, each into an empty folder, until there were so many kills."""
        began = time.monotonic()
        later = times // 5
        for number in range(MOST_ROUNDS):
            out = self.folder / f"{self.report.runner}-{number}"
            self.report.rounds += 1
            with Watching(out) as watching:
                left = times - later - sum(self.report.kills.values())
                if number == 0 or left > 0:
                    self._kill_first_pass(out, first, max(left, 0))
                self._to_end(out)
                self._kill_second_pass(out, second, times - sum(self.report.kills.values()), of=later)
                self._to_end(out, "--retry-failed")
            self.report.readings += watching.readings
            self.report.met += watching.met
            found = rows_of(out)
            self.report.rows = found.total()
            self.report.differences += differences(found, wanted)
            if sum(self.report.kills.values()) >= times:
                break
        else:
            raise SystemExit(f"only {self.report.kills.total()} of {times} kills in {MOST_ROUNDS} rounds")
        self.report.seconds = time.monotonic() - began

    def _kill_first_pass(self, out: Path, usual: Undisturbed, times: int) -> None:
        moments = sorted(self.random.uniform(usual.first_part, usual.ended) for _ in range(times))
        for turn, moment in enumerate(moments):
            count, wait = usual.reached(moment)
            kind = KINDS[(turn + self.report.rounds) % len(KINDS)]
            if not self._kill_one(out, kind, max(1, count - written(out)), wait):
                return  # it came to its end

    def _kill_second_pass(self, out: Path, usual: Undisturbed, left: int, of: int) -> None:
        for turn in range(min(left, of)):
            count, wait = usual.reached(self.random.uniform(usual.done[0], usual.ended))
            kind = SECOND_KINDS[turn % len(SECOND_KINDS)]
            self._kill_one(out, kind, count if kind == "any moment" else 1, wait, "--retry-failed")

    def _kill_one(self, out: Path, kind: str, count: int, wait: float, *flags: str) -> bool:
        """Start a run and kill it once it has finished ``count`` documents, or at the next point of that kind then.

        False when it ended before.
        """
        self.report.restarts += 1
        held = () if kind == "any moment" else ("--pause-at", kind, "--after", str(count))
        with self.log.open("ab") as log:
            victim = Victim(self.documents, out, *self.flags, *flags, *held, log=log)
            try:
                if not self._reaches(victim, kind, count, wait):
                    self._check(victim.wait())
                    return False
            finally:
                victim.kill()
        self.report.kills[kind] += 1
        return True

    def _reaches(self, victim: Victim, kind: str, count: int, wait: float) -> bool:
        done = 0
        for _, word in victim.tells():
            done += word == "done"
            if word == "ended":
                return False
            if word == "paused":
                return True
            if kind == "again" and word == "again":  # the next attempt comes a second later
                time.sleep(self.random.uniform(0.0, 1.3))
                return victim.process.poll() is None
            if kind == "any moment" and word == "done" and done == count:
                time.sleep(wait)
                return victim.process.poll() is None
        return False

    def _to_end(self, out: Path, *flags: str) -> None:
        self.report.restarts += 1
        self._check(run_to_end(self.documents, out, *self.flags, *flags, log=self.log))

    def _check(self, code: int) -> None:
        if code not in (0, 1):  # 1: some documents are broken
            self.report.codes.append(code)


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """A Prefect server for the flows, with its database in a file: one that is up already when a run starts."""
    with prefect_on(f"sqlite+aiosqlite:///{folder}/prefect.db", folder, os.environ) as server:
        kept = dict(os.environ)
        os.environ.update({name: text for name, text in server.environment.items() if name.startswith("PREFECT")})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(kept)


def show(report: Report) -> None:
    rows: list[tuple[str, object]] = [(f"kills {SAID[kind]}", report.kills[kind]) for kind in SAID]
    rows += [
        ("kills", report.kills.total()),
        ("starts", report.restarts),
        ("rounds into an empty folder", report.rounds),
        ("rows", report.rows),
        ("differences", len(report.differences)),
        ("readings meanwhile", report.readings),
        ("what no reader may meet", len(report.met)),
        ("runs that ended in an error", len(report.codes)),
        ("seconds", f"{report.seconds:.0f}"),
    ]
    print(f"\n{report.runner}\n{table(rows)}")
    for line in (*report.differences[:6], *map(str, report.met[:6])):
        print(f"  {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="kills of the direct runner (default: %(default)s)")
    parser.add_argument("--flow-times", type=int, help="kills of the Prefect flow (default: a fifth)")
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="a folder for the files (default: the system's)")
    given = parser.parse_args()
    flow_times = given.times // 5 if given.flow_times is None else given.flow_times
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="docflow-kill-", dir=given.scratch) as name:
        folder = Path(name)
        os.environ["DOCFLOW_CACHE_DIR"] = str(folder / "cache")
        papers.make(folder / "documents", given.documents)
        direct = Killing("direct", folder, 0.05, given.seed)
        first, second = direct.undisturbed(keep=True)
        wanted = rows_of(folder / "undisturbed")
        print(f"undisturbed: {wanted.total()} rows, {first.ended:.1f} s, first part after {first.first_part:.1f} s")
        reports = [direct.report]
        if given.times:
            direct.kill(given.times, first, second, wanted)
            show(direct.report)
        if flow_times:
            with prefect_server(folder):
                flow = Killing("prefect", folder, 0.25, given.seed)  # longer than Prefect needs to come up
                flow.kill(flow_times, *flow.undisturbed(keep=False), wanted)
            show(flow.report)
            reports.append(flow.report)
        logs = "\n".join(path.read_text(errors="replace")[-3000:] for path in folder.glob("*.log"))
    right = all(report.right for report in reports)
    if not right:
        print(logs, file=sys.stderr)
    print(
        json.dumps(
            {
                "kills": sum(report.kills.total() for report in reports),
                "by_kind": {report.runner: dict(report.kills) for report in reports},
                "starts": sum(report.restarts for report in reports),
                "rows": wanted.total(),
                "differences": sum(len(report.differences) for report in reports),
                "readings": sum(report.readings for report in reports),
                "met": sum(len(report.met) for report in reports),
                "failed_runs": sum(len(report.codes) for report in reports),
                "seconds": round(time.monotonic() - began, 1),
                "right": right,
            }
        )
    )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
