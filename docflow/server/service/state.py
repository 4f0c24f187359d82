"""What the routes of a service share, opened when it starts and closed when it ends."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from docflow.server.service.exchange import Observer
from docflow.server.service.keys import Keys
from docflow.settings import Settings

if TYPE_CHECKING:
    from fastapi import Request

T = TypeVar("T")

App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

Opener = Callable[["Service", AsyncExitStack], Awaitable[None]]
"""Opens a part of the service when it starts: puts it into ``Service.parts`` and its end on the stack."""


@dataclass(slots=True)
class Service:
    """A service at work. ``parts`` holds what each subject opened, by the type it is asked for with ``part``.

    ``observers`` are told of every request; ``ready`` says whether it can answer what it is for. ``direct`` holds
    applications that answer a method and a path without the framework between, which has these routes as well.
    """

    settings: Settings
    keys: Keys
    observers: list[Observer] = field(default_factory=list)
    parts: dict[type[Any], Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    ready: Callable[[], bool] = lambda: True
    direct: dict[tuple[str, str], App] = field(default_factory=dict)

    def part(self, kind: type[T]) -> T:
        """The part of a kind. Raises KeyError where nothing opened it."""
        found: T = self.parts[kind]
        return found

    @property
    def uptime_seconds(self) -> float:
        return time.monotonic() - self.started


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service
