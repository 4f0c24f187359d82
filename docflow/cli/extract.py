"""``docflow extract``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from docflow.cli import options

WHAT = "What is extracted"


def extract(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders (with all below them), globs in quotes, URIs (s3://BUCKET/KEY), or - for a list of "
            "paths on stdin.",
        ),
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
    program: Annotated[
        str | None,
        typer.Option(
            "--program",
            "-p",
            metavar="PROGRAM",
            help="What to extract: a built-in program (docflow programs lists them), path/to/file.py:name or "
            "package.module:name. auto finds out what kind of document each one is.",
            show_default="auto",
            rich_help_panel=WHAT,
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEMA",
            help="Extract what a schema says, without writing a program: a JSON Schema file or module:Model.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The name under which the rows are filed.",
            show_default="the program's, or the schema's file name",
            rich_help_panel=WHAT,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Stop after so many documents that are not done yet.", rich_help_panel=WHAT
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Try the documents again that failed in an earlier run.", rich_help_panel=WHAT
        ),
    ] = False,
    redo_fallback: Annotated[
        bool,
        typer.Option(
            "--redo-fallback",
            help="Ask the documents again that a fallback answered in an earlier run.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Where the program has changed since a document was read, ask for the fields that have changed and "
            "keep the others.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    rehash: Annotated[
        bool,
        typer.Option(
            "--rehash",
            help="Read every file to tell whether it is done, also those that look unchanged since the last run.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    engine: options.Engine = None,
    fallback: options.Fallback = None,
    concurrency: options.Concurrency = None,
    runner: options.Runner = None,
    grounding: options.Grounding = None,
    locale: options.Locale = None,
    ocr_model: options.OcrModel = None,
    split: options.Split = False,
    accept_error: options.AcceptError = None,
    verify: options.Verify = False,
    cheap_first: options.CheapFirst = False,
    budget: options.Budget = None,
    metrics_file: options.MetricsFile = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Extract nothing: tell how many documents and pages there are to do, and, as earlier runs went, "
            "the time, the tokens and the money they will take.",
            rich_help_panel=options.RUNNING,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each record on stdout as a line of JSON; all else goes to stderr.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and records, with --json).")
    ] = False,
) -> None:
    """Extract typed records from documents into a Parquet dataset.

    Documents that are done already are skipped, so the same command can be typed again at any time: after an
    interruption it goes on where it stopped. The exit code is 0 when every document is valid or was done before,
    1 when some are invalid or failed, 2 for bad usage or when no document matched, 3 when no engine is usable,
    4 when a budget is reached before all is done, 130 after Ctrl-C.

    Examples:

        docflow extract scans
        docflow extract "scans/**/*.pdf" --program invoice --out invoices
        docflow extract contracts --schema lease.schema.json --json
        docflow extract scans --engine sglang=http://gpu1:30000 --fallback vllm=http://gpu3:8000
    """
    from docflow.api import run
    from docflow.cli.failures import INTERRUPTED
    from docflow.cli.logs import logging_to_file
    from docflow.cli.progress import reporter
    from docflow.cli.records import RecordWriter
    from docflow.cli.summary import print_interrupted, print_summary
    from docflow.runs import RunOptions
    from docflow.settings import load_settings

    flags = options.given(
        engine=engine,
        fallback=fallback,
        concurrency=concurrency,
        runner=runner,
        grounding=grounding,
        locale=locale,
        ocr_model=ocr_model,
        accept_error=accept_error,
        split=split,
        budget=budget,
        metrics_file=metrics_file,
    )
    settings = options.second_opinions(load_settings(flags), verify=verify, cheap_first=cheap_first)
    run_options = RunOptions(
        sources=tuple(sources),
        program="auto" if program is None and schema is None else program,
        schema=schema,
        name=name,
        out=out,
        limit=limit,
        retry_failed=retry_failed,
        redo_fallback=redo_fallback,
        rehash=rehash,
        refresh=refresh,
        fallback=fallback or None,
        settings=settings,
    )
    if estimate:
        from docflow.cli.estimate import print_estimate

        print_estimate(run_options, as_json=as_json)
        raise typer.Exit
    records = RecordWriter(sys.stdout) if as_json else None
    said: set[str] = set()
    with logging_to_file(settings.cache_dir) as log:
        try:
            on_terminal = as_json and sys.stdout.isatty()
            with reporter(quiet=quiet, records_on_terminal=on_terminal, said=said) as report:
                done = run(run_options, report, records.write if records else None)
        except KeyboardInterrupt:  # before the run could take the signal, at its very end, or for the second time
            print_interrupted(out)
            raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        print_summary(done, log.path if log.holds_errors else None, said)
    raise typer.Exit(done.exit_code)
