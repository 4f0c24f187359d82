"""What a session uses, from the figures that agents send to the manager, which are neither complete nor well typed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from docflow.deploy.backendai.manager import Session


@dataclass(frozen=True, slots=True)
class Use:
    """A session's use: GPUs, shares from 0 to 1 and bytes; None where it is not told."""

    gpus: float
    gpu: float | None
    gpu_memory: float | None
    gpu_memory_total: float | None
    cpu: float | None
    memory: float | None
    memory_total: float | None


def use_of(session: Session) -> Use:
    """The use of a session as the manager told it."""
    figures = session.figures or {}
    return Use(
        gpus_of(session),
        _share(figures, "cuda_util"),
        _number(figures, "cuda_mem", "current"),
        _number(figures, "cuda_mem", "capacity"),
        _share(figures, "cpu_util"),
        _number(figures, "mem", "current"),
        _number(figures, "mem", "capacity"),
    )


def gpus_of(session: Session) -> float:
    """The GPUs that a session holds, whole ones or shares."""
    slots = session.slots or {}
    return sum(_as_number(value) or 0.0 for name, value in slots.items() if name.startswith("cuda."))


def age_of(session: Session) -> float | None:
    """Seconds since a session was created."""
    try:
        created = datetime.fromisoformat(session.created_at)
    except ValueError:
        return None
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    return max(0.0, time.time() - created.timestamp())


def _share(figures: Mapping[str, Any], name: str) -> float | None:
    percent = _number(figures, name, "pct")
    return None if percent is None else percent / 100


def _number(figures: Mapping[str, Any], name: str, part: str) -> float | None:
    figure = figures.get(name)
    return _as_number(figure.get(part)) if isinstance(figure, Mapping) else None


def _as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
