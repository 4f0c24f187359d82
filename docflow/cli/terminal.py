"""What commands print with: consoles for people, tables, and text from documents made safe for a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LABEL_STYLES = {"error": "\x1b[1;31m"}

_JOINERS = "\u200c\u200d"  # inside emoji and in Persian or Indic words: harmless, and needed
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control and format characters, lone surrogates, line separators


def printable(text: object) -> str:
    """Text from outside as one line that a terminal can show and that cannot steer it.

    Line breaks become a visible mark; other control characters, turns of the writing direction and bytes of file
    names that are no UTF-8 are escaped.
    """
    return "".join(_visible(char) for char in str(text).replace("\r\n", "\n"))


def _visible(char: str) -> str:
    if char == "\n":
        return "↵"
    if char == "\t":
        return " "
    if char in _JOINERS or unicodedata.category(char) not in _UNSAFE:
        return char
    if "\udc80" <= char <= "\udcff":  # a byte of a file name, as Python's surrogateescape carries it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def output_console() -> Console:
    """For what a command was asked for: stdout."""
    return _console(sys.stdout)


def error_console() -> Console:
    """For progress, advice and errors: stderr, so that stdout can be piped on."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # Off a terminal nothing is cut or wrapped: the reader is a file or another program.
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 10_000
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width, soft_wrap=False)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches this stream, on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def complain(label: str, text: str) -> None:
    """Print a message such as ``error: ...`` on stderr, its label set off.

    It is written without Rich: an error must come out whatever else is broken.
    """
    width = shutil.get_terminal_size().columns - 1 if is_terminal(sys.stderr) else 10_000
    lines = [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(printable(paragraph), width - len(label) - 2, break_on_hyphens=False) or [""]
    ]
    coloured = is_terminal(sys.stderr) and not os.environ.get("NO_COLOR")
    start, end = (_LABEL_STYLES.get(label, "\x1b[1m"), "\x1b[0m") if coloured else ("", "")
    indent = "\n" + " " * (len(label) + 2)
    sys.stderr.write(f"{start}{label}:{end} {indent.join(lines)}\n")
    sys.stderr.flush()


def plain_table(title: str | None = None) -> Table:
    """A table with one line below its header and no frame."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        border_style="dim",
    )
