"""The application: every command, and the options that stand before them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from docflow.cli import bench, deploy, deploy_backendai, deploy_sessions, engines_running, models, runs, schedule
from docflow.cli.compact import compact
from docflow.cli.config import config
from docflow.cli.engines import check
from docflow.cli.engines_clean import clean
from docflow.cli.engines_up import WithFurther, up
from docflow.cli.evaluate import calibrate, evaluate
from docflow.cli.export import export
from docflow.cli.extract import extract
from docflow.cli.forget import forget
from docflow.cli.programs import programs
from docflow.cli.query import query
from docflow.cli.report import report
from docflow.cli.review import review
from docflow.cli.samples import samples
from docflow.cli.serve import serve
from docflow.cli.show import show
from docflow.cli.watch import watch

app = typer.Typer(
    name="docflow",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # errors are reported by docflow.cli.main, as messages
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _help(command: Callable[..., None]) -> str:
    """A command's docstring with each paragraph on one line, so that it wraps to any width; indented lines stay."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(text if text.startswith(" ") else " ".join(text.split()) for text in paragraphs)


for command in (
    extract,
    watch,
    show,
    query,
    review,
    serve,
    report,
    export,
    evaluate,
    calibrate,
    compact,
    forget,
    programs,
    config,
    samples,
):
    name = "eval" if command is evaluate else None  # no function of ours is called eval: that is Python's own
    app.command(name, help=_help(command))(command)

engines = typer.Typer(help="The servers that answer: started here by a command, or elsewhere.", no_args_is_help=True)
engines.command("up", help=_help(up), cls=WithFurther)(up)
engines.command("list", help=_help(engines_running.listing))(engines_running.listing)
engines.command("logs", help=_help(engines_running.logs))(engines_running.logs)
engines.command("test", help=_help(engines_running.test))(engines_running.test)
engines.command("monitor", help=_help(engines_running.monitor))(engines_running.monitor)
engines.command("down", help=_help(engines_running.down))(engines_running.down)
engines.command("clean", help=_help(clean))(clean)
engines.command("check", help=_help(check))(check)
app.add_typer(engines, name="engines")

benches = typer.Typer(help="How fast something is, measured.", no_args_is_help=True)
benches.command("serve", help=_help(bench.serve))(bench.serve)
app.add_typer(benches, name="bench")

deployment = typer.Typer(help="The service in containers, and models on a cluster.", no_args_is_help=True)
deployment.command("compose", help=_help(deploy.compose))(deploy.compose)
deployment.command("backendai", help=_help(deploy_backendai.backendai))(deploy_backendai.backendai)
deployment.command("scripts", help=_help(deploy_backendai.scripts))(deploy_backendai.scripts)
deployment.command("presets", help=_help(deploy_backendai.presets))(deploy_backendai.presets)
cluster_sessions = typer.Typer(help="Backend.AI's sessions, and the servers in them.", no_args_is_help=True)
for verb, its_command in (
    ("list", deploy_sessions.listing),
    ("kill", deploy_sessions.kill),
    ("logs", deploy_sessions.logs),
    ("test", deploy_sessions.test),
    ("connect", deploy_sessions.connect),
    ("monitor", deploy_sessions.monitor),
    ("kill-idle", deploy_sessions.kill_idle),
):
    cluster_sessions.command(verb, help=_help(its_command))(its_command)
deployment.add_typer(cluster_sessions, name="sessions")
app.add_typer(deployment, name="deploy")

named_models = typer.Typer(help="Models that run in docflow itself, by name.", no_args_is_help=True)
named_models.command("list", help=_help(models.listing))(models.listing)
named_models.command("load", help=_help(models.load))(models.load)
named_models.command("unload", help=_help(models.unload))(models.unload)
named_models.command("pull", help=_help(models.pull))(models.pull)
app.add_typer(named_models, name="models")

past_runs = typer.Typer(
    cls=runs.OutOrCommand, help="What runs did, how fast, and what they cost: docflow runs OUT", no_args_is_help=True
)
past_runs.command("list", help=_help(runs.listing))(runs.listing)
past_runs.command("show", help=_help(runs.show))(runs.show)
app.add_typer(past_runs, name="runs")

schedules = typer.Typer(
    cls=schedule.SourceOrCommand,
    help="Extract at set times, by Prefect: docflow schedule SOURCE --interval 5m --out OUT",
    no_args_is_help=True,
)
_VERBS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("add", schedule.add),
    ("list", schedule.listing),
    ("pause", schedule.pause),
    ("resume", schedule.resume),
    ("run", schedule.run),
    ("delete", schedule.delete),
)
for verb, its_command in _VERBS:
    schedules.command(verb, help=_help(its_command))(its_command)
app.add_typer(schedules, name="schedule")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"docflow {version('docflow')}")
        raise typer.Exit


@app.callback()
def docflow(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Typed, grounded Parquet from receipts, invoices and forms. Start with: docflow extract FOLDER"""
