"""``docflow compact``: few large parts in place of many small ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docflow.cli import options
from docflow.sizes import shown_size

if TYPE_CHECKING:
    from docflow.storage.compacting import Compacted


def compact(
    out: options.Dataset = Path("out"),
    grace: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long the parts that were merged stay, for whoever is reading them: 30m, 2h, or 0.",
            show_default="1h",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Merge the many small parts of a dataset into few, while runs write it and others read it.

    Rows that newer ones stand in for are left out. Nothing is lost or seen twice wherever it is ended; the same command
    goes on. The parts that were merged are removed after the grace time, by the next compaction or run.

    Examples:

        docflow compact out
        docflow compact out --dry-run
    """
    from docflow.cli.terminal import printable
    from docflow.durations import read_duration
    from docflow.runs.retention import apply_retention
    from docflow.settings import load_settings
    from docflow.storage.compacting import compact as merge

    settings = load_settings()
    grace_seconds = settings.compact.grace_seconds
    if grace is not None:
        grace_seconds = 0.0 if grace.strip() == "0" else read_duration(grace)
    notes = [] if dry_run else apply_retention(out, settings)
    done = merge(
        out,
        grace_seconds=grace_seconds,
        part_bytes=int(settings.compact.part_mb * 2**20),
        dry_run=dry_run,
        told=lambda said: None if quiet or as_json else typer.echo(printable(said), err=True),
    )
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=1))
    elif not quiet:
        typer.echo("\n".join([*_said(done), *notes]))


def _said(done: Compacted) -> list[str]:
    """What was done, a sentence a line."""
    lines = []
    if done.merged:
        what = "Would merge" if done.dry_run else "Merged"
        lines.append(
            f"{what} {_count(done.merged, 'part')} of {done.parts:,} into {done.written:,}: {_count(done.rows, 'row')}"
            + (f", without {done.dropped:,} that newer ones stand in for" if done.dropped else "")
            + (f", {shown_size(done.bytes_before)} before" if done.dry_run else "")
            + (f", {shown_size(done.bytes_before)} now {shown_size(done.bytes_after)}" if not done.dry_run else "")
            + "."
        )
    else:
        lines.append(f"There is nothing to merge in {_count(done.parts, 'part')}.")
    if done.changed:
        lines.append(f"{_count(done.changed, 'part')} changed meanwhile: left for the next time.")
    if done.removed:
        lines.append(f"Removed {_count(done.removed, 'part')} that had been merged before.")
    if done.waiting:
        lines.append(f"{_count(done.waiting, 'part')} that were merged wait for the grace time to end.")
    return lines


def _count(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"
