"""What Prometheus reads."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack

from fastapi import APIRouter, Request, Response

from docflow.server.service.gateway.relay import Relay
from docflow.server.service.jobs import Jobs
from docflow.server.service.state import Service, service_of
from docflow.server.service.telemetry import Telemetry
from docflow.telemetry.gpu import Gpus
from docflow.telemetry.metrics import CONTENT_TYPE
from docflow.telemetry.tracing import Tracing

router = APIRouter(tags=["monitoring"])


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Begin to observe every request. What other parts know is asked of them while metrics are read."""
    gpus = service.parts[Gpus] = Gpus()
    tracing = Tracing.from_environment()
    telemetry = service.parts[Telemetry] = Telemetry(service.settings.telemetry, gpus, tracing)
    stack.push_async_callback(asyncio.to_thread, telemetry.close)
    service.observers.append(telemetry.observe)
    metrics = telemetry.metrics
    metrics.show_upstreams(lambda: {name: float(up) for name, (up, _) in _upstreams(service).items()})
    metrics.show_in_flight(lambda: {name: float(count) for name, (_, count) in _upstreams(service).items()})
    metrics.show_jobs(lambda: _jobs(service))


@router.get("/metrics", response_class=Response)
def metrics(request: Request) -> Response:
    """The metrics of this service, in Prometheus' text format."""
    telemetry = service_of(request).part(Telemetry)
    return Response(telemetry.metrics.text(), media_type=CONTENT_TYPE)


def _upstreams(service: Service) -> dict[str, tuple[bool, int]]:
    """Of each upstream whether it is usable, and how many requests it has."""
    relay: Relay | None = service.parts.get(Relay)
    if relay is None:  # the service starts, or has none
        return {}
    return {upstream.name: (status.state != "open", status.in_flight) for upstream, status in relay.upstreams()}


def _jobs(service: Service) -> Mapping[str, float]:
    jobs: Jobs | None = service.parts.get(Jobs)
    return Counter(job.state for job in jobs.files.all()) if jobs is not None else {}
