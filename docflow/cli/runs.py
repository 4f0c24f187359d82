"""``docflow runs``: what the runs of a dataset did, how fast, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from docflow.cli import options

if TYPE_CHECKING:
    from docflow.runs.ledger import PastRun
    from docflow.settings import CostSettings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class OutOrCommand(TyperGroup):
    """``docflow runs OUT`` is ``docflow runs list OUT``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in ``list`` where a dataset or an option stands in the place of a command."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def listing(out: options.Dataset, as_json: AsJson = False) -> None:
    """List the runs of a dataset, the newest last: what each did, how fast, how many tokens.

    A run that is unfinished was killed, ended by an error, or is still at work: what it wrote is counted all the same.

    Examples:

        docflow runs out
        docflow runs list out --json
    """
    from rich.text import Text

    from docflow.cli.progress import rate
    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.runs.ledger import past_runs
    from docflow.settings import load_settings

    prices = load_settings().costs
    runs = past_runs(out)
    if as_json:
        typer.echo(json.dumps([run.as_json(prices) for run in runs], indent=1))
        return
    table = plain_table()
    table.add_column("run", overflow="fold", min_width=22)
    for name in ("documents", "valid", "invalid", "failed", "speed", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        what = f"{run.started_at.astimezone():%Y-%m-%d %H:%M}, {run.program} by {run.engine}"
        what += "" if run.state == "finished" else f", {run.state}"
        table.add_row(
            Text.assemble(printable(run.id), "\n", (printable(what), "dim")),
            *(f"{count:,}" for count in (run.documents, *(run.counts[s] for s in ("valid", "invalid", "failed")))),
            rate(run.documents_per_second) if run.documents else "",
            f"{run.usage.prompt + run.usage.output:,}",
        )
    output_console().print(table)


def show(
    run_id: Annotated[
        str, typer.Argument(metavar="ID", help="The run's id, or how it begins; last for the newest run.")
    ],
    out: Annotated[
        options.Place,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="The folder, or place in a bucket, that docflow extract wrote to.",
            parser=options.place,
        ),
    ] = Path("out"),
    as_json: AsJson = False,
) -> None:
    """Show one run: documents, speed, tokens, and what it cost, for each engine and for fallbacks.

    Money is told where prices are set (costs.prompt_million, costs.server_hour ...; docflow config shows all).

    Examples:

        docflow runs show last --out out
        docflow runs show 20240312T0910 --out out --json
    """
    from docflow.runs.ledger import past_run
    from docflow.settings import load_settings

    prices = load_settings().costs
    run = past_run(out, run_id)
    if as_json:
        typer.echo(json.dumps(run.as_json(prices), indent=1))
    else:
        _print_run(run, prices)


def _print_run(run: PastRun, prices: CostSettings) -> None:
    from rich.text import Text

    from docflow.cli.progress import rate
    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.durations import duration

    console = output_console()
    console.print(Text.assemble(("run ", "dim"), (printable(run.id), "bold"), f"  {run.state}"))
    facts = [
        ("program", printable(run.program)),
        ("engine", printable(" ".join(filter(None, (run.engine, run.model))))),
        ("started", f"{run.started_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("time", duration(run.seconds)),
        ("documents", f"{run.documents:,} ({rate(run.documents_per_second)})"),
        *((status, f"{run.counts[status]:,}") for status in ("valid", "invalid", "failed")),
        ("done before", f"{run.skipped:,}"),
        ("failed before", f"{run.skipped_failed:,}"),
        ("prompt tokens", f"{run.usage.prompt:,}, of these {run.usage.cached:,} cached"),
        ("output tokens", f"{run.usage.output:,}"),
        ("in work", f"{duration(run.work_seconds)}, all documents added up"),
    ]
    cost = run.cost(prices)
    if cost is not None:
        facts.append(("cost", as_money(cost, prices)))
        if run.counts["valid"]:
            facts.append(("a valid record", as_money(cost / run.counts["valid"], prices)))
    table = plain_table()
    table.show_header = False
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    console.print(table)
    if len(run.shares) > 1:
        console.print()
        table = plain_table()
        table.add_column("engine", overflow="fold")
        for name in ("documents", "valid", "invalid", "failed", "prompt", "cached", "output", "in work"):
            table.add_column(name, justify="right", no_wrap=True)
        for share in run.shares:
            name = " ".join(filter(None, (share.engine, share.model, "(fallback)" if share.fallback else "")))
            counts = (share.documents, share.valid, share.invalid, share.failed)
            tokens = (share.usage.prompt, share.usage.cached, share.usage.output)
            table.add_row(printable(name), *(f"{n:,}" for n in (*counts, *tokens)), duration(share.work_seconds))
        console.print(table)


def as_money(amount: float, prices: CostSettings) -> str:
    """An amount with its currency: cents where it is large, more digits where it is small."""
    digits = f"{amount:,.2f}" if amount >= 1 else f"{amount:.4g}"
    return f"{digits} {prices.currency}".strip()
