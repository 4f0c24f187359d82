"""A Prefect server on PostgreSQL, and a worker, as processes of their own: what a team has."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from docflow.deploy.local.process import free_port

START_SECONDS = 240.0
"""A server that makes its tables, on a machine that has much else to do."""


def postgres_binaries() -> Path | None:
    """Where initdb and postgres are: Debian keeps them out of the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


@contextlib.contextmanager
def postgres(binaries: Path) -> Iterator[str]:
    """A PostgreSQL of the tests' own; the URL of an empty database."""
    with Postgres(binaries) as server:
        yield server.url


class Postgres:
    """A PostgreSQL of the tests' own, with an empty database at ``url``; it can be killed and started again."""

    def __init__(self, binaries: Path) -> None:
        self._binaries, self._port = binaries, free_port()
        self._as_user: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
            self._as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        self.url = f"postgresql+asyncpg://docflow@127.0.0.1:{self._port}/prefect"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            folder = tempfile.TemporaryDirectory(prefix="docflow-pg-", dir="/tmp", ignore_cleanup_errors=True)
            self._folder = Path(cleanup.enter_context(folder))
            cleanup.callback(Path(f"{self._folder}.log").unlink, missing_ok=True)
            if self._as_user:
                shutil.chown(self._folder, self._as_user["user"])
            make = [self._binaries / "initdb", "-D", self._folder / "data", "-U", "docflow", "-A", "trust", "--no-sync"]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=self._folder, **self._as_user)
            self.start()
            cleanup.callback(self.stop)
            port = str(self._port)
            make = [self._binaries / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "docflow", "prefect"]
            wait_for(
                lambda: subprocess.run(make, stderr=subprocess.DEVNULL, check=False).returncode == 0, "PostgreSQL", 60
            )
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def start(self) -> None:
        """Start it on what data there is; returns before it answers."""
        place, port = self._folder, str(self._port)
        serve = [self._binaries / "postgres", "-D", place / "data", "-p", port, "-k", place, "-h", "127.0.0.1", "-F"]
        with Path(f"{place}.log").open("ab") as log:
            self._process = subprocess.Popen(serve, stdout=log, stderr=log, cwd=place, **self._as_user)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: its fast shut-down with SIGINT; with SIGQUIT at once, as if the machine had gone."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(30)


@dataclass(frozen=True)
class Prefect:
    """A running server. ``environment`` is what a user of it has set."""

    url: str
    environment: dict[str, str]

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST to the API; HTTPError where it refuses."""
        request = urllib.request.Request(
            f"{self.url}/{path}", data=json.dumps(body or {}).encode(), headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=60) as answer:
            return json.load(answer)

    def command(self, *arguments: str) -> None:
        """Run a command of Prefect's own."""
        command = [sys.executable, "-m", "prefect", *arguments]
        subprocess.run(command, check=True, env=self.environment, stdout=subprocess.DEVNULL, timeout=120)


@contextlib.contextmanager
def prefect_on(
    database: str, folder: Path, environment: Mapping[str, str], port: int | None = None
) -> Iterator[Prefect]:
    """A Prefect server that keeps all in a database."""
    port = port or free_port()
    kept = {key: value for key, value in environment.items() if not key.startswith("PREFECT")}
    home = {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    with (
        (folder / "server.log").open("ab") as log,
        running(command, kept | home | {"PREFECT_API_DATABASE_CONNECTION_URL": database}, log),
    ):
        prefect = Prefect(
            f"http://127.0.0.1:{port}/api", kept | home | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        )
        wait_for(lambda: answers(prefect), "the Prefect server", START_SECONDS)
        yield prefect


def answers(prefect: Prefect) -> bool:
    try:
        return prefect.get("health") is True
    except OSError:
        return False


@contextlib.contextmanager
def running(
    command: list[str], environment: Mapping[str, str], log: Any, **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, and all that it started in its group with it."""
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, **how)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(done: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
    """What ``done`` gives, as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (given := done()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.3)
    return given
