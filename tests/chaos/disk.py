"""A run whose disk is full says so, keeps what it had, and goes on once there is room.

    python tests/chaos/disk.py [CASE ...]

Each case is a run of 300 small documents, which is started again with more room until it comes to its end:

- limit: the process may write no file as large as a part (RLIMIT_FSIZE, as ``ulimit -f`` sets it);
- out: OUT is on a small file system (a tmpfs, for which this needs to be root) that is all but full;
- flow: the same, as a Prefect flow;
- cache: docflow's cache, where its Prefect server has its database, is on the full file system, and OUT is not.

A reader reads all along. Prints a table and, as its last line, a JSON object; exit code 1 for any difference to a run
that had room, for whatever a reader must not meet, for a temporary file that is left, a traceback, or an end of a run
that says nothing of room. Cases that the machine does not allow are named as not tried.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
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
from tests.chaos.process import Watching, run_to_end

DOCUMENTS = 300
SIZE = 8 << 20
"""Of the small file system, in bytes."""
ROOM = 64 << 10
"""Bytes that become free for each further start; for a flow, which takes longer to start, four times as many."""
MOST_STARTS = 40
SAID = ("no space left", "may write")
ENDED_FOR_ROOM = 3
"""What the victim ends with when docflow raised an error."""


@dataclass
class Case:
    """What came of one."""

    name: str
    starts: int = 0
    rows: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    readings: int = 0
    seconds: float = 0.0
    tried: bool = True

    @property
    def right(self) -> bool:
        return not (self.differences or self.wrong)


class Trial:
    """The same documents for each case."""

    def __init__(self, folder: Path, wanted: Counter[str]) -> None:
        self.folder, self.documents, self.wanted = folder, folder / "documents", wanted

    def start(self, case: Case, out: Path, *flags: str, **how: Any) -> int:
        """One start, whose end is looked at: its exit code."""
        log = self.folder / f"{case.name}-{case.starts}.log"
        case.starts += 1
        code = run_to_end(self.documents, out, "--seconds", "0.01", *flags, log=log, **how)
        said = log.read_text(errors="replace")
        if code not in (0, 1, ENDED_FOR_ROOM):
            case.wrong.append(f"a run ended with {code}: {said[-600:]}")
        if code == ENDED_FOR_ROOM and not any(words in said for words in SAID):
            case.wrong.append(f"a run ended without a word of room: {said[-600:]}")
        if "Traceback" in said:
            case.wrong.append(f"a traceback: {said[-600:]}")
        case.wrong += [f"left behind: {path}" for path in out.rglob("*.tmp")]
        case.rows.append(written(out))
        return code

    def limit(self, case: Case) -> None:
        """Starts with a limit for the size of a file that is raised each time."""
        out = self.folder / case.name
        with Watching(out) as watching:
            for most in (2 << 10, 8 << 10, 16 << 10, resource.RLIM_INFINITY):

                def confine(most: int = most) -> None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

                code = self.start(case, out, preexec_fn=confine)
        self.end(case, out, watching, code)
        if case.starts < 2 or not any(rows < DOCUMENTS for rows in case.rows):
            case.wrong.append("the limit was never reached")

    def out(self, case: Case, *flags: str, room: int = ROOM) -> None:
        """Starts into a file system that has a little more room each time."""
        with small_disk(self.folder / f"{case.name}-disk") as disk:
            out = disk / "out"
            ballast = disk / "ballast"
            with Watching(out) as watching:
                code = ENDED_FOR_ROOM
                for _ in range(MOST_STARTS):
                    self._fill(ballast, disk, room)
                    code = self.start(case, out, *flags)
                    if code != ENDED_FOR_ROOM:
                        break
            self.end(case, out, watching, code)
        if case.starts < 2:
            case.wrong.append("the disk was never full")

    def cache(self, case: Case) -> None:
        """One flow whose server has no room for its database."""
        with small_disk(self.folder / f"{case.name}-disk") as disk:
            out = self.folder / case.name
            self._fill(disk / "ballast", disk, ROOM)
            environment = {**os.environ, "DOCFLOW_CACHE_DIR": str(disk / "cache")}
            with Watching(out) as watching:
                code = self.start(case, out, "--runner", "prefect", environment=environment)
            self.end(case, out, watching, code)

    def _fill(self, ballast: Path, disk: Path, room: int) -> None:
        """Take all of a file system but ``room`` bytes."""
        ballast.unlink(missing_ok=True)
        state = os.statvfs(disk)
        ballast.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - room)))

    def end(self, case: Case, out: Path, watching: Watching, code: int) -> None:
        if code == ENDED_FOR_ROOM:
            case.wrong.append("it never came to its end")
        case.wrong += [str(one) for one in watching.met]
        case.readings = watching.readings
        case.differences = differences(rows_of(out), self.wanted)
        if case.rows != sorted(case.rows):
            case.wrong.append(f"rows went: {case.rows}")


class NotAllowed(Exception):
    """This machine does not let us make a file system."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of ``SIZE`` bytes. Raises NotAllowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotAllowed(str(error)) from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def main() -> int:
    names = ("limit", "out", "flow", "cache")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(names)} (default: all)")
    parser.add_argument("--scratch", type=Path, help="a folder for the files (default: the system's)")
    given = parser.parse_args()
    chosen = given.cases or names
    if unknown := set(chosen).difference(names):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    began = time.monotonic()
    cases = [Case(name) for name in chosen]
    with tempfile.TemporaryDirectory(prefix="docflow-disk-", dir=given.scratch) as name:
        folder = Path(name)
        for key in [key for key in os.environ if key.startswith("PREFECT")]:
            del os.environ[key]
        os.environ["DOCFLOW_CACHE_DIR"] = str(folder / "own-cache")
        papers.make(folder / "documents", DOCUMENTS)
        run_to_end(folder / "documents", folder / "undisturbed", "--seconds", "0.01", log=folder / "undisturbed.log")
        trial = Trial(folder, rows_of(folder / "undisturbed"))
        for case in cases:
            at = time.monotonic()
            try:
                match case.name:
                    case "limit":
                        trial.limit(case)
                    case "cache":
                        trial.cache(case)
                    case "flow":
                        trial.out(case, "--runner", "prefect", room=4 * ROOM)
                    case _:
                        trial.out(case)
            except NotAllowed as error:
                case.tried = False
                print(f"{case.name}: not tried, a file system cannot be made here ({error})")
            case.seconds = round(time.monotonic() - at, 1)
    print(f"{'':8}{'starts':>8}{'rows':>7}{'differences':>13}{'readings':>10}{'wrong':>7}{'seconds':>9}")
    for case in cases:
        print(
            f"{case.name:8}{case.starts:>8}{max(case.rows, default=0):>7}{len(case.differences):>13}{case.readings:>10}"
            f"{len(case.wrong):>7}{case.seconds:>9}"
        )
        for line in (*case.differences[:4], *case.wrong[:4]):
            print(f"  {line}")
    right = all(case.right for case in cases)
    found = [
        {
            "case": case.name,
            "tried": case.tried,
            "starts": case.starts,
            "rows_after_each": case.rows,
            "differences": len(case.differences),
            "readings": case.readings,
            "wrong": len(case.wrong),
            "seconds": case.seconds,
        }
        for case in cases
    ]
    print(json.dumps({"cases": found, "seconds": round(time.monotonic() - began, 1), "right": right}))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
