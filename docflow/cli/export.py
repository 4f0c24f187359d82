"""``docflow export``: a dataset as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from docflow.cli import options


def export(
    out: options.Dataset,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            parser=options.local_file,
            help="Write CSV, and each list beside it as FILE.items.csv. Text that a spreadsheet would run as a formula "
            "gets an apostrophe in front.",
        ),
    ] = None,
    xlsx: Annotated[
        Path | None,
        typer.Option(
            "--xlsx",
            metavar="FILE",
            parser=options.local_file,
            help="Write an Excel file with a sheet of documents and one a list.",
        ),
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(
            "--jsonl",
            metavar="FILE",
            parser=options.local_file,
            help="Write a line of JSON a document, its lists inside it.",
        ),
    ] = None,
    parquet_flat: Annotated[
        Path | None,
        typer.Option(
            "--parquet-flat",
            metavar="FILE",
            parser=options.local_file,
            help="Write Parquet without nesting, and each list beside it.",
        ),
    ] = None,
    program: Annotated[
        str | None, typer.Option("--program", "-p", metavar="PROGRAM", help="Only the rows of this program.")
    ] = None,
    status: Annotated[
        Literal["valid", "invalid", "failed"] | None,
        typer.Option("--status", help="Only the rows of this status.", show_default="all"),
    ] = None,
    as_read: Annotated[
        bool, typer.Option("--as-read", help="Leave out what reviewers corrected: export what docflow read.")
    ] = False,
) -> None:
    """Write a dataset for spreadsheets and other programs: a row a document, a table a list, corrections applied.

    Each leaf of the record is a column of its own. The columns confidence (the lowest of the record) and reviewed
    tell how far to trust a row. Several formats can be written at once.

    Examples:

        docflow export out --xlsx receipts.xlsx --program receipt
        docflow export out --csv invoices.csv --program invoice --status valid
    """
    from docflow.cli.terminal import complain, output_console, printable
    from docflow.errors import UsageError
    from docflow.storage.dataset import Dataset
    from docflow.storage.export import Format
    from docflow.storage.export import export as write

    formats: dict[Format, Path | None] = {"csv": csv, "xlsx": xlsx, "jsonl": jsonl, "parquet-flat": parquet_flat}
    wanted = [(name, path) for name, path in formats.items() if path is not None]
    if not wanted:
        raise UsageError("no file was named", hint="Name one with --csv, --xlsx, --jsonl or --parquet-flat.")
    dataset = Dataset(out)
    console = output_console()
    for name, path in wanted:
        done = write(dataset, path, name, program=program, status=status, corrected=not as_read)
        for file, rows in done.rows.items():
            console.print(f"{printable(path.parent / file)}: {rows:,} {'row' if rows == 1 else 'rows'}")
        for note in done.notes:
            complain("note", note)
