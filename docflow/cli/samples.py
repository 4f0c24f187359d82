"""``docflow samples``: a few documents to try docflow with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def samples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to; made when it is not there.")],
) -> None:
    """Write a few sample documents, to try docflow before your own.

    Example:

        docflow samples samples
    """
    import shlex

    from docflow.cli.terminal import output_console, printable
    from docflow.samples import write

    written = write(folder)
    console = output_console()
    console.print(f"{len(written)} documents in {printable(folder)}")
    console.print(f"next: docflow extract {printable(shlex.quote(str(folder)))}")
