"""``docflow config``: every setting and where its value comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from docflow.cli import options


def config(
    engine: options.Engine = None,
    fallback: options.Fallback = None,
    concurrency: options.Concurrency = None,
    runner: options.Runner = None,
    grounding: options.Grounding = None,
    locale: options.Locale = None,
    ocr_model: options.OcrModel = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: key to value, origin and meaning.")
    ] = False,
) -> None:
    """Show every setting, its value and where the value comes from.

    A flag counts more than an environment variable, and a variable more than docflow.toml (or the table tool.docflow
    of pyproject.toml) in the working directory. Flags of docflow extract can be given here too: see what they change.

    Examples:

        docflow config
        DOCFLOW_LIMITS__PAGES=50 docflow config --locale de_CH
    """
    from docflow.settings import explain_settings

    flags = options.given(
        engine=engine,
        fallback=fallback,
        concurrency=concurrency,
        runner=runner,
        grounding=grounding,
        locale=locale,
        ocr_model=ocr_model,
    )
    settings = explain_settings(flags)
    if as_json:
        import json

        rows = {s.key: {"value": s.value, "origin": s.origin, "meaning": s.description} for s in settings}
        typer.echo(json.dumps(rows, indent=2, default=str))
        return

    from docflow.cli.terminal import output_console, plain_table, printable

    table = plain_table()
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", no_wrap=True)
    for setting in settings:
        value = "not set" if setting.value is None else printable(setting.value)
        table.add_row(
            setting.key, value, printable(setting.origin), style="dim" if setting.origin == "default" else None
        )
    output_console().print(table)
