"""Schedules: ``docflow extract`` as a Prefect deployment, served by this process or run by the workers of a pool.

They stand on the Prefect server that the user's settings name. Where there is none, docflow's own server is brought up
beside the schedule that is served here, and ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import threading
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from docflow.flows.embedded import EmbeddedServer, Home, ServerUnavailable, within

from docflow.buckets import Place
from docflow.durations import duration
from docflow.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import FlowFilter
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner

FLOW = "docflow-extract"
OWN = "schedules.json"
"""In a home of docflow's own server: where it is, and its password, for ``docflow schedule list`` and the like."""
POLL_SECONDS = 3.0
RUNS_SHOWN = 20
PAGE = 100
"""Schedules asked for at a time."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When runs begin: by one of the three. ``rrule`` is an iCalendar rule, ``timezone`` such as Europe/Zurich."""

    cron: str | None = None
    interval_seconds: float | None = None
    rrule: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is run and when. In ``folder`` its runs work, and find docflow.toml."""

    name: str
    parameters: dict[str, Any]
    timing: Timing
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A schedule as it stands on a server. ``last`` is how the last run ended or stands."""

    name: str
    when: str
    paused: bool
    work_pool: str | None
    next_at: dt.datetime | None
    last: str
    sources: tuple[str, ...]
    out: str


# --- the server ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def prefect_ready(cache_dir: Path) -> Iterator[Home]:
    """Prefect, imported with the user's own settings, its log in a file. Raises UsageError."""
    try:
        home = Home(cache_dir, logs_to_server=True)
    except ServerUnavailable as error:
        raise UsageError(f"Prefect cannot be prepared: {error}") from error
    with contextlib.closing(home):
        with within(home.quiet):
            import prefect.main  # noqa: F401 (it reads its environment now)
        yield home


def configured_url() -> str | None:
    """The API that Prefect's own settings name (PREFECT_API_URL or a profile); None where there is none."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


@contextlib.contextmanager
def _clients(cache_dir: Path) -> Iterator[list[SyncPrefectClient]]:
    """Clients of the user's server, or else of those that serve schedules on this machine."""
    from prefect.client.orchestration import SyncPrefectClient, get_client

    with contextlib.ExitStack() as stack:
        if configured_url():
            yield [stack.enter_context(_reachable(get_client(sync_client=True)))]
            return
        clients = []
        for file in sorted((cache_dir / "prefect").glob(f"*/{OWN}")):
            with contextlib.suppress(OSError, ValueError, KeyError):  # its server has just ended
                own = json.loads(file.read_text(encoding="utf-8"))
                client = stack.enter_context(SyncPrefectClient(own["url"], auth_string=own["password"]))
                if client.api_healthcheck() is None:
                    clients.append(client)
        yield clients


@contextlib.contextmanager
def _reachable(client: SyncPrefectClient) -> Iterator[SyncPrefectClient]:
    """The client, once its server has answered. Raises UsageError."""
    with client:
        error = client.api_healthcheck()
        if error is not None:
            raise UsageError(
                f"the Prefect server at {_shown(str(client.api_url))} cannot be reached ({type(error).__name__})",
                hint="Start it (prefect server start), or see PREFECT_API_URL and prefect config view.",
            ) from error
        yield client


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


# --- making schedules ---------------------------------------------------------------------------------------------


def deployment_of(schedule: Schedule, *, work_pool: str | None = None) -> RunnerDeployment:
    """The schedule as Prefect takes it. Raises UsageError for a time that is none."""
    from docflow.flows.extract import extract
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    deployment = extract.to_deployment(
        schedule.name,
        schedules=[_prefect_schedule(schedule.timing)],
        parameters=schedule.parameters,
        # A run that is due while the one before is at work would find nothing to do but that one's documents.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=work_pool,
        tags=["docflow"],
    )
    assert isinstance(deployment, RunnerDeployment)  # no coroutine: nothing here is asynchronous
    return deployment


def _prefect_schedule(timing: Timing) -> Any:
    from prefect.client.schemas.schedules import construct_schedule
    from prefect.schedules import Cron, Interval, RRule

    if timing.timezone is not None and timing.timezone not in zoneinfo.available_timezones():
        raise UsageError(f"there is no time zone {timing.timezone!r}", hint="Write one such as Europe/Zurich or UTC.")
    zone = timing.timezone or "UTC"
    try:
        construct_schedule(
            interval=timing.interval_seconds, cron=timing.cron, rrule=timing.rrule, timezone=zone
        )  # only this tells what is wrong
    except ValueError as error:
        if timing.cron is not None:
            raise UsageError(
                f"{timing.cron!r} is no cron line",
                hint='Five fields: minute, hour, day, month, weekday, as in "0 2 * * *" for two in the night.',
            ) from error
        raise UsageError(
            f"{timing.rrule!r} is no recurrence rule", hint='As in iCalendar: "FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=2".'
        ) from error
    if timing.cron is not None:
        return Cron(timing.cron, timezone=zone)
    if timing.rrule is not None:
        return RRule(timing.rrule, timezone=zone)
    assert timing.interval_seconds is not None
    return Interval(timing.interval_seconds, timezone=zone)


def deploy(schedule: Schedule, work_pool: str) -> str:
    """Put the schedule on the user's server for the workers of a pool; the server's URL.

    One of the same name is replaced. Raises UsageError.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    deployment = deployment_of(schedule, work_pool=work_pool)
    if not configured_url():
        raise UsageError(
            "a work pool is on a Prefect server, and Prefect's settings name none",
            hint="Start one (prefect server start) and set PREFECT_API_URL, or leave out --work-pool to run it here.",
        )
    with _reachable(get_client(sync_client=True)) as client:
        try:
            pool = client.read_work_pool(work_pool)
        except ObjectNotFound as error:
            raise UsageError(
                f"there is no work pool {work_pool!r} on the Prefect server",
                hint=f"Make it: prefect work-pool create {work_pool} --type process",
            ) from error
        if pool.type == "process":
            deployment.job_variables = {"working_dir": str(schedule.folder)}
        deployment.apply(work_pool_name=work_pool)
        return _shown(str(client.api_url))


def serve(schedule: Schedule, home: Home, say: Callable[[str], None], when: str) -> None:
    """Run the schedule in processes of this one, until it is interrupted; then it is paused on its server.

    Without a server of the user's, on docflow's own. Raises UsageError.
    """
    deployment = deployment_of(schedule)
    with contextlib.ExitStack() as stack:
        if configured_url() is None:
            stack.enter_context(_own_server(home))
        _serve(deployment, say, when)


@contextlib.contextmanager
def _own_server(home: Home) -> Iterator[None]:
    """docflow's own server, known to Prefect in this process and to ``docflow schedule list`` in others."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        temporary_settings,
    )

    file = home.folder / OWN
    try:
        with EmbeddedServer(home, schedules=True) as server:
            server.wait()
            known = {
                PREFECT_API_URL: server.url,
                PREFECT_API_AUTH_STRING: server.password,
                PREFECT_HOME: str(home.folder),
                PREFECT_SERVER_ANALYTICS_ENABLED: False,
            }
            with temporary_settings(known):
                _forget_schedules()
                file.touch(mode=0o600)
                file.write_text(json.dumps({"url": server.url, "password": server.password}), encoding="utf-8")
                try:
                    yield
                finally:
                    file.unlink(missing_ok=True)
    except ServerUnavailable as error:
        raise UsageError(
            f"docflow's own Prefect server cannot be used: {error}",
            hint="Use one of yours: prefect server start, and set PREFECT_API_URL.",
        ) from error


def _forget_schedules() -> None:
    """Delete what earlier processes served in this home: they are gone."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for deployment in _deployments(client):
            client.delete_deployment(deployment.id)


def _serve(deployment: RunnerDeployment, say: Callable[[str], None], when: str) -> None:
    from prefect.client.orchestration import get_client

    ended = threading.Event()
    with _reachable(get_client(sync_client=True)) as client:
        runner = _runner()
        stands_as = runner.add_deployment(deployment)
        assert isinstance(stands_as, UUID)  # no coroutine: nothing here is asynchronous

        def deleted() -> None:
            say(f"schedule {deployment.name} was deleted: nothing more to run here")
            runner.pause_on_shutdown = False
            os.kill(os.getpid(), signal.SIGINT)

        say(f"schedule {deployment.name} runs here, {when}; Ctrl-C ends it")
        say(f"it stands on the Prefect server at {_shown(str(client.api_url))}")
        look = partial(_tell_runs, client, deployment.name, stands_as, say, deleted, ended)
        teller = threading.Thread(target=look, daemon=True)
        teller.start()
        # A shell that is no terminal's starts what runs behind it (&) with SIGINT ignored; SIGTERM would be, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(runner.start())
        finally:
            ended.set()
            teller.join(2 * POLL_SECONDS)


def _runner() -> Runner:
    from prefect.runner import Runner

    class Served(Runner):
        def handle_sigterm(self, *_: Any) -> None:
            """SIGTERM is as good as Ctrl-C: the schedule is paused, and runs at work write what is done."""
            signal.raise_signal(signal.SIGINT)

    return Served(pause_on_shutdown=True)


def _tell_runs(
    client: SyncPrefectClient,
    name: str,
    deployment: UUID,
    say: Callable[[str], None],
    deleted: Callable[[], None],
    ended: threading.Event,
) -> None:
    """Say of each run when it begins and how it ends; once the schedule is deleted, call ``deleted``."""
    from prefect.exceptions import ObjectNotFound

    told: dict[Any, str] = {}
    since = dt.datetime.now(dt.UTC)
    while not ended.wait(POLL_SECONDS):
        with contextlib.suppress(Exception):  # it is only told: the next look may succeed
            for run in _runs(client, name):
                state = run.state
                if state is None or state.timestamp < since or told.get(run.id) == state.name:
                    continue
                if state.is_scheduled() or state.is_pending():
                    continue
                told[run.id] = str(state.name)
                say(f"{run.name}: {state.name}{f', {state.message}' if state.message and state.is_final() else ''}")
            try:
                client.read_deployment(deployment)
            except ObjectNotFound:
                deleted()
                return


def _runs(client: SyncPrefectClient, name: str, *, coming: bool = False) -> list[Any]:
    """The last runs of a schedule that began, the newest first; or those to come, the next first."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    types = [kind for kind in StateType if (kind is StateType.SCHEDULED) is coming]
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[name])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types))),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC if coming else FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=1 if coming else RUNS_SHOWN,
    )


# --- those that are there -----------------------------------------------------------------------------------------


def listed(cache_dir: Path) -> list[Listed]:
    """The schedules of docflow on the user's server, or of those that are served on this machine. Raises UsageError."""
    with _clients(cache_dir) as clients:
        return [_listed(client, deployment) for client in clients for deployment in _deployments(client)]


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    found: list[DeploymentResponse] = []
    while len(page := _page(client, FlowFilter(name=FlowFilterName(any_=[FLOW])), len(found))) == PAGE:
        found += page
    return found + page


def _page(client: SyncPrefectClient, flow: FlowFilter, offset: int) -> list[DeploymentResponse]:
    from prefect.client.schemas.sorting import DeploymentSort

    return client.read_deployments(flow_filter=flow, sort=DeploymentSort.NAME_ASC, limit=PAGE, offset=offset)


def _listed(client: SyncPrefectClient, deployment: DeploymentResponse) -> Listed:
    coming = _runs(client, deployment.name, coming=True)
    past = [run for run in _runs(client, deployment.name) if run.state is not None]
    # One that was due while another was at work is cancelled before it begins, and says nothing of the documents.
    past = [run for run in past if run.run_count or not run.state.is_cancelled()] or past
    last = ""
    if past:
        last = str(past[0].state.name)
        if past[0].start_time is not None:
            last = f"{past[0].start_time.astimezone():%Y-%m-%d %H:%M} {last}"
    sources = deployment.parameters.get("sources") or ()
    return Listed(
        name=deployment.name,
        when=", ".join(_when(one.schedule) for one in deployment.schedules) or "only by hand",
        paused=deployment.paused or not any(one.active for one in deployment.schedules),
        work_pool=deployment.work_pool_name,
        next_at=coming[0].next_scheduled_start_time if coming else None,
        last=last,
        sources=tuple(map(str, sources)),
        out=str(deployment.parameters.get("out", "")),
    )


def _when(schedule: Any) -> str:
    for kind in ("cron", "rrule"):
        if (text := getattr(schedule, kind, None)) is not None:
            return f"{kind} {text} {schedule.timezone or 'UTC'}"
    return f"every {duration(schedule.interval.total_seconds())}"


@contextlib.contextmanager
def _named(cache_dir: Path, name: str) -> Iterator[tuple[SyncPrefectClient, DeploymentResponse]]:
    """A schedule by its name. Raises UsageError where there is none of this name."""
    with _clients(cache_dir) as clients:
        known: list[str] = []
        for client in clients:
            for deployment in _deployments(client):
                if deployment.name == name:
                    yield client, deployment
                    return
                known.append(deployment.name)
        there = f"There are {', '.join(sorted(known))}." if known else "There is none (docflow schedule list)."
        raise UsageError(f"there is no schedule {name!r}", hint=there)


def pause(cache_dir: Path, name: str) -> None:
    """Begin no more runs of a schedule by its times. Raises UsageError."""
    with _named(cache_dir, name) as (client, deployment):
        client.pause_deployment(deployment.id)


def resume(cache_dir: Path, name: str) -> None:
    """Begin runs of a paused schedule again. Raises UsageError."""
    with _named(cache_dir, name) as (client, deployment):
        client.resume_deployment(deployment.id)


def run_now(cache_dir: Path, name: str) -> str:
    """Ask for a run of a schedule now; the name of Prefect's run. Raises UsageError."""
    with _named(cache_dir, name) as (client, deployment):
        return client.create_flow_run_from_deployment(deployment.id).name


def delete(cache_dir: Path, name: str) -> None:
    """Delete a schedule; what it wrote stays. Raises UsageError."""
    with _named(cache_dir, name) as (client, deployment):
        client.delete_deployment(deployment.id)


def parameters_of(
    sources: list[str],
    out: Place,
    *,
    program: str | None,
    schema: str | None,
    engine: list[str] | None,
    fallback: list[str] | None,
    retry_failed: bool,
    refresh: bool = False,
    runner: str | None = None,
) -> dict[str, Any]:
    """The flow's parameters, with every path absolute: whoever runs it is elsewhere. Raises UsageError."""
    from docflow.documents.sources import find
    from docflow.engines.specs import parse_roles
    from docflow.engines.started import is_auto
    from docflow.loading import load_program
    from docflow.settings import without_credentials

    if "-" in sources:
        raise UsageError("- stands for a list on standard input, which a schedule does not have")
    find(list(sources))
    load_program("auto" if program is None and schema is None else program, schema=schema)
    given: dict[str, Any] = {
        "sources": [_absolute(source) for source in sources],
        "out": str(out.absolute()),
        "program": _absolute_module(program or "auto"),
        "schema_file": None if schema is None else _absolute_module(schema),
        "engine": engine or None,
        "fallback": fallback or None,
        "retry_failed": retry_failed,
        "refresh": refresh,
        "runner": runner,
    }
    for text in (*given["sources"], *(engine or ()), *(fallback or ())):
        if without_credentials(text) != text:
            raise UsageError(
                "a user or password in a URL would be kept in Prefect's database",
                hint="Put that server into docflow.toml, or its key into DOCFLOW_API_KEY, where the runs take place.",
            )
    if engine and not is_auto(engine):  # otherwise where it runs decides, each time
        parse_roles(engine, fallback or "")
    return {name: value for name, value in given.items() if value not in (None, False)}


def _absolute(source: str) -> str:
    return source if "://" in source else os.path.abspath(source)


def _absolute_module(spec: str) -> str:
    """``path/to/file.py:name`` and ``schema.json`` with an absolute path; names and ``package.module:name`` as is."""
    path, colon, name = spec.rpartition(":") if not spec.endswith(".json") else (spec, "", "")
    return f"{os.path.abspath(path)}{colon}{name}" if path.endswith((".py", ".json")) else spec
