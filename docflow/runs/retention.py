"""What is done with a dataset once a run or a compaction is through: what has been kept long enough goes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from docflow.reading.cache import WordsCache
from docflow.runs.summary import RUNS
from docflow.settings import Settings

if TYPE_CHECKING:
    from docflow.storage.places import Place

_DAY = 86_400.0
_STARTED = "%Y%m%dT%H%M%S"


def tidy(out: Place, settings: Settings) -> list[str]:
    """Remove parts that were merged long ago, and what the settings do not keep any longer; a note for each of these.

    Raises StorageError.
    """
    from docflow.storage.replaced import remove_replaced

    remove_replaced(out, settings.compact.grace_seconds)
    return apply_retention(out, settings)


def apply_retention(out: Place, settings: Settings) -> list[str]:
    """Remove what the settings do not keep any longer; tells what went, a note each. Raises StorageError."""
    keep = settings.retention
    notes = []
    if keep.documents_days is not None:
        from docflow.runs.forgetting import forget_older

        rows = forget_older(out, keep.documents_days * _DAY, settings.cache_dir).rows
        notes += _note(rows, "row", f"of documents older than {keep.documents_days:g} days (retention.documents_days)")
    if keep.words_days is not None:
        pages = WordsCache(settings.cache_dir, "", 1).remove_unused(keep.words_days * _DAY)
        notes += _note(pages, "page", f"of words unused for {keep.words_days:g} days (retention.words_days)")
    if keep.runs_days is not None:
        runs = _remove_runs(out, keep.runs_days * _DAY)
        notes += _note(runs, "summary of a run", f"older than {keep.runs_days:g} days (retention.runs_days)")
    return notes


def _note(count: int, what: str, which: str) -> list[str]:
    return [f"removed: {count:,} {what}{'' if count == 1 or ' ' in what else 's'} {which}"] if count else []


def _remove_runs(out: Place, seconds: float) -> int:
    """Remove the summaries of runs that began before; how many."""
    from docflow.storage.places import remove

    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    gone = 0
    for path in (out / RUNS).glob("*.json"):
        try:
            started = dt.datetime.strptime(path.stem[:15], _STARTED).replace(tzinfo=dt.UTC)
        except ValueError:  # none of ours
            continue
        if started < before:
            remove(path)
            gone += 1
    return gone
