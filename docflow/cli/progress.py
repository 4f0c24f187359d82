"""How a run shows that it works: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from docflow.cli.terminal import error_console, is_terminal, printable
from docflow.durations import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from docflow.runs import OnProgress, Progress

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def reporter(*, quiet: bool, records_on_terminal: bool, said: set[str]) -> Iterator[OnProgress | None]:
    """What a run tells its progress to: a bar, or lines where a bar and records would overwrite each other.

    The notes that stay to be read, as those of a bar do not, are put into ``said``.
    """
    if quiet:
        yield None
    elif is_terminal(sys.stderr) and not records_on_terminal:
        with _bar() as show:
            yield show
    else:
        yield Lines(lambda line: typer.echo(line, err=True), said).show


class Lines:
    """Progress as plain lines, one about every ten seconds, for logs and pipes."""

    def __init__(self, say: Callable[[str], None], said: set[str]) -> None:
        self._say = say
        self._said = said
        self._next_at = SECONDS_BETWEEN_LINES

    def show(self, progress: Progress) -> None:
        if progress.note and progress.note not in self._said:
            self._said.add(progress.note)
            self._say(f"note: {printable(progress.note)}")
        if progress.seconds >= self._next_at:
            self._next_at = progress.seconds + SECONDS_BETWEEN_LINES
            self._say(line_of(progress))


def line_of(progress: Progress) -> str:
    """Where a run stands, in one line."""
    if progress.total is None:
        text = f"{progress.done:,} done, {progress.found:,} documents found so far"
    else:
        text = f"{progress.done:,} of {progress.total:,} documents"
    parts = [text]
    if progress.total and progress.done >= progress.total:
        parts.append("writing the last of them")
    elif progress.done:
        parts.append(rate(progress.rate))
    if progress.eta_seconds:
        parts.append(f"{duration(progress.eta_seconds)} to go")
    parts += [
        f"{count:,} {word}" for count, word in ((progress.invalid, "invalid"), (progress.failed, "failed")) if count
    ]
    return ", ".join(parts)


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.live import Live
    from rich.text import Text

    console = error_console()
    # No refresh thread: a run tells its progress a few times a second, and processes are started meanwhile.
    with Live(
        Text("getting ready", style="dim"), console=console, auto_refresh=False, transient=True, redirect_stdout=False
    ) as live:

        def show(progress: Progress) -> None:
            live.update(bar_of(progress, console.width), refresh=True)

        yield show


def bar_of(progress: Progress, width: int) -> RenderableType:
    """The bar, and beside it how many, how fast, how long still; below it what is not valid, and any note."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 2))
    line.add_column(width=max(10, min(40, width - 44)))
    line.add_column(no_wrap=True, overflow="ellipsis")
    counts = f"{progress.done:,}/{progress.total:,}" if progress.total is not None else f"{progress.found:,} found"
    facts = [counts]
    if progress.done:
        facts.append(rate(progress.rate))
    if progress.eta_seconds:
        facts.append(f"{duration(progress.eta_seconds)} to go")
    bar = ProgressBar(
        total=progress.total,
        completed=progress.done,
        pulse=not progress.total,
        animation_time=progress.seconds,
    )
    line.add_row(bar, Text("   ".join(facts)))
    rows: list[RenderableType] = [line]
    below = [
        f"{count:,} {word}" for count, word in ((progress.invalid, "invalid"), (progress.failed, "failed")) if count
    ]
    if progress.note:
        below.append(printable(progress.note))
    if below:
        rows.append(Text("   ".join(below), style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*rows)


def rate(documents_per_second: float) -> str:
    """Documents a second, or a minute where it is slow."""
    if documents_per_second >= 1:
        return f"{documents_per_second:.1f}/s"
    return f"{documents_per_second * 60:.1f}/min"
