"""Dask as a run uses it: workers of this machine, started and ended with the run, or those of a running cluster."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import distributed
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.security import Security

from docflow.errors import UsageError, WorkerDied
from docflow.runs import dask_work
from docflow.runs.orders import Job, Order, Outcome, own_version
from docflow.runs.sessions import another_version
from docflow.settings import without_credentials

log = logging.getLogger("docflow.runs")

CONNECT_SECONDS = 5.0
START_SECONDS = 120.0
"""Longest time for the first of our own workers to come up: a few seconds, more on a busy machine."""
DEATHS = 2
"""How many of our own workers may die over one order before it is said to have killed them."""
WATCH_SECONDS = 0.5
COUNT_SECONDS = 1.0
END_SECONDS = 5.0
PREFIX = "docflow-dask-"
SWEEP_SECONDS = 3600.0
"""A folder of keys that has been left so long is nobody's any more: a run touches its own all along."""

_TLS = (
    "Name them in Dask's configuration, as distributed.comm.tls.ca-file, client.cert and client.key, or in the "
    "environment: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ..._TLS__CLIENT__CERT and ..._TLS__CLIENT__KEY."
)
_THERE = "Is the scheduler running, and is this its address? dask scheduler tells it when it starts."


class WorkersDied(Exception):
    """Worker after worker died over an order."""


class Cluster:
    """The workers that a run sends its orders to. Safe to call from several threads."""

    def __init__(self, client: distributed.Client, told: Callable[[dict[str, Any]], None]) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._counted_at = -COUNT_SECONDS
        self._threads: dict[str, int] = {}
        client.subscribe_topic(dask_work.TOPIC, lambda event: told(event[1]))

    @property
    def threads(self) -> int:
        """How many orders the workers work on at once: their threads, all together."""
        return sum(self._nthreads().values())

    @property
    def workers(self) -> int:
        return len(self._nthreads())

    def _nthreads(self) -> dict[str, int]:
        """The threads of each worker, as the scheduler said it not long ago."""
        with self._lock:
            if time.monotonic() - self._counted_at >= COUNT_SECONDS:
                with contextlib.suppress(OSError, TimeoutError):  # away for a moment: as before
                    self._threads = self._client.nthreads()
                self._counted_at = time.monotonic()
            return self._threads

    def check(self) -> None:
        """Raises UsageError where a worker has no docflow, or another version of it."""
        found = self._client.run(own_version, on_error="return")
        for address, version in found.items():
            if isinstance(version, ImportError):
                raise UsageError(
                    f"the worker {address} has no docflow", hint="Install docflow[dask] on every worker."
                ) from version
            if version != own_version():
                raise another_version(f"the worker {address}", str(version))

    def do(self, order: Order, given_up: Callable[[], bool]) -> Outcome | None:
        """Have an order done by a worker; None once ``given_up`` says that nobody waits for it any more.

        Raises WorkersDied where worker after worker died of it, WorkerDied where the scheduler is gone, and UsageError
        where the workers lack what they need.
        """
        future = self._client.submit(dask_work.extract_order, order, key=order.key, pure=False)
        try:
            while True:
                try:
                    outcome: Outcome = future.result(timeout=WATCH_SECONDS)
                except TimeoutError:
                    if self._client.status not in ("running", "connecting"):
                        raise CommClosedError("no connection") from None
                    if given_up():
                        return None
                    continue
                return outcome
        except KilledWorker as error:
            raise WorkersDied(f"{error.allowed_failures + 1} workers died over it") from error
        except (CancelledError, CommClosedError, OSError) as error:
            raise WorkerDied(
                "the scheduler of Dask is gone", hint="What is done is kept; the same command goes on from there."
            ) from error
        except (ImportError, AttributeError) as error:  # what was sent names what is not there
            raise UsageError(
                f"the workers lack what the run needs: {error}", hint="Install docflow[dask] and the program there too."
            ) from error
        finally:
            future.release()

    def end_run(self, run_id: str) -> None:
        """Tell the workers that a run has ended, or is to end now."""
        with contextlib.suppress(Exception):  # BLE: whoever is away closes what it has open by itself, a little later
            self._client.run(dask_work.end_run, run_id, on_error="ignore")

    def close_places(self, run_id: str, labels: list[str], most: int) -> None:
        """Let the scheduler forget the places that a run had at servers."""
        for label in labels:
            with contextlib.suppress(Exception):
                place = distributed.Semaphore(
                    most,
                    dask_work.places_name(run_id, label),
                    scheduler_rpc=self._client.scheduler,
                    loop=self._client.loop,
                )
                place.close()


def check_that_it_can_be_sent(job: Job) -> None:
    """Raises UsageError for a job that no other process could take."""
    try:
        distributed.protocol.pickle.dumps(job)
    except Exception as error:  # a program of the user's may hold anything
        raise UsageError(
            f"the program cannot be sent to workers ({type(error).__name__})",
            hint="Name it, as in path/to/file.py:name or package.module:name.",
        ) from error


# --- a cluster that is there ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def running_cluster(address: str) -> Iterator[distributed.Client]:
    """A client of the cluster at an address. Raises UsageError where none answers."""
    shown = without_credentials(address)
    try:
        with ThreadPoolExecutor(1) as thread:  # the caller's may have an event loop of its own
            thread.submit(asyncio.run, _greet(address)).result()
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="docflow")
    except (OSError, TimeoutError) as error:
        raise UsageError(f"there is no Dask cluster at {shown}", hint=_THERE) from error
    except (ValueError, TypeError, RuntimeError) as error:  # an address that is none; TLS that is not set up
        if address.startswith("tls://"):
            raise UsageError(f"the Dask cluster at {shown} wants keys for TLS: {error}", hint=_TLS) from error
        raise UsageError(f"the Dask cluster at {shown} cannot be used: {error}", hint=_THERE) from error
    with client:
        yield client


async def _greet(address: str) -> None:
    """Connect and be answered. A client waits for that without end, and a web server, say, never answers."""
    arguments = Security().get_connection_args("client")
    async with asyncio.timeout(2 * CONNECT_SECONDS):
        greeted = await distributed.comm.connect(address, timeout=CONNECT_SECONDS, **arguments)
    greeted.abort()


# --- workers of our own ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def own_workers(count: int) -> Iterator[distributed.Client]:
    """A client of as many worker processes on this machine, which end with it. Raises UsageError.

    They listen on loopback and take only what is encrypted with keys that nobody else has: whoever could talk to them
    could have any code run.
    """
    security = Security.temporary()
    config = {
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        "distributed.scheduler.locks.lease-validation-interval": "1s",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(config))
        scheduler = stack.enter_context(
            distributed.LocalCluster(
                n_workers=0,
                security=security,
                protocol="tls://",
                # No dashboard. Its port is asked for all the same, and Dask's own may be taken by another cluster.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.CRITICAL,
            )
        )
        workers = _Workers(scheduler.scheduler_address, security, count)
        stack.callback(workers.end)
        client = stack.enter_context(
            distributed.Client(scheduler.scheduler_address, security=security, set_as_default=False, name="docflow")
        )
        workers.wait_for_one(client)
        yield client


def _sweep() -> None:
    """Take away what runs left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            status = folder.stat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > SWEEP_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


class _Workers:
    """Worker processes, each in a session of its own: Ctrl-C is for the run. One that dies is replaced."""

    def __init__(self, address: str, security: Security, count: int) -> None:
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # for this user alone
        self._address = address
        keys = security.get_tls_config_for_role("worker")
        self._environment = os.environ | {
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(self._keep("ca.pem", keys["ca_file"])),
            "DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT": str(self._keep("cert.pem", keys["cert"])),
            "DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY": str(self._keep("key.pem", keys["key"])),
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        }
        self._ended = threading.Event()
        self._started = 0
        self._lock = threading.Lock()
        self._processes = [self._start() for _ in range(count)]
        threading.Thread(target=self._replace, name="dask-workers", daemon=True).start()

    def _keep(self, name: str, content: str) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(content, encoding="ascii")
        return path

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", self._address, "--no-nanny"]
        command += ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--death-timeout", f"{START_SECONDS:g}"]
        command += ["--name", f"docflow-{self._started}", "--local-directory", str(self._folder)]
        with self._log.open("ab") as file:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def _log(self) -> Path:
        return self._folder / "workers.log"

    def wait_for_one(self, client: distributed.Client) -> None:
        """Wait until one is there. Raises UsageError where none comes up."""
        deadline = time.monotonic() + START_SECONDS
        while not client.nthreads():
            ended = [code for process in self._processes if (code := process.poll()) is not None]
            if ended or time.monotonic() > deadline:
                lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise UsageError(
                    f"the workers of Dask do not come up: {lines[-1] if lines else 'they say nothing'}",
                    hint="--runner direct does without.",
                )
            time.sleep(0.05)

    def _replace(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            os.utime(self._folder)  # somebody's
            with self._lock:
                for at, process in enumerate(self._processes):
                    if process.poll() is not None and not self._ended.is_set():
                        log.warning("a worker of Dask ended with code %d; another takes its place", process.returncode)
                        self._processes[at] = self._start()

    def end(self) -> None:
        """End them, and all that they have written."""
        self._ended.set()
        with self._lock:
            for process in self._processes:
                process.terminate()
            deadline = time.monotonic() + END_SECONDS
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
