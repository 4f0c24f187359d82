"""The engines behind a service: made once, looked at until one is well, closed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass

from docflow.engines import create
from docflow.engines.base import Engine
from docflow.engines.pool import Pool
from docflow.server.service.state import Service

log = logging.getLogger("docflow.service")

LOOK_SECONDS = 2.0
"""Between two looks at engines that are not well yet."""
IDLE_LOOK_SECONDS = 5.0
"""Between two looks at engines that nobody asks anything, which would otherwise not be known to be away."""
NAMES = {"vllm": "vLLM", "sglang": "SGLang"}
"""Engines as they spell themselves; others by docflow's name for them."""


@dataclass(slots=True)
class Engines:
    """The engines of a service, as one. ``converses`` says whether one of them is a model that can be talked to.

    ``seen`` says whether any was ever well, ``well`` whether one is now.
    """

    engine: Engine
    converses: bool
    seen: bool = False
    well: bool = False

    @property
    def title(self) -> str:
        """The kind of engine that was asked for: ``vLLM``, ``SGLang``, ``embedded``."""
        return NAMES.get(self.engine.name, self.engine.name)

    @property
    def model(self) -> str:
        """The model that was asked for; "" until an engine was seen. Does not block."""
        return self.engine.model if self.seen else ""

    @property
    def usable(self) -> bool:
        """Whether one is well now, by all that is known: of servers the pool learns with each request."""
        if isinstance(self.engine, Pool) and self.seen:
            return any(server.state != "open" for server in self.engine.status())
        return self.well

    async def look(self) -> None:
        """Ask them how they are."""
        self.well = (await asyncio.to_thread(self.engine.health)).ok or self._waits_for_a_trial()
        self.seen |= self.well

    async def watch(self) -> None:
        """Look until cancelled: often while none is well, now and then while none is at work."""
        while True:
            if not (self.usable and self._at_work()):
                await self.look()
            await asyncio.sleep(IDLE_LOOK_SECONDS if self.usable else LOOK_SECONDS)

    def _waits_for_a_trial(self) -> bool:
        # One that was away and answers again is not counted as well before it has answered a request.
        return isinstance(self.engine, Pool) and any(server.state == "half-open" for server in self.engine.status())

    def _at_work(self) -> bool:
        # A server that is busy may be slow to tell how it is: the pool looks after that itself.
        return isinstance(self.engine, Pool) and any(server.in_flight for server in self.engine.status())


async def engines_of(service: Service, stack: AsyncExitStack) -> Engines:
    """The service's engines: opened the first time they are asked for, with their end on the stack.

    Raises ConfigError for a bad name, EngineUnavailable when a package is missing.
    """
    found: Engines | None = service.parts.get(Engines)
    if found is not None:
        return found
    settings = service.settings
    engine = await asyncio.to_thread(
        create, settings.engine, settings.fallbacks, settings.servers, model=settings.serve.model
    )
    engines = Engines(engine, converses=isinstance(engine, Pool) or engine.name != "embedded")
    service.parts[Engines] = engines
    service.ready = lambda: engines.usable
    stack.push_async_callback(asyncio.to_thread, engine.close)
    watcher = asyncio.create_task(engines.watch())
    stack.push_async_callback(_ended, watcher)
    return engines


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
