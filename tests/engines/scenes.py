"""Documents, runs over them, and what they left: what the tests of bad engines share."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel

from docflow.fields.kinds import Money, Party
from docflow.runs import Run, RunOptions, execute
from docflow.settings import Settings, load_settings
from docflow.storage import Dataset

Row = dict[str, Any]


class Ticket(BaseModel):
    company: Party | None = None
    total: Money | None = None


VALUES = {"company": "ACME", "total": "12.50"}
"""What the instant servers answer about a Ticket."""


def scans(folder: Path, count: int, *, size: tuple[int, int] = (56, 56)) -> Path:
    """A folder of pictures, no two of them alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        noise = random.Random(number).randbytes(16)
        Image.frombytes("L", (4, 4), noise).resize(size).convert("RGB").save(folder / f"{number:03}.png")
    return folder


def settings_for(engine: str, fallback: str = "", *, timeout_seconds: float = 1.5, **more: Any) -> Settings:
    """Settings under which no answer takes longer than ``timeout_seconds``, and a server that fails rests briefly."""
    flags: dict[str, Any] = {
        "engine": engine,
        "extraction.grounding": "off",
        "extraction.timeout_seconds": timeout_seconds,
        "servers.rest_seconds": 0.2,
        "servers.health_seconds": 0.1,
        "servers.wait_seconds": 1.0,
    }
    if fallback:
        flags["fallbacks"] = fallback
    return load_settings(flags | more)


def extract(
    folder: Path, out: Path, engine: str, fallback: str = "", *, settings: Mapping[str, Any] | None = None, **how: Any
) -> tuple[Run, float]:
    """A run over the folder, and its seconds. ``settings`` by their dotted keys, as ``settings_for`` takes them."""
    used = settings_for(engine, fallback, **(settings or {}))
    started = time.monotonic()
    run = execute(RunOptions(sources=(folder,), out=out, settings=used, **({"program": Ticket} | how)))
    return run, time.monotonic() - started


def rows(out: Path) -> list[Row]:
    """The rows by source. Asserts that no document has two."""
    found = sorted(Dataset(out).records(), key=lambda row: str(row["source"]))
    sources = [row["source"] for row in found]
    assert len(sources) == len(set(sources))
    return found


def statuses(found: Sequence[Row]) -> set[str]:
    return {row["status"] for row in found}
