"""What goes between a run and the processes that work for it: a job for each run, an order for each chunk, an outcome.

Paths and ids of documents, counts and file names; never an image. A job holds the keys of servers: it goes from process
to process, is kept nowhere, and shows none of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version

from docflow.buckets import Place
from docflow.documents.sources import SourceItem
from docflow.errors import DocflowError
from docflow.evaluation.calibration import Calibration
from docflow.runs.model import Run, RunOptions


def own_version() -> str:
    """The docflow of this process."""
    return version("docflow")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker must know of a run.

    ``options`` are the run's, without sources. ``engine`` and ``model`` are what was asked for, by which rows are
    filed; ``program_version`` is what the worker's own copy of the program has to have, and ``version`` what its
    docflow has to be. ``concurrency`` is its share of the documents in work (None: as it likes), ``cores`` that of the
    cores (None: as many as its threads of Dask). ``beside`` tells that it is on the machine of the run. ``marker`` is a
    file in OUT by which it sees that its OUT is the run's.
    """

    options: RunOptions = field(repr=False)
    engine: str
    model: str
    program_version: str
    calibration: Calibration | None = field(repr=False)
    concurrency: int | None
    cores: int | None
    beside: bool
    marker: Place
    version: str = field(default_factory=own_version)

    @property
    def run_id(self) -> str:
        return self.options.run_id


@dataclass(frozen=True, slots=True)
class Ordered:
    """A document to extract. ``is_redone`` says that it has a row that a failure must not displace."""

    item: SourceItem
    document_id: str
    media_type: str
    is_redone: bool = False


@dataclass(frozen=True, kw_only=True)
class Order:
    """The documents of a chunk, for a worker."""

    key: str
    number: int
    job: Job = field(repr=False)
    documents: tuple[Ordered, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an order: counts, the parts that were written, how long it took (in seconds).

    ``counted`` is a run that holds the counts of these documents alone. ``error`` is why the run cannot go on.
    """

    counted: Run
    parts: tuple[str, ...] = ()
    seconds: float = 0.0
    error: DocflowError | None = None
