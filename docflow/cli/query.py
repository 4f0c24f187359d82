"""``docflow query``: SQL over a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from docflow.cli import options

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_SHOWN = 200


def query(
    out: options.Dataset,
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help="A DuckDB query over the views records, receipt, invoice ...")
    ],
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="Print CSV. Text that a spreadsheet would run as a formula gets an apostrophe in front.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a row.")] = False,
) -> None:
    """Ask a dataset with SQL (DuckDB).

    There is a view for each program (receipt, invoice ...) and the view records for all of them; each has the newest
    row of each document, with what reviewers corrected. The view extracted has all rows as docflow read them. Fields
    are reached as record.total. Without --csv or --json the answer is a table for people.

    Examples:

        docflow query out "SELECT source, record.company, record.total FROM receipt ORDER BY record.total DESC"
        docflow query out "SELECT program, status, count(*) FROM records GROUP BY ALL" --csv
    """
    from docflow.errors import UsageError
    from docflow.storage.dataset import Dataset

    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other")
    answer = Dataset(out).query(sql)
    if as_json:
        _print_json(answer)
    elif as_csv:
        _print_csv(answer)
    else:
        _print_table(answer)


def _print_json(answer: pa.Table) -> None:
    import json

    from docflow.storage.cells import json_value

    for batch in answer.to_batches():
        for row in batch.to_pylist():
            print(json.dumps(row, default=json_value))  # noqa: T201 (what the command was asked for)


def _print_csv(answer: pa.Table) -> None:
    import csv
    import sys

    from docflow.storage.cells import csv_value

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.column_names)
    for batch in answer.to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            writer.writerow([csv_value(value) for value in row])


def _print_table(answer: pa.Table) -> None:
    from decimal import Decimal

    from rich.text import Text

    from docflow.cli.columns import Column, fitted_table
    from docflow.cli.terminal import output_console

    shown = answer.slice(0, ROWS_SHOWN)
    columns = []
    for name, column in zip(answer.column_names, shown.columns, strict=True):
        values = column.to_pylist()
        numeric = any(isinstance(value, int | float | Decimal) for value in values)
        many = any(isinstance(value, list | dict) for value in values)
        columns.append(Column(name, [Text(_cell(value)) for value in values], numeric=numeric, many=many))
    console = output_console()
    for part in fitted_table(columns, console.width, always=1):
        console.print(part)
    if answer.num_rows > shown.num_rows:
        console.print(
            Text(f"{shown.num_rows:,} of {answer.num_rows:,} rows; --csv and --json print them all", style="dim")
        )


def _cell(value: Any) -> str:
    """A value as a person reads it; of a whole record each field by its name, as far as it has a value."""
    from docflow.cli.columns import spoken
    from docflow.cli.terminal import printable

    if not isinstance(value, dict):
        return spoken(value)
    named = ((printable(name), spoken(child)) for name, child in value.items())
    return ", ".join(f"{name}: {text}" for name, text in named if text)
