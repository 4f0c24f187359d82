"""``docflow engines``: what the servers that answer can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from docflow.engines.check import Report
    from docflow.settings import Settings


def check(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="The server, as http://HOST:PORT or as --engine takes it: NAME=URL."),
    ],
    kind: Annotated[
        Literal["sglang", "vllm"] | None,
        typer.Option(metavar="sglang|vllm", help="Which kind of server it is (found out when not given)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """See what a server really can do, by some twenty small requests, and which flag it lacks.

    The exit code is 0 when everything works that docflow needs, 1 when something is missing, 3 when the server cannot
    be reached or does not answer. The key of servers that want one is DOCFLOW_API_KEY.

    Examples:

        docflow engines check http://gpu1:30000
        docflow engines check http://gpu3:8000 --json
    """
    from docflow.engines.base import ServerOptions
    from docflow.engines.check import check as check_server
    from docflow.engines.images import MAX_TOKENS
    from docflow.settings import load_settings

    settings = load_settings()
    options = ServerOptions(api_key=api_key(url, settings), connect_seconds=settings.servers.connect_seconds)
    report = check_server(url, kind=kind, options=options, page_tokens=settings.extraction.page_tokens or MAX_TOKENS)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps({**asdict(report), "complete": report.complete}, indent=2, ensure_ascii=False))
    else:
        _show(report)
    if not report.complete:
        raise typer.Exit(1)


def api_key(url: str, settings: Settings) -> str:
    """The key of a server, as an engine's name or as a URL: its own where docflow started it, else the settings'."""
    from docflow.engines.started import key_for

    key = settings.servers.api_key
    name, _, target = url.partition("=")
    return key_for(target if "://" in target and "://" not in name else url) or (key.get_secret_value() if key else "")


def _show(report: Report) -> None:
    from rich.text import Text

    from docflow.cli.terminal import complain, output_console, plain_table, printable

    console = output_console()
    context = f", context {report.context} tokens" if report.context else ""
    console.print(
        Text.assemble(
            (printable(report.url), "bold"),
            f"  {report.kind} {printable(report.version)}, model {printable(report.model)}{context}",
        )
    )
    console.print()
    table = plain_table()
    table.add_column("ability", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("seen", overflow="fold")
    for ability in report.abilities:
        word, style = ("yes", "green") if ability.works else ("no", "red") if ability.needed else ("no", "yellow")
        table.add_row(printable(ability.name), Text(word, style=style), printable(ability.detail))
    console.print(table)
    for needed, title in ((True, "Needed, and missing"), (False, "Better with")):
        missing = [one for one in report.abilities if not one.works and one.needed is needed]
        if not missing:
            continue
        console.print()
        console.print(Text(f"{title}:", style="bold"))
        for ability in missing:
            console.print(Text(f"  {ability.name}: {ability.remedy or printable(ability.detail)}"))
    for warning in report.warnings:
        complain("warning", warning)
