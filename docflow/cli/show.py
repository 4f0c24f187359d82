"""``docflow show``: a dataset as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from docflow.cli import options

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

    from docflow.storage.dataset import Dataset

_NAME = "source, first_page, last_page, split"
"""The columns that say which document a row is about."""


def show(
    out: options.Dataset,
    program: Annotated[
        str | None, typer.Option("--program", "-p", metavar="PROGRAM", help="Only the rows of this program.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="At most so many rows of each program, the newest first.")
    ] = 20,
    failed: Annotated[bool, typer.Option("--failed", help="The documents that failed, why, and what helps.")] = False,
    evidence: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="For one document, as the tables name it: each value as it is printed, where it stands and how sure "
            "docflow is.",
        ),
    ] = None,
) -> None:
    """Show what a dataset holds: the newest record of each document, a table a program.

    A value followed by ? is one that docflow is not sure of. A list shows how many items it has, then the items.

    Examples:

        docflow show out
        docflow show out --failed
        docflow show out --evidence receipts/0001.jpg
    """
    from docflow.cli.terminal import output_console
    from docflow.errors import UsageError
    from docflow.storage.dataset import Dataset

    dataset = Dataset(out)
    if program is not None and program not in dataset.programs:
        raise UsageError(f"{out} holds no rows of {program!r}", hint=f"It holds {', '.join(dataset.programs)}.")
    console = output_console()
    with dataset.duckdb() as connection:
        if evidence is not None:
            _show_evidence(console, connection, program, evidence)
        elif failed:
            _show_failed(console, connection, program, limit)
        else:
            _show_records(console, connection, dataset, program, limit)


def _show_records(
    console: Console, connection: duckdb.DuckDBPyConnection, dataset: Dataset, program: str | None, limit: int
) -> None:
    from rich.text import Text

    from docflow.cli.record_table import record_table

    counts = dataset.counts()
    programs = [program] if program else dataset.programs
    for name in programs:
        rows = _rows(
            connection,
            f"SELECT {_NAME}, status, record, evidence, missing_rows FROM {_view(name)} "  # noqa: S608
            "WHERE status <> 'failed' ORDER BY created_at DESC, first_page LIMIT ?",
            limit,
        )
        if not rows:
            continue
        statuses = [status for status in ("valid", "invalid") if counts[name, status]]
        summary = ", ".join(f"{counts[name, status]:,} {status}" for status in statuses)
        console.print(Text.assemble((name, "bold"), f"  {summary}"))
        for part in record_table(rows, console.width):
            console.print(part)
        if any(row["missing_rows"] for row in rows):
            console.print(Text("+? after a list: rows seem to be missing; --evidence SOURCE shows which", style="dim"))
        if counts[name, "invalid"]:
            console.print(Text("--evidence SOURCE shows why a record is invalid", style="dim"))
        stored = counts[name, "valid"] + counts[name, "invalid"]
        if stored > len(rows):
            console.print(Text(f"the {len(rows):,} newest of {stored:,} records; --limit shows more", style="dim"))
        console.print()
    failed = sum(counts[name, "failed"] for name in programs)
    if failed:
        console.print(Text.assemble((f"{failed:,} failed", "red"), ": --failed shows which, why and what helps"))


def _show_failed(console: Console, connection: duckdb.DuckDBPyConnection, program: str | None, limit: int) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from docflow.cli.terminal import printable
    from docflow.storage.rows import name_of

    view = _view(program or "records")
    rows = _rows(
        connection,
        f"SELECT {_NAME}, error FROM {view} WHERE status = 'failed' ORDER BY created_at DESC LIMIT ?",  # noqa: S608
        limit,
    )
    if not rows:
        console.print("no document failed")
        return
    for row in rows:
        error = row["error"] or {}
        console.print(
            Text.assemble(
                (printable(name_of(row)), "bold"),
                (f"  {printable(error.get('stage'))}, {printable(error.get('type'))}", "dim"),
            )
        )
        console.print(Padding(Text(printable(error.get("message"))), (0, 0, 0, 2), expand=False))
        if error.get("hint"):
            console.print(Padding(Text(printable(error["hint"]), style="dim"), (0, 0, 0, 2), expand=False))
    total = _rows(connection, f"SELECT count(*) AS n FROM {view} WHERE status = 'failed'")[0]["n"]  # noqa: S608
    if total > len(rows):
        console.print(Text(f"the {len(rows):,} newest of {total:,} failed; --limit shows more", style="dim"))


def _show_evidence(console: Console, connection: duckdb.DuckDBPyConnection, program: str | None, source: str) -> None:
    import difflib

    from docflow.cli.record_table import evidence_table
    from docflow.errors import UsageError
    from docflow.storage.rows import name_of

    view = _view(program or "records")
    columns = f"SELECT {_NAME}, document_id, program, status, engine, model, evidence, missing_rows, error FROM {view}"  # noqa: S608
    order = "ORDER BY created_at DESC, first_page"
    rows: list[dict[str, Any]] = []
    whole, pages, _ = source.rpartition(" p. ")  # as the tables name a document of a file that holds several
    for name in [source, whole] if pages else [source]:
        rows = _rows(connection, f"{columns} WHERE source = ? {order}", name)
        rows = rows or _rows(connection, f"{columns} WHERE ends_with(source, ?) {order}", f"/{name}")
        rows = [row for row in rows if name == source or name_of(row).endswith(source)]
        if rows:
            break
    else:
        sources = [row["source"] for row in _rows(connection, f"SELECT DISTINCT source FROM {view}")]  # noqa: S608
        close = difflib.get_close_matches(source, sources, n=1, cutoff=0.75)
        hint = f"Did you mean {close[0]}?" if close else "docflow show OUT lists the documents."
        raise UsageError(f"there is no row for {source}", hint=hint)
    for row in rows:
        for part in evidence_table(row):
            console.print(part)


def _view(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> list[dict[str, Any]]:
    answer = connection.execute(sql, list(parameters))
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
