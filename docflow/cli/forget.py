"""``docflow forget``: remove all that is kept of a document."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docflow.cli import options

if TYPE_CHECKING:
    from docflow.runs.forgetting import Forgotten

_MOST_SECONDS = 100 * 366 * 86_400


def forget(
    document: Annotated[
        str | None,
        typer.Argument(
            metavar="DOCUMENT",
            help="The document's source, as docflow show names it, or its document_id: then under all its sources.",
        ),
    ] = None,
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
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="In place of DOCUMENT: every document whose newest row is older than this, such as 90d.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was removed as JSON.")] = False,
) -> None:
    """Remove all that docflow keeps of a document: rows, the words of its pages, corrections.

    The file itself is not touched: where it still stands in the folder that is extracted, the next run reads it anew.
    What was exported or reported from the dataset before is not touched either.

    Examples:

        docflow forget receipts/0001.jpg --out out
        docflow forget 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --out out --yes
        docflow forget --older-than 90d --out out
    """
    from docflow.cli.terminal import printable
    from docflow.durations import read_duration
    from docflow.errors import UsageError
    from docflow.runs import forgetting
    from docflow.settings import load_settings

    if (document is None) == (older_than is None):
        raise UsageError("name a document, or say --older-than TIME", hint="docflow show OUT lists the documents.")
    cache_dir = load_settings().cache_dir
    if older_than is not None:
        seconds = read_duration(older_than, _MOST_SECONDS)
        there = forgetting.older_than(out, seconds)
        what = f"documents older than {older_than.strip()}"
    else:
        document = forgetting.check_document(document or "")
        there = forgetting.matches(out, document)
        what = printable(document)
    if dry_run:
        _say(there, what, "Would remove", as_json=as_json)
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("forgetting asks first, and nobody can answer here", hint="Give --yes.")
        names = ", ".join(there.sources[:5]) + (" ..." if len(there.sources) > 5 else "")
        typer.confirm(f"Remove {_rows(there)} of {printable(names) or what} for good?", abort=True, err=True)
    if older_than is not None:
        gone = forgetting.forget_older(out, seconds, cache_dir)
    else:
        gone = forgetting.forget(out, document or "", cache_dir)
    _say(gone, what, "Removed", as_json=as_json)


def _say(forgotten: Forgotten, what: str, verb: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(forgotten), indent=1))
        return
    if forgotten.nothing:
        typer.echo(f"There is nothing of {what}.")
        return
    if verb == "Removed":
        removed = [
            _rows(forgotten),
            _count(forgotten.pages, "page of words", "pages of words"),
            _count(forgotten.corrections, "file of corrections", "files of corrections"),
            _count(forgotten.index, "entry of the index", "entries of the index"),
        ]
        typer.echo(f"Removed {', '.join(removed)}.")
    else:
        documents = _count(len(forgotten.document_ids), "document", "documents")
        typer.echo(f"{verb} {_rows(forgotten)} of {documents}, and what else is kept of them.")
    if forgotten.shared:
        typer.echo("The same bytes stand under another source too: their words and corrections stay.")


def _rows(forgotten: Forgotten) -> str:
    return _count(forgotten.rows, "row", "rows")


def _count(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
