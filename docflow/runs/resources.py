"""What the documents of a run share: program, engine, decoders, OCR, and the dataset they are written to."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docflow import engines
from docflow.documents.decoder import Decoder
from docflow.documents.sniff import HEAD_BYTES, SUFFIXES, media_type
from docflow.documents.sources import SourceItem, from_bytes, from_file, from_image
from docflow.engines.base import Engine
from docflow.engines.images import MAX_TOKENS
from docflow.engines.members import Places
from docflow.engines.pool import Pool
from docflow.engines.specs import parse_roles
from docflow.errors import ConfigError, EngineUnavailable, NoEngine, UsageError
from docflow.evaluation.calibration import Calibration
from docflow.machine import main_memory, usable_cores
from docflow.reading import Reader
from docflow.runs.model import RunOptions

ENGINE_CONCURRENCY = 8
"""Documents in work at once for an engine that computes elsewhere and does not say how many it takes."""
CHEAP = "embedded"
"""The engine that answers first where another is asked only what that one is unsure of."""
WITHOUT_IMAGES = ("embedded", "scripted")
"""Engines that are shown words, or nothing at all."""
MOST_OCR_PROCESSES = 16
OCR_PROCESS_BYTES = 1.5 * (1 << 30)
"""What an OCR process may come to need for large pages (0.9 GiB were seen), with room for all else."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Opened by ``open_resources``; every document of a run goes through them, in any thread.

    ``cheap`` is the embedded engine where it answers first, before ``engine`` is asked what it is unsure of.
    """

    engine: Engine
    cheap: Engine | None
    decoder: Decoder
    reader: Reader
    concurrency: int

    def warm(self) -> None:
        """Start the processes; returns at once, while they come up."""
        self.reader.warm()
        self.decoder.warm()

    def warm_for(self, item: SourceItem) -> None:
        """Start what the first document to do will need."""
        if is_image(item):
            self.warm()

    def close(self) -> None:
        """End the processes; what is still at work in them fails."""
        self.reader.close()
        self.decoder.close()
        if self.cheap is not None:
            self.cheap.close()


def open_engine(options: RunOptions, places: Places | None = None) -> tuple[Engine, bool]:
    """The engine that the options name, and whether it is ours to close. Raises ConfigError, EngineUnavailable.

    ``places`` are those at servers that this process shares with others.
    """
    settings, given = options.settings, options.engine
    if given is not None and not isinstance(given, str | Sequence):
        if options.fallback:
            raise ConfigError("an engine that is given as an object has no fallback", hint="Name both by their URLs.")
        return given, False
    fallback = settings.fallbacks if options.fallback is None else options.fallback
    roles = parse_roles(given or settings.engine)
    # One of the settings' is for when they or --engine name a server.
    if options.fallback and roles.alone and not roles.engines[0].is_model:
        raise ConfigError(
            f"{roles.engines[0].label} is never away: it has no fallback",
            hint="Name the server that the fallback stands in for with --engine.",
        )
    return engines.create(given or settings.engine, fallback, settings.servers, places=places), True


def check_engine(engine: Engine) -> None:
    """Raises EngineUnavailable when the engine is not usable, NoEngine when none of a pool is.

    Better said once than by every document.
    """
    health = engine.health()
    # A server that was away and answers again counts as well once it has answered a request: so one is sent.
    returning = isinstance(engine, Pool) and any(server.state == "half-open" for server in engine.status())
    if not (health.ok or returning):
        if isinstance(engine, Pool):
            raise NoEngine(f"no engine is usable: {health.detail}", hint=_NO_ENGINE)
        raise EngineUnavailable(
            f"engine {engine.name} is not usable: {health.detail or 'it gave no reason'}",
            hint=f"{health.hint} {_ANOTHER}" if health.hint else _NO_ENGINE,
        )


_ANOTHER = "--engine chooses another, and the embedded one always works."
_NO_ENGINE = f"docflow engines check URL looks closer; {_ANOTHER}"


def open_resources(
    options: RunOptions, engine: Engine, *, one_image: bool = False, cores: int | None = None
) -> Resources:
    """Decoders and OCR for a run; processes start when first needed. Raises ConfigError.

    For ``one_image`` a single OCR process takes all cores; otherwise each core has a process of its own, which is
    faster as soon as there are two pages, as far as memory goes. Where other processes work beside this one, ``cores``
    is its share.
    """
    settings = options.settings
    cheap = None
    if settings.extraction.cheap_first_below is not None:
        if engine.name == CHEAP:
            raise ConfigError(
                f"cheap first: the {CHEAP} engine is the cheap one, so another has to answer what it is unsure of",
                hint="Name that one with --engine.",
            )
        cheap = engines.create(CHEAP)
    cores = cores or usable_cores()
    # Two documents more than cores: while pages are with OCR, the next are decoded.
    concurrency = options.concurrency or settings.concurrency
    if concurrency is None:
        wanted = engine.concurrency if isinstance(engine, Pool) else ENGINE_CONCURRENCY
        concurrency = cores + 2 if engine.name == "embedded" else max(wanted, cores + 2)
    page_tokens = None
    if cheap is None and engine.name not in WITHOUT_IMAGES:
        page_tokens = settings.extraction.page_tokens or MAX_TOKENS
    most = max(1, min(MOST_OCR_PROCESSES, int(main_memory()[1] / OCR_PROCESS_BYTES)))
    workers = 1 if one_image else min(cores, concurrency, most)
    return Resources(
        engine=engine,
        cheap=cheap,
        decoder=Decoder(
            settings.limits,
            workers=min(cores, concurrency),
            pdf_dpi=settings.reading.pdf_dpi,
            max_side=settings.reading.max_side,
            page_tokens=page_tokens,
        ),
        reader=Reader(settings.reading, settings.cache_dir, workers, threads=max(1, cores // workers)),
        concurrency=concurrency,
    )


def load_calibration(options: RunOptions) -> Calibration | None:
    """What confidences are calibrated with: the file that the settings name, else OUT's own, if there is one.

    Raises StorageError for one that cannot be read.
    """
    named = options.settings.extraction.calibration
    if named is not None:
        return Calibration.load(named)
    return None if options.out is None else Calibration.beside(options.out)


# --- sources ------------------------------------------------------------------------------------------------------


def as_sources(given: tuple[Any, ...]) -> list[str | Path | SourceItem]:
    """What ``docflow.documents.find`` takes, of what a caller gives: also bytes, file objects and PIL images.

    Raises UsageError for anything else.
    """
    return [_as_source(source) for source in given]


def _as_source(source: Any) -> str | Path | SourceItem:
    if isinstance(source, str | Path | SourceItem):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return from_bytes(source)
    if isinstance(source, os.PathLike):
        return Path(os.fsdecode(source))
    if "PIL.Image" in sys.modules and isinstance(source, sys.modules["PIL.Image"].Image):
        return from_image(source)
    if hasattr(source, "read"):
        return from_file(source)
    raise UsageError(
        f"a {type(source).__name__} is no source",
        hint="A source is a path, a glob, bytes, an open binary file, a PIL image, or a list of these.",
    )


def is_image(item: SourceItem) -> bool:
    """Whether an item looks like an image file, by its first bytes or its name: then OCR will be needed."""
    if item.data is not None:
        return (media_type(item.data[:HEAD_BYTES]) or "").startswith("image/")
    return Path(item.source).suffix.lower() in SUFFIXES - {".pdf"}
