"""How the engines are that run here: state, memory, CPU, and what they say of their work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from docflow.deploy.local import process
from docflow.engines.base import ServerOptions
from docflow.engines.figures import ServerFigures, ask
from docflow.engines.started import Started, born_of, uptime
from docflow.engines.transport import Transport
from docflow.errors import EngineError
from docflow.machine import gpu_memory

State = Literal["ready", "starting", "silent", "ended"]
"""``silent`` runs, was ready once, and does not answer now."""
_ASK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sight:
    """An engine as it is now. Memory in bytes, uptime in seconds."""

    started: Started
    state: State
    uptime: float
    memory: int
    gpu_memory: int


def look(started: Started) -> Sight:
    """An engine as it is now."""
    if not started.alive:
        left = 0 if born_of(started.pid) else process.use_of(started.pid).memory  # of a session without its first
        return Sight(started, "ended", 0.0, left, 0)
    state: State = "ready" if answers(started) else "silent" if started.ready else "starting"
    memory = process.use_of(started.pid).memory
    return Sight(
        started,
        state,
        uptime(started),
        memory,
        gpu_memory(process.members(started.pid)) if started.device == "cuda" else 0,
    )


def answers(started: Started) -> bool:
    """Whether it lists its models now."""
    transport = Transport(started.url, ServerOptions(api_key=started.key, connect_seconds=2))
    try:
        transport.get("/v1/models", _ASK_SECONDS)
    except EngineError:
        return False
    finally:
        transport.close()
    return True


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine did between two looks. Rates are tokens a second, ``cpu`` is in cores; None where not told."""

    sight: Sight
    figures: ServerFigures
    read_rate: float | None
    write_rate: float | None
    cpu: float


class Monitor:
    """Looks at engines again and again: what they did since the look before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, int], tuple[float, ServerFigures, float]] = {}

    def look(self, engines: Sequence[Started]) -> list[Work]:
        """What each did since the last look; no rates the first time."""
        return [self._one(started) for started in engines]

    def _one(self, started: Started) -> Work:
        sight = look(started)
        figures = _figures(started) if sight.state != "ended" else ServerFigures()
        now, cpu_seconds = time.monotonic(), process.use_of(started.pid).cpu_seconds if started.alive else 0.0
        at, then, cpu_then = self._before.get((started.name, started.pid), (now, ServerFigures(), cpu_seconds))
        self._before[started.name, started.pid] = (now, figures, cpu_seconds)
        seconds = now - at
        return Work(
            sight,
            figures,
            _rate(figures.prompt_tokens, then.prompt_tokens, seconds),
            _rate(figures.output_tokens, then.output_tokens, seconds),
            max(0.0, cpu_seconds - cpu_then) / seconds if seconds else 0.0,
        )


def _rate(now: int | None, then: int | None, seconds: float) -> float | None:
    if now is None or then is None or seconds <= 0:
        return None
    return max(0, now - then) / seconds


def _figures(started: Started) -> ServerFigures:
    transport = Transport(started.url, ServerOptions(api_key=started.key, connect_seconds=2))
    try:
        return ask(transport, _ASK_SECONDS) or ServerFigures()
    finally:
        transport.close()
