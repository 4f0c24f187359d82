"""A Prefect server on PostgreSQL, and a worker, as processes of their own: what a team has."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 240.0
"""A server that makes its tables, on a machine that has much else to do."""


def postgres_binaries() -> Path | None:
    """Where initdb and postgres are: Debian keeps them out of the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def postgres(binaries: Path) -> Iterator[str]:
    """A PostgreSQL of the tests' own; the URL of an empty database."""
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # it refuses to run as root
        user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
        as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    with tempfile.TemporaryDirectory(prefix="docflow-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        if as_user:
            shutil.chown(folder, as_user["user"])
        data, port = f"{folder}/data", free_port()
        make = [binaries / "initdb", "-D", data, "-U", "docflow", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)
        serve = [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        with Path(f"{folder}.log").open("wb") as log:
            process = subprocess.Popen(serve, stdout=log, stderr=log, cwd=folder, **as_user)
        try:
            make = [binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "docflow", "prefect"]
            wait_for(
                lambda: subprocess.run(make, stderr=subprocess.DEVNULL, check=False).returncode == 0, "PostgreSQL", 60
            )
            yield f"postgresql+asyncpg://docflow@127.0.0.1:{port}/prefect"
        finally:
            process.send_signal(signal.SIGINT)  # its fast shut-down
            process.wait(30)
            Path(f"{folder}.log").unlink()


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
def prefect_on(database: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Prefect]:
    """A Prefect server that keeps all in a database."""
    port = free_port()
    kept = {key: value for key, value in environment.items() if not key.startswith("PREFECT")}
    home = {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    with (
        (folder / "server.log").open("wb") as log,
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
