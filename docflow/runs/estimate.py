"""What a run would do and cost, before anything is asked of an engine."""

from __future__ import annotations

import random
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from docflow.documents.decoder import Decoder
from docflow.documents.sources import SourceItem, find
from docflow.engines.base import Engine, Usage
from docflow.engines.images import MAX_TOKENS
from docflow.errors import DocflowError, NothingToDo
from docflow.loading import load_program
from docflow.program import Program
from docflow.runs.auto import with_engines_named
from docflow.runs.costs import money
from docflow.runs.ledger import past_runs
from docflow.runs.model import RunOptions
from docflow.runs.plan import Plan
from docflow.runs.refresh import fields_to_ask
from docflow.runs.resources import WITHOUT_IMAGES, as_sources, open_engine
from docflow.settings import CostSettings

if TYPE_CHECKING:
    from docflow.storage.seen import Seen
    from docflow.storage.store import Store

MOST_OPENED = 100
"""Files of kinds that may have several pages are opened to count these, at most so many; the rest are like them."""
_ONE_PAGE = ("image/jpeg", "image/png", "image/bmp", "image/heic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What there is to do, and what it will take.

    ``pages`` are those of the documents to do, counted where ``pages_counted``, else estimated from some files.
    ``refreshed`` of the documents to do are asked for what has changed in the program alone, ``unasked`` of these for
    nothing at all; both by some of them where there are many.
    ``seconds``, ``usage`` and ``cost`` are None where there is nothing to go by; ``basis`` says what they go by.
    """

    documents: int
    done: int
    failed_before: int
    to_do: int
    refreshed: int
    unasked: int
    pages: int
    pages_counted: bool
    basis: str
    seconds: float | None = None
    usage: Usage | None = None
    cost: float | None = None
    currency: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def estimate(options: RunOptions, stdin: Any = None) -> Estimate:
    """Look at the sources and at earlier runs into OUT; nothing is extracted, and OUT is not made where it is not.

    A server is asked for its model's name, nothing else. Raises UsageError, NothingToDo, StorageError.
    """
    program = load_program(options.program, schema=options.schema, name=options.name)
    options, _ = with_engines_named(options)
    engine, ours = open_engine(options)
    try:
        engine.health()  # a server tells its model, under which rows are filed; one that is away does not
        sources = find(as_sources(options.sources), stdin=stdin)
        store = _store(options, program, engine)
        plan = Plan(
            sources,
            store,
            options.settings.limits,
            limit=options.limit,
            retry_failed=options.retry_failed,
            seen=_seen(options) if store is not None else None,
            rehash=options.rehash,
        )
        to_do = single = several = 0
        sample: list[SourceItem] = []
        older = _OlderRows(options, program, store)
        chance = random.Random(0)  # noqa: S311 (the same files each time; no secret)
        for work in plan.works(threading.Event()):
            to_do += 1
            older.count(work.document_id)
            if work.media_type in _ONE_PAGE or not work.media_type:
                single += 1
                continue
            several += 1
            if len(sample) < MOST_OPENED:
                sample.append(work.item)
            elif (place := chance.randrange(several)) < MOST_OPENED:
                sample[place] = work.item
        documents = to_do + plan.skipped + plan.skipped_failed
        if not documents:
            raise NothingToDo("no document matched the source", hint="Name images or PDFs.")
        pages = single + round(several * _pages_each(sample, options))
        known: dict[str, Any] = {
            "documents": documents,
            "done": plan.skipped,
            "failed_before": plan.skipped_failed,
            "to_do": to_do,
            "refreshed": older.refreshed,
            "unasked": older.unasked,
            "pages": pages,
            "pages_counted": several <= MOST_OPENED,
        }
        asked = to_do - older.unasked
        asked_pages = round(pages * asked / to_do) if to_do else 0
        takes = _what_it_takes(options, program, engine, asked, asked_pages)
        if older.refreshed > older.unasked:
            takes["basis"] += "; those that are refreshed are counted in full, and take less"
        return Estimate(**known, **takes)
    finally:
        if ours:
            engine.close()


class _OlderRows:
    """Counts the documents of which only what has changed in the program is asked, by the rows of at most some."""

    def __init__(self, options: RunOptions, program: Program, store: Store | None) -> None:
        self._program, self._settings = program, options.settings.extraction
        self._store = store if options.refresh else None
        self._there = self._looked_at = self._refreshed = self._unasked = 0

    def count(self, document_id: str) -> None:
        """One more document to do."""
        if self._store is None or not self._store.has_older_row(document_id):
            return
        self._there += 1
        if self._looked_at == MOST_OPENED:
            return
        self._looked_at += 1
        row = self._store.older_row(document_id)
        touched = None if row is None else fields_to_ask(self._program, self._settings, row)
        self._refreshed += touched is not None
        self._unasked += touched == frozenset()

    @property
    def refreshed(self) -> int:
        return self._of_all(self._refreshed)

    @property
    def unasked(self) -> int:
        return self._of_all(self._unasked)

    def _of_all(self, count: int) -> int:
        return round(count * self._there / self._looked_at) if self._looked_at else 0


def _store(options: RunOptions, program: Program, engine: Engine) -> Store | None:
    if options.out is None or not (options.out / "records").is_dir():
        return None
    from docflow.storage.store import Store

    return Store(
        options.out,
        program,
        engine.name,
        engine.model,
        options.run_id,
        split=options.settings.extraction.split,
        redo_fallback=options.redo_fallback,
        refresh=options.refresh,
    )


def _seen(options: RunOptions) -> Seen | None:
    from docflow.storage.seen import Seen

    return Seen(options.out) if options.out is not None else None


def _pages_each(sample: list[SourceItem], options: RunOptions) -> float:
    """The pages of a file, on average of these; a file that cannot be opened counts as one page."""
    if not sample:
        return 0.0
    settings = options.settings
    decoder = Decoder(settings.limits, workers=1, pdf_dpi=settings.reading.pdf_dpi, max_side=settings.reading.max_side)
    pages = 0
    try:
        for item in sample:
            try:
                pages += len(decoder.open(item).pages)
            except DocflowError:
                pages += 1
    finally:
        decoder.close()
    return pages / len(sample)


def _what_it_takes(options: RunOptions, program: Program, engine: Engine, to_do: int, pages: int) -> dict[str, Any]:
    """Seconds, tokens and money, as earlier runs into OUT went that asked the same of the same engine."""
    prices = options.settings.costs
    runs = past_runs(options.out) if options.out is not None and (options.out / "records").is_dir() else []
    alike = [
        run
        for run in runs
        if run.documents
        and (run.program, run.engine) == (program.name, engine.name)
        and (not run.model or not engine.model or run.model == engine.model)
    ]
    before = sum(run.documents for run in alike)
    if before:
        share = to_do / before
        total = sum((run.usage for run in alike), Usage())
        usage = Usage(*(round(count * share) for count in (total.prompt, total.cached, total.output, total.calls)))
        seconds = sum(run.working_seconds for run in alike) * share
        count = "1 run" if len(alike) == 1 else f"{len(alike):,} runs"
        return _priced(prices, f"{before:,} documents of {count} of {program.name} by {engine.name}", seconds, usage)
    if engine.name in WITHOUT_IMAGES:
        return {"basis": "no earlier runs to go by"}
    each = options.settings.extraction.page_tokens or program.page_tokens or MAX_TOKENS
    basis = f"no earlier runs to go by: image tokens only, at most {each:,} a page, without the answers"
    return _priced(prices, basis, None, Usage(prompt=pages * each))


def _priced(prices: CostSettings, basis: str, seconds: float | None, usage: Usage) -> dict[str, Any]:
    return {
        "basis": basis,
        "seconds": seconds,
        "usage": usage,
        "cost": money(prices, usage, seconds or 0.0),
        "currency": prices.currency,
    }
