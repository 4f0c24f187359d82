"""A run that has begun, taken over by a Prefect flow: on the user's server, or on docflow's own.

Documents are in work from the beginning; Prefect comes up beside them. If it does not come up, or goes away, the run
goes on without it.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from docflow.flows.embedded import EmbeddedServer, Home, ServerUnavailable, within

from docflow.errors import DocflowError
from docflow.runs import Run, runner_of
from docflow.runs.execution import Execution
from docflow.settings import without_credentials

log = logging.getLogger("docflow.flows")

SHORT_SECONDS = 3.0
"""A run that is through by then is not worth the start of a server."""
END_SECONDS = 120.0
"""Once the last document is finished, how long the flow may take to write it and to tell its server."""
LEAVE_SECONDS = 15.0
"""The same after an interruption, when someone is waiting."""
AWAY_SECONDS = 10.0
"""The same while the server does not answer at all."""


def run_as_flow(execution: Execution, *, only_if_long: bool = False) -> Run:
    """The rest of a run as a Prefect flow. Raises what the run raises, nothing of Prefect's.

    With ``only_if_long``, a run that is through before docflow's own server would be up does not wait for it.
    """
    if only_if_long and execution.is_through(within_seconds=SHORT_SECONDS):
        return execution.run_direct()
    try:
        wanted = _have_prefect(execution, only_if_long)
    except ServerUnavailable as error:
        execution.run.notes.append(f"running without Prefect: {error}")
        wanted = False
    return _in_thread(execution) if wanted else execution.run_direct()


def is_inside_a_flow() -> bool:
    """Whether a flow or a task of someone's is running here. For programs that have imported Prefect."""
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


_own: EmbeddedServer | None = None
"""docflow's own server, once there is one: it serves every run of this process, and ends with it."""
_lost: str | None = None
"""Why it is gone, once it is: Prefect knows of no other, because it reads its settings when it is imported."""
_own_lock = threading.Lock()


def _have_prefect(execution: Execution, only_if_long: bool) -> bool:
    """See to it that Prefect is there: as the user has it, where he does have it; else with docflow's own server.

    Whether there is still something to do for it. Raises ServerUnavailable.
    """
    global _own, _lost
    with _own_lock:
        if _lost is not None:
            raise ServerUnavailable(_lost)
        if _own is None:
            if "prefect" in sys.modules:  # a program that uses Prefect itself: its settings stand
                return True
            with contextlib.ExitStack() as starting:
                home = starting.enter_context(contextlib.closing(Home(execution.options.settings.cache_dir)))
                if os.environ.get("PREFECT_API_URL"):
                    with within(home.quiet):
                        import prefect.main
                    _use_events()
                    return True
                server = starting.enter_context(EmbeddedServer(home))
                with within(server.environment):
                    import prefect.main  # noqa: F401 (Prefect reads its environment when it is imported)
                _use_events()
                _own = server
                # After Prefect's own farewells, which still want to reach the server.
                atexit.register(starting.pop_all().close)

        def is_wanted() -> bool:
            execution.write_whole_chunks()
            return not (execution.stopping or (only_if_long and execution.is_through()))

        try:
            return _own.wait(meanwhile=is_wanted)  # where that is False, it goes on coming up for the next run
        except ServerUnavailable as error:
            _own.stop()
            _lost = str(error)
            raise


def _in_thread(execution: Execution) -> Run:
    """Run the flow in a thread: signals stay docflow's, and a server that hangs cannot keep the run from ending."""
    faults: list[BaseException] = []
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(_run_flow, execution, faults), name="prefect-flow", daemon=True
    )
    thread.start()
    while thread.is_alive() and not execution.stopping and not execution.is_through(within_seconds=1):
        pass
    _wait_for_end(thread, LEAVE_SECONDS if execution.run.stopped else END_SECONDS)
    answers = _answers()
    if not answers:
        from docflow.flows.events import given_up

        given_up.set()
    if not faults and not thread.is_alive():
        return execution.summarise()
    fault = faults[0] if faults else TimeoutError() if answers else ConnectionError()
    if isinstance(fault, DocflowError):
        raise fault
    log.error("the flow ended: %r", fault)
    execution.run.notes.append(f"Prefect failed ({type(fault).__name__}); the run went on without it")
    return execution.run_direct()


def _wait_for_end(thread: threading.Thread, seconds: float) -> None:
    """Wait for a flow, while its server is there."""
    deadline = time.monotonic() + seconds
    answered = time.monotonic()
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(1)
        if _answers():
            answered = time.monotonic()
        elif time.monotonic() - answered > AWAY_SECONDS:
            return


def _answers() -> bool:
    """Whether the Prefect server answers, whatever it says."""
    if _own is not None:
        return _own.answers()
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:  # Prefect has started one for itself, in this process
        return True
    try:
        urllib.request.urlopen(f"{url}/health", timeout=5).close()  # noqa: S310 (the user's own setting)
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _use_events() -> None:
    from docflow.flows import events  # not before Prefect has read its settings

    events.use()


def _run_flow(execution: Execution, faults: list[BaseException]) -> None:
    from docflow.flows.events import given_up
    from docflow.flows.extract import begun, extract

    given_up.clear()
    options = execution.options
    begun.set(execution)
    named: dict[str, Any] = {
        "sources": [_told(source) for source in options.sources if isinstance(source, str | os.PathLike)],
        "out": _told(str(options.out or "")),
        "program": execution.run.program,
        "engine": [execution.run.engine],
        "limit": options.limit or None,
        "retry_failed": options.retry_failed,
        "redo_fallback": options.redo_fallback,
        "refresh": options.refresh,
        "runner": _told(runner_of(options)),
    }
    try:
        extract.with_options(retries=0)(**named)
        _flush()
    except BaseException as error:  # noqa: BLE001 (a thread's border: whoever waits for it gets the error)
        faults.append(error)


def _told(path: str | os.PathLike[str]) -> str:
    """A path as Prefect may keep it: bytes of a name that are no UTF-8 escaped, no credentials."""
    return without_credentials(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _flush() -> None:
    """Let Prefect send what it still holds, while there is a server to send it to."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=5)
