"""The closing words of a run: how many of each status, what failed, where the data is, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from docflow.buckets import Place
from docflow.cli.progress import rate
from docflow.cli.terminal import complain, error_console, plain_table, printable
from docflow.durations import duration

if TYPE_CHECKING:
    from rich.console import Console

    from docflow.runs import Run

FAILURES_SHOWN = 5
_STYLES = {"valid": "green", "invalid": "yellow", "failed": "red"}


def print_summary(run: Run, log: Path | None = None, said: Collection[str] = ()) -> None:
    """Print how a run ended, on stderr, without the notes that were ``said`` before.

    ``log`` is a file that tells more of what went wrong inside docflow.
    """
    console = error_console()
    for note in run.notes:
        if note not in said:
            complain("note", note)
    _print_counts(console, run)
    _print_failures(console, run)
    _print_next(console, run)
    if log is not None:
        complain("note", f"What went wrong inside docflow is told in {log}; please send it along with a report.")


def print_interrupted(out: Place) -> None:
    """Print, on stderr, what an interruption means for the documents that were done."""
    kept = shlex.quote(printable(out))
    error_console().print(f"Interrupted. What is done is kept in {kept}; the same command goes on from there.")


def _print_counts(console: Console, run: Run) -> None:
    from rich.text import Text

    rows = [(status, run.counts[status], _STYLES[status]) for status in _STYLES if run.counts[status]]
    rows += [("done before", run.skipped, "dim")] if run.skipped else []
    rows += [("failed before", run.skipped_failed, "red")] if run.skipped_failed else []
    table = plain_table()
    table.add_column("status", no_wrap=True)
    table.add_column("documents", justify="right")
    for status, count, style in rows:
        table.add_row(Text(status, style=style), f"{count:,}")
    console.print(table)
    if run.documents:
        facts = [
            f"{_documents(run.documents)}{_files(run)} in {duration(run.seconds)} ({rate(run.documents_per_second)})"
        ]
        # Under the name of a program that chooses among kinds stand only documents that failed before the choice.
        chosen = [(name, count) for name, count in run.by_program.most_common() if name != run.program]
        if chosen:
            facts.append(", ".join(f"{count:,} {printable(name)}" for name, count in chosen))
        console.print()
        console.print(Text("; ".join(facts), style="dim"))


def _print_failures(console: Console, run: Run) -> None:
    from rich.padding import Padding
    from rich.text import Text

    if run.errors:
        console.print()
    for document in run.errors[:FAILURES_SHOWN]:
        console.print(Text.assemble((printable(document.source), "bold"), f": {printable(document.error.message)}"))
        if document.error.hint:
            console.print(Padding(Text(printable(document.error.hint), style="dim"), (0, 0, 0, 2), expand=False))
    more = run.failed - min(len(run.errors), FAILURES_SHOWN)
    if more > 0:
        console.print(f"and {more:,} more failed")


def _print_next(console: Console, run: Run) -> None:
    from rich.text import Text

    if run.out is None:
        return
    out = shlex.quote(printable(run.out))
    console.print()
    if run.stopped:
        print_interrupted(run.out)
    elif run.budget:
        console.print(
            f"The budget of {run.budget} is reached. What is done is kept; the same command goes on from there."
        )
    lines = []
    if run.valid or run.invalid or run.skipped:
        lines += [f"data  {out}/records", f"next  docflow show {out}"]
    if run.failed or run.skipped_failed:
        lines.append(f"{'      ' if lines else 'next  '}docflow show {out} --failed")
    if run.skipped_failed:
        lines.append("      the same command with --retry-failed, to try the failed documents again")
    for line in lines:
        console.print(Text.assemble((line[:6], "bold"), line[6:]))


def _files(run: Run) -> str:
    """Of how many files the documents are, where these are not as many."""
    if run.files in (0, run.documents):
        return ""
    return " of 1 file" if run.files == 1 else f" of {run.files:,} files"


def _documents(count: int) -> str:
    return "1 document" if count == 1 else f"{count:,} documents"
