"""Whether the service is there, and whether it can do its work."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from docflow.server.service.conversations import Conversations
from docflow.server.service.engines import Engines
from docflow.server.service.generating import Generator
from docflow.server.service.state import Service, service_of
from docflow.telemetry.gpu import Gpus

router = APIRouter(tags=["health"])

_GB = 1e9


class EngineState(BaseModel):
    """What the engines are doing for this service."""

    engine_status: Literal["running", "loading", "away"]
    pending_requests: int
    running_requests: int


class HealthResponse(BaseModel):
    """How the service is."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["healthy", "loading", "unavailable"]
    engine_loaded: bool = Field(description="whether an engine answers")
    model_loaded: bool = Field(description="the same, for clients that know it by this name")
    model_name: str
    engine_type: str = Field(description="vLLM, SGLang or embedded: the first engine that is asked")
    gpu_memory_used: float | None = Field(description="of this machine's GPUs together, in GB; null without one")
    gpu_memory_total: float | None
    vllm_stats: EngineState = Field(description="whichever engine it is: the name is kept for clients that know it")
    active_conversations: int
    uptime: float = Field(description="seconds")


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Nothing needs to be readied."""


@router.get("/health/live")
def live() -> dict[str, str]:
    """Whether the process answers at all; ``/health`` tells whether it can do its work."""
    return {"status": "alive"}


@router.get("/health", responses={503: {"model": HealthResponse, "description": "No engine answers (yet)"}})
def health(request: Request, response: Response) -> HealthResponse:
    """Whether an engine answers, and how much there is to do: 200 when ready, else 503."""
    service = service_of(request)
    engines, generator = service.part(Engines), service.part(Generator)
    ready = service.ready()
    response.status_code = 200 if ready else 503
    gpus = service.part(Gpus).read()
    away = "away" if engines.seen else "loading"
    return HealthResponse(
        status="healthy" if ready else "unavailable" if engines.seen else "loading",
        engine_loaded=ready,
        model_loaded=ready,
        model_name=engines.model,
        engine_type=engines.title,
        gpu_memory_used=round(sum(gpu.used_bytes for gpu in gpus) / _GB, 3) if gpus else None,
        gpu_memory_total=round(sum(gpu.total_bytes for gpu in gpus) / _GB, 3) if gpus else None,
        vllm_stats=EngineState(
            engine_status="running" if ready else away,
            pending_requests=generator.waiting,
            running_requests=generator.running,
        ),
        active_conversations=len(service.part(Conversations)),
        uptime=round(service.uptime_seconds, 3),
    )
