"""``docflow programs``: what can be extracted, and what a program asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docflow.program import Program


def programs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="A program to look into: a name, path/to/file.py:name or package.module:name."
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEMA", help="Look into the program that this schema makes (--schema of docflow extract)."
        ),
    ] = None,
) -> None:
    """List the built-in programs, or show one: its fields, their kinds, its prompt and its version.

    Examples:

        docflow programs
        docflow programs receipt
        docflow programs --schema lease.schema.json
    """
    from docflow.programs import load_program

    if name is None and schema is None:
        _list()
    else:
        _describe(load_program(name, schema=schema))


def _list() -> None:
    import sys

    from docflow.cli.terminal import output_console, plain_table
    from docflow.programs import load_program, names

    table = plain_table()
    table.add_column("program", no_wrap=True)
    table.add_column("what it reads")
    for name in names():
        module = sys.modules[load_program(name).function.__module__]
        table.add_row(name, (module.__doc__ or "").strip().partition("\n")[0])
    console = output_console()
    console.print(table)
    console.print()
    console.print(
        "docflow programs NAME shows the fields of one. Your own: --program FILE.py:NAME or --schema FILE.json."
    )


def _describe(program: Program) -> None:
    import inspect

    from rich.text import Text

    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.program import instructions_text

    console = output_console()
    console.print(Text.assemble((program.name, "bold"), f"  version {program.version}"))
    console.print(Text(printable(inspect.getfile(program.function)), style="dim"))
    console.print()
    if program.kinds:
        console.print(f"Finds out which of these a document is: {', '.join(kind.name for kind in program.kinds)}.")
        return
    table = plain_table()
    table.add_column("field", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("meaning")
    for path, kind, description in _leaves(program.schema, ""):
        table.add_row(printable(path), kind, printable(description))
    console.print(table)
    console.print()
    console.print(Text("instructions to the engine", style="bold"))
    for line in instructions_text(program.model).splitlines():
        console.print(Text(f"  {printable(line)}", style="dim"))


def _leaves(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Path, kind and description of every field, the fields of lists and groups below their own."""
    from docflow.fields import KIND_KEY, Kind

    for key, leaf in schema.get("properties", {}).items():
        path, description = f"{prefix}{key}", leaf.get("description", "")
        if leaf.get("type") == "array":
            yield path, "list", description
            if leaf["items"].get("type") == "object":
                yield from _leaves(leaf["items"], f"{path}[].")
        elif leaf.get("type") == "object":
            yield path, "group", description
            yield from _leaves(leaf, f"{path}.")
        else:
            yield path, str(leaf.get(KIND_KEY, Kind.TEXT)), description
