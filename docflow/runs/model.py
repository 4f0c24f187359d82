"""What a run is told, what it says while it works, and what it leaves: plain values, light to import."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from docflow.buckets import Place
from docflow.engines.base import Usage
from docflow.errors import UsageError
from docflow.settings import RUNNERS, Settings, without_credentials

if TYPE_CHECKING:
    from pydantic import BaseModel

    from docflow.engines.base import Engine
    from docflow.extraction.result import ErrorInfo, Result
    from docflow.program import Program

Runner = str
"""``auto``, ``direct``, ``prefect``, ``dask`` or ``dask=tcp://HOST:PORT``."""

PREFECT_FROM = 20
"""With more documents than this to do, the auto runner takes Prefect: below, its server costs more than it gives."""

OUT_OF_BUDGET = 4
"""The exit code of a run that a budget ended: there is more to do."""


def new_run_id() -> str:
    """A new run id: the time (UTC) and six random hex digits, so that ids sort by time."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """One execution over a source: what to read, with which program and engine, and where the rows go.

    ``sources`` are paths, globs, ``-`` (a list of paths on stdin), bytes, file objects or PIL images. ``program`` is a
    name, ``FILE:NAME``, ``package.module:NAME``, a record model or a Program; ``schema`` (a JSON Schema file or
    ``module:Model``) takes its place. ``engine`` is a name, ``NAME=URL``, several of these, or an Engine, and
    ``fallback`` names who stands in for it; without them the settings decide. ``redo_fallback`` asks documents again
    that a stand-in answered; ``rehash`` reads files anew that look unchanged since a run into ``out`` saw them;
    ``refresh`` asks only what has changed in the program since. Without
    ``out`` rows are only streamed.
    """

    sources: tuple[Any, ...]
    program: str | Program | type[BaseModel] | None = None
    schema: str | None = None
    name: str | None = None
    out: Place | None = None
    engine: str | Sequence[str] | Engine | None = None
    fallback: str | Sequence[str] | None = None
    concurrency: int | None = None
    limit: int | None = None
    retry_failed: bool = False
    redo_fallback: bool = False
    rehash: bool = False
    refresh: bool = False
    runner: Runner | None = None
    settings: Settings = field(default_factory=Settings)
    run_id: str = field(default_factory=new_run_id)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands. ``total`` is None until every source has been looked at.

    ``skipped`` counts documents that were done already, ``skipped_failed`` those that failed in an earlier run
    and wait for ``--retry-failed``; neither counts in ``total``.
    """

    run_id: str
    total: int | None = None
    found: int = 0
    valid: int = 0
    invalid: int = 0
    failed: int = 0
    skipped: int = 0
    skipped_failed: int = 0
    seconds: float = 0.0
    note: str | None = None
    finished: int | None = None

    @property
    def done(self) -> int:
        """Files that are finished: as many as have rows, unless files are split into several documents."""
        return self.valid + self.invalid + self.failed if self.finished is None else self.finished

    @property
    def rate(self) -> float:
        """Files a second since the first one began."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to go at the present rate; None while that cannot be known."""
        if self.total is None or not self.done or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


@dataclass(frozen=True, kw_only=True)
class FailedDocument:
    """A document that failed, as the closing table shows it. ``document_id`` is "" where its bytes cannot be had."""

    source: str
    error: ErrorInfo
    document_id: str = ""


@dataclass(kw_only=True)
class Run:
    """What a run left: how many documents of each status, how fast, where the rows are.

    ``seconds`` is the wall time of the whole run, ``working_seconds`` without what came before the first document.
    ``results`` holds the rows of a run without OUT; with OUT they are in the dataset (``docflow.open(run.out)``).
    ``files`` were read for them: fewer than documents where files are split into several.
    ``errors`` are the first failed documents, at most twenty. ``stopped`` tells that a signal ended the run early.
    Where a cheap engine answered first, ``spared`` counts the ``documents`` and ``leaves`` for which the chosen engine
    was not needed, beside ``all documents`` and ``all leaves``. ``missing_rows`` counts the documents from whose lists
    rows seem to be missing, ``fallback`` those that a stand-in answered. ``usage`` is what all documents cost together,
    ``work_seconds`` how long they were in work, added up. ``budget`` names the budget that ended the run, "" where none
    did.
    """

    id: str
    program: str
    engine: str
    runner: str
    out: Place | None = None
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    seconds: float = 0.0
    working_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    files: int = 0
    by_program: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    skipped_failed: int = 0
    stopped: bool = False
    spared: Counter[str] = field(default_factory=Counter)
    missing_rows: int = 0
    fallback: int = 0
    usage: Usage = field(default_factory=Usage)
    work_seconds: float = 0.0
    budget: str = ""
    errors: list[FailedDocument] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    results: list[Result[Any]] = field(default_factory=list)

    @property
    def documents(self) -> int:
        """Documents that this run wrote rows for."""
        return self.counts.total()

    @property
    def valid(self) -> int:
        return self.counts["valid"]

    @property
    def invalid(self) -> int:
        return self.counts["invalid"]

    @property
    def failed(self) -> int:
        return self.counts["failed"]

    @property
    def documents_per_second(self) -> float:
        """Documents a second, from when the first one began."""
        return self.documents / self.working_seconds if self.working_seconds > 0 else 0.0

    @property
    def exit_code(self) -> int:
        """The command line's exit code: 0 all valid or done before, 1 some not, 4 out of budget, 130 interrupted."""
        if self.stopped:
            return 130
        if self.budget:
            return OUT_OF_BUDGET
        return 1 if self.invalid or self.failed or self.skipped_failed else 0


def runner_of(options: RunOptions) -> Runner:
    """The runner that the options ask for. Raises UsageError for one that there is not."""
    runner = options.runner or options.settings.runner
    if not re.fullmatch(RUNNERS, runner):
        raise UsageError(
            f"there is no runner {without_credentials(runner)!r}",
            hint="Runners are auto, direct, prefect, dask and dask=tcp://HOST:PORT.",
        )
    return runner


def check_installed(runner: Runner) -> None:
    """Raises UsageError where a runner needs a package that is not installed."""
    if runner.startswith("dask") and find_spec("distributed") is None:
        raise UsageError("the dask runner needs the package distributed", hint='pip install "docflow[dask]"')


OnProgress = Callable[[Progress], None]
OnResult = Callable[["Result[Any]"], None]
