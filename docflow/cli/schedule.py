"""``docflow schedule``: extract again and again, by Prefect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from docflow.cli import options

if TYPE_CHECKING:
    from docflow.flows.schedule import Timing

WHEN = "When it runs"
WHERE = "Where it runs"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name, as docflow schedule list shows it.")]


class SourceOrCommand(TyperGroup):
    """``docflow schedule SOURCE`` is ``docflow schedule add SOURCE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in ``add`` where a source or an option stands in the place of a command."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["add", *args]
        return super().parse_args(ctx, args)


def add(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="Files, folders (with all below them), or globs in quotes.")
    ],
    out: Annotated[
        options.Place,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="The dataset's folder, or its place in a bucket; rows are added to what is there.",
            parser=options.place,
        ),
    ] = Path("out"),
    cron: Annotated[
        str | None,
        typer.Option(metavar="CRON", help='At the times of a cron line, as in "0 2 * * *".', rich_help_panel=WHEN),
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Every so often: seconds, or 90s, 5m, 2h, 1d.", rich_help_panel=WHEN),
    ] = None,
    rrule: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help='At the times of an iCalendar rule, as in "FREQ=WEEKLY;BYDAY=MO;BYHOUR=2".',
            rich_help_panel=WHEN,
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="Whose clock counts, as in Europe/Zurich.", show_default="UTC", rich_help_panel=WHEN
        ),
    ] = None,
    program: Annotated[
        str | None,
        typer.Option(
            "--program",
            "-p",
            metavar="PROGRAM",
            help="What to extract, as for docflow extract.",
            show_default="auto",
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(metavar="SCHEMA", help="Extract what a schema says: a JSON Schema file or module:Model."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Each run tries the documents again that failed before.")
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Where the program has changed since a document was read, ask for the fields that have changed and "
            "keep the others.",
        ),
    ] = False,
    engine: options.Engine = None,
    fallback: options.Fallback = None,
    runner: options.Runner = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the schedule is called; one of this name is replaced.",
            show_default="made of SOURCE",
            rich_help_panel=WHERE,
        ),
    ] = None,
    work_pool: Annotated[
        str | None,
        typer.Option(
            metavar="POOL",
            help="Leave the runs to the workers of this Prefect work pool, in place of running them here.",
            rich_help_panel=WHERE,
        ),
    ] = None,
) -> None:
    """Extract at set times: docflow schedule SOURCE --cron, --interval or --rrule.

    Without --work-pool this command stays and runs each extraction in a process of its own, until Ctrl-C; then the
    schedule is paused. With it, the schedule is put on your Prefect server and the command returns; a worker of the
    pool has to run (prefect worker start --pool POOL).

    The server is the one of your Prefect settings (PREFECT_API_URL). Where they name none, docflow brings up one of its
    own, which ends with the command. Runs take place in the present working directory, where docflow.toml is, and all
    paths are made absolute. The word add can be left out.

    Examples:

        docflow schedule scans --interval 5m --out out
        docflow schedule scans --cron "0 2 * * *" --timezone Europe/Zurich --program invoice --out invoices
        docflow schedule add /data/scans --interval 1h --out /data/out --work-pool night
    """
    from docflow.cli.terminal import error_console, printable
    from docflow.flows import schedule as schedules
    from docflow.runs import check_installed
    from docflow.settings import load_settings

    timing = _timing(cron=cron, interval=interval, rrule=rrule, timezone=timezone)
    settings = load_settings({} if runner is None else {"runner": runner})
    if work_pool is None:  # the workers of a pool may have what is not installed here
        check_installed(settings.runner)
    schedule = schedules.Schedule(
        name=_name(name, sources[0]),
        parameters=schedules.parameters_of(
            sources,
            out,
            program=program,
            schema=schema,
            engine=engine,
            fallback=fallback,
            retry_failed=retry_failed,
            refresh=refresh,
            runner=runner,
        ),
        timing=timing,
        folder=Path.cwd(),
    )

    def say(text: str) -> None:
        error_console().print(printable(text))

    with schedules.prefect_ready(settings.cache_dir) as home:
        if work_pool is not None:
            where = schedules.deploy(schedule, work_pool)
            say(f"schedule {schedule.name} stands on the Prefect server at {where}")
            say(f"its runs wait for a worker: prefect worker start --pool {work_pool}")
        else:
            schedules.serve(schedule, home, say, _spoken(timing))


def listing(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False) -> None:
    """List the schedules: when they run, where, the next run and how the last one ended.

    Examples:

        docflow schedule list
        docflow schedule list --json
    """
    import json
    from dataclasses import asdict

    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.flows import schedule as schedules
    from docflow.settings import load_settings

    cache_dir = load_settings().cache_dir
    with schedules.prefect_ready(cache_dir):
        found = schedules.listed(cache_dir)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    if not found:
        typer.echo("There is no schedule. Make one: docflow schedule SOURCE --interval 5m --out OUT", err=True)
        return
    table = plain_table()
    for title in ("name", "when", "where", "next", "last"):
        table.add_column(title, overflow="fold")
    table.add_column("source and out", overflow="fold")
    for one in found:
        coming = "paused" if one.paused else f"{one.next_at.astimezone():%Y-%m-%d %H:%M}" if one.next_at else ""
        where = f"pool {one.work_pool}" if one.work_pool else "served"
        paths = f"{', '.join(one.sources)} -> {one.out}"
        table.add_row(*map(printable, (one.name, one.when, where, coming, one.last, paths)))
    output_console().print(table)


def pause(name: Name) -> None:
    """Begin no more runs at the schedule's times; one that is at work goes on.

    Examples:

        docflow schedule pause scans
    """
    _do("pause", name, "is paused")


def resume(name: Name) -> None:
    """Begin runs at the schedule's times again.

    Examples:

        docflow schedule resume scans
    """
    _do("resume", name, "runs again at its times")


def run(name: Name) -> None:
    """Begin a run now, beside those at the schedule's times; the command does not wait for it.

    Examples:

        docflow schedule run scans
    """
    _do("run_now", name, "will run once as soon as there is someone to run it")


def delete(name: Name) -> None:
    """Delete the schedule; the dataset stays as it is.

    Examples:

        docflow schedule delete scans
    """
    _do("delete", name, "is deleted")


def _do(what: str, name: str, said: str) -> None:
    from docflow.cli.terminal import error_console, printable
    from docflow.flows import schedule as schedules
    from docflow.settings import load_settings

    cache_dir = load_settings().cache_dir
    with schedules.prefect_ready(cache_dir):
        getattr(schedules, what)(cache_dir, name)
    error_console().print(printable(f"schedule {name} {said}"))


def _timing(*, cron: str | None, interval: str | None, rrule: str | None, timezone: str | None) -> Timing:
    from docflow.durations import read_duration
    from docflow.errors import UsageError
    from docflow.flows.schedule import Timing

    if sum(given is not None for given in (cron, interval, rrule)) != 1:
        raise UsageError(
            "a schedule has one of --cron, --interval and --rrule",
            hint='As in --interval 5m, --cron "0 2 * * *" or --rrule "FREQ=WEEKLY;BYDAY=MO".',
        )
    seconds = None if interval is None else read_duration(interval)
    return Timing(cron=cron, interval_seconds=seconds, rrule=rrule, timezone=timezone)


def _spoken(timing: Timing) -> str:
    from docflow.durations import duration

    if timing.interval_seconds is not None:
        return f"every {duration(timing.interval_seconds)}"
    return f"at {timing.cron or timing.rrule} ({timing.timezone or 'UTC'})"


def _name(given: str | None, source: str) -> str:
    """The name that was given, or one made of the source. Raises UsageError for what cannot be one."""
    from docflow.errors import UsageError

    if given is not None:
        if not given.strip() or re.search(r"[/%&><\\\x00-\x1f]", given):
            raise UsageError(f"{given!r} cannot name a schedule", hint="Use letters, digits, blanks, - and _.")
        return given
    last = Path(re.split(r"[*?\[]", source)[0]).absolute().name
    return re.sub(r"[^\w.-]+", "-", last).strip("-") or "docflow"
