"""The processes of these tests: one that is killed with all that it started, and one that reads meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from docflow.storage.places import Place

ROOT = Path(__file__).resolve().parents[2]


class Victim:
    """A run in a process group of its own. ``said`` gives what it tells, each with the time (``time.monotonic``)."""

    def __init__(
        self,
        documents: Path,
        out: Place,
        *flags: str,
        log: IO[bytes],
        environment: Mapping[str, str] | None = None,
        **how: Any,
    ) -> None:
        reading, writing = os.pipe()
        self.began = time.monotonic()
        command = [sys.executable, "-m", "tests.chaos.victim", str(documents), str(out), "--tell", str(writing), *flags]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env=dict(environment or os.environ),
            pass_fds=(writing,),
            start_new_session=True,
            **how,
        )
        os.close(writing)
        self.said: queue.Queue[tuple[float, str]] = queue.Queue()
        self._told = threading.Thread(target=self._hear, args=(reading,), daemon=True)
        self._told.start()

    def _hear(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "r") as lines:
            for line in lines:
                self.said.put((time.monotonic(), line.strip()))
        self.said.put((time.monotonic(), "ended"))

    def tells(self, wait_seconds: float = 120.0) -> Iterator[tuple[float, str]]:
        """What it tells, up to and with ``ended``."""
        while True:
            moment = self.said.get(timeout=wait_seconds)
            yield moment
            if moment[1] == "ended":
                return

    def wait(self, seconds: float = 300.0) -> int:
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(seconds)
        self._told.join(10)
        return code

    def kill(self) -> None:
        """End it and all below it at once, as a machine that dies would."""
        kill_all(self.process)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a process, its group, and all that it started."""
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    psutil.wait_procs(below, timeout=10)


class Watching:
    """A reader of a dataset in a process of its own, while the block lasts; then ``met`` and ``readings``."""

    def __init__(self, out: Place) -> None:
        self._out = out
        self.met: list[dict[str, Any]] = []
        self.readings = 0

    def __enter__(self) -> Watching:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.watching", str(self._out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        told, _ = self._process.communicate(timeout=60)
        said = [json.loads(line) for line in told.splitlines()]
        self.met = [one for one in said if "met" in one]
        if self._process.returncode or not said:
            self.met.append({"met": "the reader itself ended", "code": self._process.returncode})
        else:
            self.readings = said[-1]["readings"]


def run_to_end(documents: Path, out: Place, *flags: str, log: Path, **how: Any) -> int:
    """A run that nothing disturbs; its exit code."""
    with log.open("ab") as file:
        victim = Victim(documents, out, *flags, log=file, **how)
        try:
            return victim.wait()
        except BaseException:
            victim.kill()
            raise


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Names and values, one a line."""
    return "\n".join(f"{name:32}{value!s:>14}" for name, value in rows)
