"""The service's routes, a subject a module: each has a ``router``, and ``open``, which readies what it needs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Protocol

from fastapi import APIRouter

from docflow.server.service.routes import (
    conversations,
    docs,
    extract,
    generate,
    health,
    jobs,
    metrics,
    models,
    openai,
    page,
    status,
)
from docflow.server.service.state import Service


class Subject(Protocol):
    """A module of this package."""

    router: APIRouter

    async def open(self, service: Service, stack: AsyncExitStack) -> None:
        """Ready what the routes need: into ``service.parts``, with its end on the stack. In the order of SUBJECTS."""
        ...


SUBJECTS: tuple[Subject, ...] = (
    metrics,
    openai,
    models,
    generate,
    conversations,
    extract,
    jobs,
    health,
    status,
    docs,
    page,
)
