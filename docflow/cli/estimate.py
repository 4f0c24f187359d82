"""``docflow extract --estimate``: what there is to do, and what it will take."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from docflow.runs import RunOptions


def print_estimate(options: RunOptions, *, as_json: bool) -> None:
    """Print, on stdout, what a run with these options would do. Raises what ``estimate`` raises."""
    from docflow.cli.terminal import complain
    from docflow.runs.auto import with_engines_named
    from docflow.runs.estimate import estimate

    options, auto = with_engines_named(options)
    if auto:
        complain("note", auto)
    found = estimate(options, sys.stdin)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1))
        return

    from docflow.cli.runs import as_money
    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.durations import duration

    facts = [
        ("documents", f"{found.documents:,}"),
        ("done before", f"{found.done:,}"),
        ("failed before", f"{found.failed_before:,}"),
        ("to do", f"{found.to_do:,}"),
        ("pages to do", f"{'' if found.pages_counted else 'about '}{found.pages:,}"),
    ]
    if options.refresh:
        less = f"{found.refreshed:,}, of these {found.unasked:,} that nothing is asked of"
        facts.insert(4, ("of these refreshed", less))
    if found.seconds is not None:
        facts.append(("time", f"about {duration(found.seconds)}"))
    if found.usage is not None and found.usage.prompt + found.usage.output:
        facts.append(("prompt tokens", f"about {found.usage.prompt:,}, of these {found.usage.cached:,} cached"))
        facts.append(("output tokens", f"about {found.usage.output:,}"))
    if found.cost is not None:
        facts.append(("cost", f"about {as_money(found.cost, options.settings.costs)}"))
    facts.append(("going by", printable(found.basis)))
    table = plain_table()
    table.show_header = False
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    output_console().print(table)
