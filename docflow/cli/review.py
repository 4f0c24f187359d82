"""``docflow review``: a local page to look at records and correct them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from docflow.cli import options

Originals = Annotated[
    Path | None,
    typer.Option(
        "--source",
        metavar="DIR",
        help="The folder that was extracted, to show its pages. A file that changed since is not shown.",
        show_default="where the runs looked",
    ),
]


def review(
    out: options.Dataset,
    source: Originals = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The port to listen on.", show_default="a free one")
    ] = 0,
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="The name that corrections are signed with.", show_default="your login name"
        ),
    ] = None,
    locale: options.Locale = None,
) -> None:
    """Look through a dataset in the browser, the least sure first, and correct it.

    Opens a page on this machine alone, without any network; the link has a secret in it. Keys accept a value, correct
    it or mark it absent. Corrections are kept in OUT/corrections and outlive every rerun.

    Examples:

        docflow review out
        docflow review out --source scans --as Ann
    """
    from docflow.cli.terminal import output_console, printable
    from docflow.fields import locale_named
    from docflow.server.serving import serve
    from docflow.settings import load_settings
    from docflow.storage.dataset import Dataset

    Dataset(out)  # says so when there is none
    settings = load_settings({} if locale is None else {"extraction.locale": locale})
    console = output_console()

    def started(link: str, documents: int) -> None:
        console.print(f"{documents:,} {'document' if documents == 1 else 'documents'} of {printable(out)} to review at")
        console.print(f"  {link}")
        console.print("Ctrl-C ends it; every decision is kept at once.")

    serve(
        out,
        port=port,
        folder=source,
        who=name or _login_name(),
        settings=settings,
        locale=locale_named(settings.extraction.locale) if settings.extraction.locale else None,
        started=started,
    )


def _login_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"
