"""``/status/detailed``: the limits in force, what the engines are doing, and how it has gone so far."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from docflow.engines.base import ServerOptions
from docflow.engines.figures import ServerFigures, ask
from docflow.engines.pool import Pool
from docflow.engines.specs import EngineSpec, parse_roles
from docflow.engines.started import key_for
from docflow.engines.transport import Transport
from docflow.server.service.conversations import Conversations
from docflow.server.service.engines import Engines
from docflow.server.service.generating import Generator
from docflow.server.service.state import Service, service_of
from docflow.settings import ServeSettings, Settings
from docflow.telemetry.gpu import Gpus

router = APIRouter(tags=["health"])

_ASK_SECONDS = 3.0
_PACKAGES = ("docflow", "fastapi", "uvicorn", "aiohttp", "pydantic", "sglang", "vllm")


class EngineSettings(BaseModel):
    """The limits in force, by the names of the variables that set them, in lower case."""

    model_config = ConfigDict(protected_namespaces=())

    llm_model: str
    vllm_max_model_len: int
    vllm_max_num_seqs: int
    vllm_block_size: int
    vllm_gpu_memory_utilization: float
    vllm_tensor_parallel_size: int
    max_tokens_cap: int
    max_upload_bytes: int
    max_image_side: int


class UpstreamStatus(BaseModel):
    """One engine. What it says of itself is null where it says nothing (SGLang needs --enable-metrics)."""

    model_config = ConfigDict(protected_namespaces=())

    engine: str
    model_name: str
    state: str = Field(description="closed (well), open (away) or half-open (being tried)")
    reason: str
    fallback: bool
    in_flight: int = Field(description="this service's requests that are there")
    answered: int
    away_seconds: float
    running_requests: int | None = None
    waiting_requests: int | None = None
    kv_cache_use: float | None = Field(None, description="0 to 1")
    prefix_cache_hit_rate: float | None = Field(None, description="0 to 1, since it started")
    prompt_tokens: int | None = None
    output_tokens: int | None = None


class Batching(BaseModel):
    """How much is in work for /generate, /vision and /multimodal, and how much may be."""

    running: int
    pending: int
    most_running: int
    most_pending: int


class Performance(BaseModel):
    """The last thousand answers of /generate, /vision and /multimodal; counts since the start."""

    answered: int
    failed: int
    prompt_tokens: int
    cached_prompt_tokens: int
    tokens_generated: int
    latency_mean_ms: float | None
    latency_p95_ms: float | None
    tokens_per_second_mean: float | None
    tokens_per_second_p95: float | None


class GpuStatus(BaseModel):
    """A GPU of this machine."""

    device: str
    memory_used_gb: float
    memory_total_gb: float
    utilization: float = Field(description="0 to 1")


class DetailedStatus(BaseModel):
    """What an operator wants to know at a glance."""

    status: str
    engine_type: str
    uptime: float = Field(description="seconds")
    versions: dict[str, str]
    settings: EngineSettings
    engines: list[UpstreamStatus]
    batch: Batching
    performance: Performance
    gpus: list[GpuStatus]
    active_conversations: int


@dataclass(slots=True)
class Monitors:
    """Connections of their own for the engines' figures: asking for these takes no place from anybody's request."""

    transports: dict[str, Transport]

    @classmethod
    def of(cls, settings: Settings) -> Monitors:
        roles = parse_roles(settings.engine, settings.fallbacks)
        specs = [spec for group in (roles.engines, *roles.fallbacks) for spec in group if spec.is_server]
        return cls({spec.label: Transport(spec.target, _options(spec, settings)) for spec in specs})

    async def ask(self) -> dict[str, ServerFigures | None]:
        """Every server's figures, by its label."""
        asked = [asyncio.to_thread(ask, transport, _ASK_SECONDS) for transport in self.transports.values()]
        return dict(zip(self.transports, await asyncio.gather(*asked), strict=True))

    def close(self) -> None:
        for transport in self.transports.values():
            transport.close()


def _options(spec: EngineSpec, settings: Settings) -> ServerOptions:
    key = settings.servers.api_key
    given = key.get_secret_value() if key and not spec.credentials else ""
    return ServerOptions(api_key=key_for(spec.target) or given, connections=1)


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Whom to ask for figures."""
    monitors = service.parts[Monitors] = Monitors.of(service.settings)
    stack.callback(monitors.close)


@router.get("/status/detailed")
async def detailed(request: Request) -> DetailedStatus:
    """Limits, engines, figures and versions."""
    service = service_of(request)
    engines, generator, serve = service.part(Engines), service.part(Generator), service.settings.serve
    figures, gpus = await asyncio.gather(service.part(Monitors).ask(), asyncio.to_thread(service.part(Gpus).read))
    return DetailedStatus(
        status="healthy" if service.ready() else "unavailable" if engines.seen else "loading",
        engine_type=engines.title,
        uptime=round(service.uptime_seconds, 3),
        versions={name: found for name in _PACKAGES if (found := _version(name))},
        settings=_settings(serve),
        engines=_engines(engines, figures),
        batch=Batching(
            running=generator.running,
            pending=generator.waiting,
            most_running=serve.requests,
            most_pending=serve.waiting,
        ),
        performance=_performance(generator),
        gpus=[
            GpuStatus(
                device=gpu.device,
                memory_used_gb=round(gpu.used_bytes / 1e9, 3),
                memory_total_gb=round(gpu.total_bytes / 1e9, 3),
                utilization=gpu.utilisation,
            )
            for gpu in gpus
        ],
        active_conversations=len(service.part(Conversations)),
    )


def _settings(serve: ServeSettings) -> EngineSettings:
    return EngineSettings(
        llm_model=serve.model,
        vllm_max_model_len=serve.context,
        vllm_max_num_seqs=serve.requests,
        vllm_block_size=serve.block_size,
        vllm_gpu_memory_utilization=serve.gpu_memory_utilization,
        vllm_tensor_parallel_size=serve.tensor_parallel_size,
        max_tokens_cap=serve.max_tokens,
        max_upload_bytes=serve.upload_bytes,
        max_image_side=serve.image_side,
    )


def _engines(engines: Engines, figures: dict[str, ServerFigures | None]) -> list[UpstreamStatus]:
    engine = engines.engine
    if not isinstance(engine, Pool):
        state = "closed" if engines.well else "open"
        return [
            UpstreamStatus(
                engine=engines.title,
                model_name=engine.model,
                state=state,
                reason="",
                fallback=False,
                in_flight=0,
                answered=0,
                away_seconds=0,
            )
        ]
    found = []
    for server in engine.status():
        own = figures.get(server.label) or ServerFigures()
        found.append(
            UpstreamStatus(
                engine=server.label,
                model_name=server.model,
                state=server.state,
                reason=server.reason,
                fallback=server.fallback,
                in_flight=server.in_flight,
                answered=server.answered,
                away_seconds=round(server.away_seconds, 3),
                running_requests=own.running,
                waiting_requests=own.waiting,
                kv_cache_use=own.kv_cache_use,
                prefix_cache_hit_rate=own.prefix_cache_hit_rate,
                prompt_tokens=own.prompt_tokens,
                output_tokens=own.output_tokens,
            )
        )
    return found


def _performance(generator: Generator) -> Performance:
    figures = generator.figures
    seconds = [one for one, _ in figures.lately]
    rates = [rate for _, rate in figures.lately]
    return Performance(
        answered=figures.answered,
        failed=figures.failed,
        prompt_tokens=figures.prompt_tokens,
        cached_prompt_tokens=figures.cached_tokens,
        tokens_generated=figures.output_tokens,
        latency_mean_ms=_mean(seconds, 1000),
        latency_p95_ms=_p95(seconds, 1000),
        tokens_per_second_mean=_mean(rates),
        tokens_per_second_p95=_p95(rates),
    )


def _mean(values: Sequence[float], scale: float = 1.0) -> float | None:
    return round(sum(values) / len(values) * scale, 3) if values else None


def _p95(values: Sequence[float], scale: float = 1.0) -> float | None:
    return round(sorted(values)[math.ceil(0.95 * len(values)) - 1] * scale, 3) if values else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
