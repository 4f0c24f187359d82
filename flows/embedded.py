"""Prefect without a server of the user's: docflow's own, with its database in docflow's cache.

The user's ``~/.prefect`` is never touched, nothing is sent anywhere, and what Prefect logs goes to a file beside its
database. Each run has a home of its own while it lasts, so that two runs at once do not share a database.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from docflow.errors import StorageError

START_SECONDS = 90.0
"""Longest time for the server to come up: 8 to 20 s on two busy cores, more where the database is new."""
LOG = "prefect.log"

_LOGGING = """\
version: 1
disable_existing_loggers: false
formatters:
  plain:
    format: "%(asctime)s %(process)d %(levelname)s %(name)s - %(message)s"
handlers:
  file:
    class: logging.FileHandler
    filename: {log}
    delay: true
    formatter: plain
  api:
    class: prefect.logging.handlers.APILogHandler
loggers:
  prefect:
    level: WARNING
{runs}  prefect.extra:
    level: WARNING
    propagate: false
root:
  level: WARNING
  handlers: [file]
"""


class ServerUnavailable(Exception):
    """The embedded Prefect server did not come up."""


_TO_SERVER = """\
  prefect.flow_runs:
    level: INFO
    handlers: [api]
  prefect.task_runs:
    level: INFO
    handlers: [api]
"""


class Home:
    """A folder for Prefect that this process has for itself until it is closed."""

    def __init__(self, cache_dir: Path, *, logs_to_server: bool = False) -> None:
        """Take the first free home. With ``logs_to_server``, Prefect keeps the logs of runs too.

        Raises ServerUnavailable when the cache cannot be written.
        """
        try:
            self.folder, self.lock = _free_home(cache_dir / "prefect")
            self.logging = self.folder / "logging.yml"
            runs = _TO_SERVER if logs_to_server else ""
            settings = _LOGGING.format(log=json.dumps(str(self.folder / LOG)), runs=runs)
            self.logging.write_text(settings, encoding="utf-8")
            log = self.folder / LOG
            if log.exists() and log.stat().st_size > 1 << 20:
                log.unlink()
        except (OSError, StorageError) as error:
            raise ServerUnavailable(f"its folder in the cache cannot be written: {error}") from error

    def close(self) -> None:
        """Let another run have it (once the server has ended too)."""
        os.close(self.lock)

    @property
    def environment(self) -> dict[str, str]:
        """What Prefect is to know before it is imported."""
        return {
            **self.quiet,
            "PREFECT_HOME": str(self.folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        }

    @property
    def quiet(self) -> dict[str, str]:
        """What keeps Prefect's log out of the user's sight: it goes to a file in the home."""
        return {"PREFECT_LOGGING_SETTINGS_PATH": str(self.logging)}


def _free_home(root: Path) -> tuple[Path, int]:
    """The first home that no other process holds, and the lock on it."""
    number = 0
    while True:
        folder = root / str(number)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            number += 1
            continue
        return folder, lock


class EmbeddedServer:
    """A Prefect server for one run; a context manager. Starting returns at once, ``wait`` tells when it answers."""

    def __init__(self, home: Home, *, schedules: bool = False) -> None:
        """With ``schedules`` it begins runs at their time. Raises ServerUnavailable when it cannot be started."""
        self._home = home
        self.password = f"docflow:{secrets.token_hex(16)}"  # on a shared machine, others can reach the port too
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        environment |= home.environment | {
            "PREFECT_SERVER_API_AUTH_STRING": self.password,
            "PREFECT_UI_ENABLED": "false",
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
            "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
        }
        if not schedules:
            environment |= {
                "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
                "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
            }
        try:
            with (home.folder / LOG).open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "docflow.flows.server"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                    pass_fds=(home.lock,),  # the home is taken until this process has ended too
                    start_new_session=True,  # Ctrl-C is for the run, which ends the server when it is done
                )
        except OSError as error:
            raise ServerUnavailable(f"it cannot be started: {error}") from error
        assert self._process.stdout is not None
        self._port = self._process.stdout.readline().strip().decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def stop(self) -> None:
        """End the process, if it still runs."""
        self._process.kill()
        self._process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What Prefect is to know before it is imported, to use this server."""
        return self._home.environment | {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.password}

    @property
    def url(self) -> str:
        """Where the server's API is."""
        return f"http://127.0.0.1:{self._port}/api"

    def wait(self, meanwhile: Callable[[], bool] = lambda: True) -> bool:
        """Wait until the server answers, and call ``meanwhile`` often: when that is False, waiting has no more point.

        Whether the server answers. Raises ServerUnavailable.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None:
                raise ServerUnavailable(f"it ended with code {self._process.returncode}; see {self._home.folder / LOG}")
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"it did not come up within {START_SECONDS:g} s; see {self._home.folder / LOG}")
            if not meanwhile():
                return False
            time.sleep(0.2)
        return True

    def answers(self) -> bool:
        """Whether it answers now."""
        # A proxy that the environment names has no business with this machine's own port.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def within(values: dict[str, str]) -> Iterator[None]:
    """Within it, these environment variables are set."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
