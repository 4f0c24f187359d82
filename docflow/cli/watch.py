"""``docflow watch``: extract what comes into a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docflow.cli import options

if TYPE_CHECKING:
    from docflow.runs import Run
    from docflow.runs.watching import Batch


def watch(
    inbox: Annotated[Path, typer.Argument(metavar="INBOX", help="The folder, with all below it. It is only read.")],
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
    every: Annotated[str, typer.Option(metavar="TIME", help="How often to look: seconds, or 90s, 5m, 2h, 1d.")] = "5s",
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
        bool,
        typer.Option("--retry-failed", help="At the start, try the documents again that failed in an earlier run."),
    ] = False,
    engine: options.Engine = None,
    fallback: options.Fallback = None,
    concurrency: options.Concurrency = None,
    grounding: options.Grounding = None,
    locale: options.Locale = None,
    ocr_model: options.OcrModel = None,
    split: options.Split = False,
    metrics_file: options.MetricsFile = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Extract what comes into a folder, until Ctrl-C.

    New and changed files are told by their content; one that is still being written is left until it is whole. What is
    done already is skipped, so the command can be ended and begun again at any time. A document that fails is tried
    again when it changes, or after a start with --retry-failed. Ctrl-C writes what is done and ends with 0; the exit
    code is 2 for bad usage and 4 when a batch reached a budget of the settings.

    Examples:

        docflow watch inbox --out out
        docflow watch /mnt/scanner --out receipts --program receipt --every 1m
    """
    from docflow.cli.logs import logging_to_file
    from docflow.durations import read_duration
    from docflow.runs import RunOptions
    from docflow.runs.watching import watch as watch_folder
    from docflow.settings import load_settings

    flags = options.given(
        engine=engine,
        fallback=fallback,
        concurrency=concurrency,
        runner=None,
        grounding=grounding,
        locale=locale,
        ocr_model=ocr_model,
        split=split,
        metrics_file=metrics_file,
    )
    settings = load_settings(flags)
    run_options = RunOptions(
        sources=(inbox,),
        program="auto" if program is None and schema is None else program,
        schema=schema,
        out=out,
        retry_failed=retry_failed,
        settings=settings,
    )
    every_seconds = read_duration(every)
    with logging_to_file(settings.cache_dir):
        ended_by = watch_folder(run_options, every_seconds, _tell_nothing_but_errors if quiet else _tell)
    if ended_by is not None:
        raise typer.Exit(ended_by.exit_code)


def _tell(batch: Batch) -> None:
    from docflow.cli.terminal import printable

    text = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {_line_of(batch)}"
    typer.echo(printable(text), err=True)


def _tell_nothing_but_errors(batch: Batch) -> None:
    if batch.error:
        _tell(batch)


def _line_of(batch: Batch) -> str:
    """A batch in one line."""
    run = batch.run
    if run is None:
        return f"waiting: {batch.error}"
    files = "1 file" if batch.files == 1 else f"{batch.files:,} files"
    counts = [(run.counts[status], status) for status in ("valid", "invalid", "failed")]
    counts += [(run.skipped, "done before"), (run.skipped_failed, "failed before")]
    said = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    first = f"; {run.errors[0].source}: {run.errors[0].error.message}" if run.errors else ""
    named = "".join(f"; {note}" for note in run.notes if note.startswith("engine auto: "))
    return f"{files}: {said or 'nothing to do'}{first}{named}{_ending(run)}"


def _ending(run: Run) -> str:
    if run.stopped:
        return " (interrupted)"
    return f" (the budget of {run.budget} is reached)" if run.budget else ""
