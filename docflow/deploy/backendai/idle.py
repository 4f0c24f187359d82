"""Which servers nobody asks: by vLLM's own counters, through the tunnel."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from docflow.deploy.backendai import keys
from docflow.deploy.backendai.manager import Manager, Session
from docflow.deploy.backendai.tunnel import local_port
from docflow.errors import StorageError

_RUNNING = ("vllm:num_requests_running", "vllm:num_requests_waiting")
_DONE = ("vllm:request_success_total", "vllm:prompt_tokens_total", "vllm:generation_tokens_total")
_STARTED = "process_start_time_seconds"
_MOST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Activity:
    """What a server has done: requests in work, all that it counts as done, and when it started (Unix time)."""

    running: float
    done: float
    started: float

    @classmethod
    def parse(cls, text: str) -> Activity | None:
        """From vLLM's metrics; None where they are not vLLM's."""
        sums = {"running": 0.0, "done": 0.0, "started": 0.0}
        seen = False
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            name = name.partition("{")[0]
            if line.startswith("#") or not value:
                continue
            try:
                number = float(line.rpartition(" ")[2])
            except ValueError:
                continue
            if name in _RUNNING:
                sums["running"] += number
                seen = True
            elif name in _DONE:
                sums["done"] += number
            elif name == _STARTED:
                sums["started"] = number
        return cls(**sums) if seen else None


@dataclass(frozen=True, slots=True)
class Idleness:
    """How long a session has been idle, in seconds; None where that is not known (``why`` says why)."""

    session: Session
    seconds: float | None
    why: str


async def activity_of(manager: Manager, session: Session) -> Activity | None:
    """What a session's server has done; None where it does not tell."""
    import aiohttp

    key = keys.kept(session.id)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=20)
    try:
        async with (
            local_port(manager, session.id, session.port) as url,
            aiohttp.ClientSession(timeout=timeout, headers=headers) as client,
            client.get(f"{url}/metrics", allow_redirects=False) as response,
        ):
            if response.status != 200:
                return None
            return Activity.parse((await response.content.read(_MOST_BYTES)).decode("utf-8", "replace"))
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


async def idleness(manager: Manager, sessions: Sequence[Session]) -> list[Idleness]:
    """How long each server has been idle.

    One that has answered nothing since it started is idle since then. For others this looks at what it saw the last
    time that it was called: they are idle since their counters stand still.
    """
    path = keys.folder() / "activity.json"
    before = _remembered(path)
    now = time.time()
    seen: dict[str, tuple[float, float]] = {}
    found: list[Idleness] = []
    for session in sessions:
        activity = await activity_of(manager, session) if session.status == "RUNNING" else None
        if activity is None:
            why = "its metrics cannot be read" if session.status == "RUNNING" else f"it is {session.status}"
            found.append(Idleness(session, None, why))
            continue
        done, since = before.get(session.id, (-1.0, now))
        if activity.running or done != activity.done:
            since = now
        if not activity.running and not activity.done and activity.started:
            since = min(since, activity.started)
        seen[session.id] = (activity.done, since)
        why = "requests in work" if activity.running else "never asked" if not activity.done else "no new requests"
        found.append(Idleness(session, max(0.0, now - since), why))
    _remember(path, seen)
    return found


def _remembered(path: Path) -> dict[str, tuple[float, float]]:
    try:
        said = json.loads(path.read_text("utf-8"))
        return {str(session): (float(done), float(since)) for session, (done, since) in said.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(path: Path, seen: dict[str, tuple[float, float]]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(seen), "utf-8")
        fresh.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
