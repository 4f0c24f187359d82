"""``docflow samples``: a few documents to try docflow with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def samples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to; made when it is not there.")],
) -> None:
    """Write a few sample documents, and what they say, to try docflow before your own.

    The documents go to DIR/documents, what is printed on them to DIR/truth.

    Example:

        docflow samples samples
    """
    import shlex

    from rich.text import Text

    from docflow.cli.terminal import output_console, printable
    from docflow.samples import write

    written = write(folder)
    console = output_console()
    documents = folder / "documents"
    console.print(f"{len(written)} documents in {printable(documents)}")
    console.print(Text.assemble(("next  ", "bold"), f"docflow extract {printable(shlex.quote(str(documents)))}"))
