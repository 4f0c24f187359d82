"""``docflow bench``: how fast a service is, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from docflow.cli import options


def serve(
    url: Annotated[str, typer.Argument(metavar="URL", help="The service, as http://HOST:PORT.")],
    requests: Annotated[int, typer.Option("--requests", "-n", metavar="N", min=1, help="Requests to send.")] = 200,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            min=0.01,
            help="Send so many a second, whether others were answered or not: what waits shows in the times.",
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(metavar="C", min=1, max=2_000, help="Without --rate: clients that send one after another.")
    ] = 8,
    route: Annotated[
        Literal["chat", "extract", "generate"],
        typer.Option(help="What is asked: /v1/chat/completions, /v1/extract or /generate."),
    ] = "chat",
    documents: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Documents to send, in turn: to extract images and PDFs, to chat images.",
            show_default="samples to extract, none to chat",
        ),
    ] = None,
    program: Annotated[
        str, typer.Option("--program", "-p", metavar="PROGRAM", help="With --route extract: what to extract.")
    ] = "auto",
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="With --route chat: the model to ask for.", show_default="the service's"),
    ] = "",
    tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens that an answer may have; the figures of 512 are named.")
    ] = 64,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            parser=options.local_file,
            help="Write bench.md, bench.json and bench.svg there as well.",
        ),
    ] = None,
) -> None:
    """Send requests to a service that runs, and report throughput, latency, failures and tokens by upstream.

    The report is printed as Markdown. The service's key is DOCFLOW_API_KEY. The exit code is 0 when every request was
    answered, 1 when some failed, 3 when no service answers.

    Examples:

        docflow bench serve http://localhost:8000 --rate 20 --requests 600 --out report
        docflow bench serve http://localhost:8000 --route extract --documents scans --concurrency 16
    """
    from docflow.cli.terminal import printable
    from docflow.server.bench.load import Load, measure
    from docflow.server.bench.report import markdown, write_report
    from docflow.settings import load_settings

    key = load_settings().servers.api_key
    load = Load(
        url=url,
        route=route,
        requests=requests,
        rate=rate,
        concurrency=concurrency,
        documents=documents,
        program=program,
        model=model,
        tokens=tokens,
        key=key.get_secret_value() if key else "",
    )
    measured = measure(load)
    typer.echo(markdown(load, measured))
    if out is not None:
        for path in write_report(out, load, measured):
            typer.echo(f"written {printable(path)}", err=True)
    if not all(sample.answered for sample in measured.samples):
        raise typer.Exit(1)
