"""Whether the service is there."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter

from docflow.server.service.state import Service

router = APIRouter(tags=["health"])


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Nothing needs to be readied."""


@router.get("/health/live")
def live() -> dict[str, str]:
    """Whether the process answers at all; ``/health`` tells whether it can do its work."""
    return {"status": "alive"}
