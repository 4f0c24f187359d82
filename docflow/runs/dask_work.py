"""What runs on a worker of Dask, by the name of its function: the orders of runs, and the end of a run."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator

import dask
from distributed import Semaphore, Worker, get_worker

from docflow.engines.members import Spec
from docflow.runs.model import Run
from docflow.runs.orders import Order, Outcome
from docflow.runs.sessions import sessions

TOPIC = "docflow"
"""Where workers tell how far they are with an order."""
TELL_SECONDS = 0.5
LEASE_SECONDS = 10.0
"""A place at a server that a dead worker held is free again after this; a living one renews its lease all along."""
LOOK_SECONDS = 5.0
"""How long a request waits for a place before it asks again: a run that has ended has no places any more."""


def extract_order(order: Order) -> Outcome:
    """Do an order on this worker. Raises nothing of docflow's: an error is in the outcome."""
    worker = get_worker()
    told_at = 0.0

    def counted(run: Run) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= TELL_SECONDS:
            told_at = now
            said = {"run": order.job.run_id, "order": order.key, "files": run.files, "counts": dict(run.counts)}
            worker.log_event(TOPIC, said)

    requests = order.job.options.settings.servers.requests
    return sessions.do(
        order,
        Leases(worker, order.job.run_id, requests),
        counted,
        cores=order.job.cores or worker.state.nthreads,
        where=f"the worker {worker.address}",
    )


def end_run(run_id: str) -> None:
    """Begin no more for a run, and close what it has open here; returns at once."""
    sessions.end(run_id)


# --- places at servers ----------------------------------------------------------------------------------------------


class Leases:
    """Places at servers that all workers of a run share: leases of Dask's scheduler, which end when a worker dies."""

    def __init__(self, worker: Worker, run_id: str, most: int) -> None:
        """At most ``most`` requests are at one server at once."""
        self._worker, self._run_id, self._most = worker, run_id, most
        self._lock = threading.Lock()
        self._semaphores: dict[str, Semaphore] = {}

    @contextlib.contextmanager
    def at(self, server: Spec) -> Iterator[None]:
        """Holds a place at a server; entering waits until there is one."""
        with self._lock:
            semaphore = self._semaphores.get(server.label)
            if semaphore is None:
                semaphore = self._semaphores[server.label] = self._make(server.label)
        while not semaphore.acquire(timeout=LOOK_SECONDS):
            pass
        try:
            yield
        finally:
            semaphore.release()

    def _make(self, label: str) -> Semaphore:
        with dask.config.set({"distributed.scheduler.locks.lease-timeout": f"{LEASE_SECONDS}s"}):
            semaphore = Semaphore(
                max_leases=self._most,
                name=places_name(self._run_id, label),
                scheduler_rpc=self._worker.scheduler,
                loop=self._worker.loop,
            )
            semaphore.register()
        return semaphore


def places_name(run_id: str, label: str) -> str:
    """The name of the places that a run has at a server."""
    return f"docflow-{run_id}-{hashlib.sha256(label.encode()).hexdigest()[:12]}"
