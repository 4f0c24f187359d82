"""Writes cli.md, the reference of the command line, from the commands themselves.

python docs/make_cli.py
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer import Typer
from typer.models import ArgumentInfo, OptionInfo

from docflow.cli.app import app

PAGE = Path(__file__).with_name("cli.md")
OPENING = """\
# The command line

Made from the commands themselves by `python docs/make_cli.py`; `docflow COMMAND --help` says the same.

Options count more than environment variables (`DOCFLOW_...`), and those more than `docflow.toml`:
see [`docflow config`](#docflow-config). `NO_COLOR=1` turns colours off; `DOCFLOW_DEBUG=1` shows tracebacks.
"""


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a command, as its reader sees it."""

    spelling: str
    help: str
    default: str


def commands() -> dict[str, Callable[..., None]]:
    """The commands by name, in the order of the help."""
    return dict(_commands_of(app, ""))


def _commands_of(group: Typer, prefix: str) -> Iterator[tuple[str, Callable[..., None]]]:
    for command in group.registered_commands:
        if command.callback:
            yield f"{prefix}{command.name or command.callback.__name__}", command.callback
    for further in group.registered_groups:
        if further.typer_instance:
            yield from _commands_of(further.typer_instance, f"{prefix}{further.name} ")


def parameters(command: Callable[..., None]) -> Iterator[Parameter]:
    """A command's arguments and options, in order."""
    hints = typing.get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        if hints[name] is typer.Context:  # what stands after --, which is the command's to explain
            continue
        value_type, info = typing.get_args(hints[name])[:2]
        yield Parameter(_spelling(name, value_type, info), info.help or "", _default(parameter.default, info))


def _spelling(name: str, value_type: Any, info: ArgumentInfo | OptionInfo) -> str:
    if isinstance(info, ArgumentInfo):
        return f"{info.metavar}..." if typing.get_origin(value_type) is list else str(info.metavar)
    # In an annotation, Typer takes the first name for the default.
    names = [text for text in (info.default, *(info.param_decls or ())) if isinstance(text, str)]
    value = "" if value_type is bool else f" {info.metavar or '|'.join(_choices(value_type))}"
    return ", ".join(names or [f"--{name.replace('_', '-')}"]) + value


def _choices(value_type: Any) -> list[str]:
    """The values of an annotation such as ``Literal["a", "b"] | None``."""
    literals = [part for part in typing.get_args(value_type) if typing.get_origin(part) is typing.Literal]
    return [choice for literal in literals for choice in typing.get_args(literal)]


def _default(default: Any, info: ArgumentInfo | OptionInfo) -> str:
    if isinstance(info.show_default, str):
        return info.show_default
    if default is inspect.Parameter.empty:
        return "required"
    return "" if default in (None, False) else str(default)


def page() -> str:
    """The whole page."""
    sections = [OPENING]
    for name, command in commands().items():
        arguments = [p for p in parameters(command) if not p.spelling.startswith("-")]
        usage = " ".join(
            [f"docflow {name}", "[OPTIONS]", *(p.spelling if p.default else f"[{p.spelling}]" for p in arguments)]
        )
        rows = [f"| {_cell(f'`{p.spelling}`')} | {_cell(p.help)} | {_cell(p.default)} |" for p in parameters(command)]
        table = "\n".join(["| | | default |", "| --- | --- | --- |", *rows])
        sections.append(f"## docflow {name}\n\n```\n{usage}\n```\n\n{_prose(command)}\n\n{table}\n")
    return "\n".join(sections)


def _prose(command: Callable[..., None]) -> str:
    """The docstring with its indented examples as code."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(
        f"```sh\n{inspect.cleandoc(text)}\n```" if text.startswith(" ") else " ".join(text.split())
        for text in paragraphs
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
