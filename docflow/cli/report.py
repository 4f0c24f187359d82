"""``docflow report``: a dataset as one HTML file to mail."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from docflow.cli import options
from docflow.cli.review import Originals


def report(
    out: options.Dataset,
    html: Annotated[
        options.Place,
        typer.Option("--html", metavar="FILE", help="The file to write, also in a bucket.", parser=options.place),
    ],
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, help="At most so many documents, the least sure first.")
    ] = 50,
    program: Annotated[
        str | None, typer.Option("--program", "-p", metavar="PROGRAM", help="Only the rows of this program.")
    ] = None,
    status: Annotated[
        Literal["valid", "invalid", "failed"] | None,
        typer.Option("--status", help="Only the rows of this status.", show_default="all"),
    ] = None,
    source: Originals = None,
) -> None:
    """Write pages and records as one HTML file, to read and to mail: the review page without its keys to decide.

    Everything is inside the file, pages as small pictures (about 100 kB each); opening it asks for nothing.

    Examples:

        docflow report out --html report.html
        docflow report out --html unsure.html --program invoice --limit 20
    """
    from docflow.cli.terminal import complain, output_console, printable
    from docflow.errors import UsageError
    from docflow.server.report import write_report
    from docflow.settings import load_settings
    from docflow.sizes import shown_size
    from docflow.storage.dataset import Dataset

    dataset = Dataset(out)
    if program is not None and program not in dataset.programs:
        raise UsageError(f"{out} holds no rows of {program!r}", hint=f"It holds {', '.join(dataset.programs)}.")
    done = write_report(out, html, limit=limit, program=program, status=status, folder=source, settings=load_settings())
    documents = f"{done.documents:,} of {done.of:,} documents"
    output_console().print(f"{printable(html)}: {documents}, {done.pages:,} pages, {shown_size(done.size)}")
    if done.without_picture:
        hint = "" if source else "; say where the files are with --source DIR"
        complain("note", f"{done.without_picture:,} documents have no picture: their files are gone or changed{hint}")
