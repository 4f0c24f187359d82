"""``docflow forget``: remove all that is kept of a document."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from docflow.runs.forgetting import Forgotten


def forget(
    document: Annotated[
        str,
        typer.Argument(
            metavar="DOCUMENT",
            help="The document's source, as docflow show names it, or its document_id: then under all its sources.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="The folder that docflow extract wrote to.")
    ] = Path("out"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was removed as JSON.")] = False,
) -> None:
    """Remove all that docflow keeps of a document: rows, the words of its pages, corrections.

    The file itself is not touched: where it still stands in the folder that is extracted, the next run reads it anew.
    What was exported or reported from the dataset before is not touched either.

    Examples:

        docflow forget receipts/0001.jpg --out out
        docflow forget 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --out out --yes
    """
    from docflow.cli.terminal import printable
    from docflow.errors import UsageError
    from docflow.runs import forgetting
    from docflow.settings import load_settings

    document = forgetting.check_document(document)
    cache_dir = load_settings().cache_dir
    there = forgetting.matches(out, document)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("forgetting asks first, and nobody can answer here", hint="Give --yes.")
        names = ", ".join(there.sources[:5]) + (" ..." if len(there.sources) > 5 else "")
        typer.confirm(f"Remove {_rows(there)} of {printable(names or document)} for good?", abort=True, err=True)
    gone = forgetting.forget(out, document, cache_dir)
    if as_json:
        typer.echo(json.dumps(asdict(gone), indent=1))
        return
    if gone.nothing:
        typer.echo(f"There is nothing of {printable(document)}.")
        return
    removed = [
        _rows(gone),
        _count(gone.pages, "page of words", "pages of words"),
        _count(gone.corrections, "file of corrections", "files of corrections"),
        _count(gone.index, "entry of the index", "entries of the index"),
    ]
    typer.echo(f"Removed {', '.join(removed)}.")
    if gone.shared:
        typer.echo("The same bytes stand under another source too: their words and corrections stay.")


def _rows(forgotten: Forgotten) -> str:
    return _count(forgotten.rows, "row", "rows")


def _count(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
